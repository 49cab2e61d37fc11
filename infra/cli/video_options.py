"""What the commands for films on this machine alone have in common: options of a film, and the styles at hand."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli import context
from models.errors import BadInput

if TYPE_CHECKING:
    from models.contracts.film import FilmOptions, Limits
    from models.style.library import Style, StyleLibrary

Film = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The film.")]
Quality = Annotated[str, typer.Option(help="`fast` or `fine`.")]
Scale = Annotated[float, typer.Option(help="The network works at this share of the size, from 0.25: bolder, faster.")]
Strength = Annotated[float, typer.Option(help="1: the styled picture; 0: the source.")]
Size = Annotated[
    str | None, typer.Option(help="Of the result, as 640x360.", show_default="that of the source", metavar="WxH")
]
SHIPPED_ALONE: Final = "registered styles are known while Penstock runs: penstock up --detach"


def limits() -> "Limits":
    """What a film may be at most, by the settings."""
    return context.local_settings().film_limits


def options(style: str, limits: "Limits", **given: Any) -> "FilmOptions":
    """The options, by the same rules as those of an upload."""
    from models.videos import film_options

    texts = {name: str(value) for name, value in given.items() if value is not None}
    return film_options({"style": style, **texts}, limits)


def library() -> "StyleLibrary":
    """Shipped styles, and registered ones where a registry is at hand."""
    from models.style.library import StyleLibrary

    blobs = context.open_blobs(context.load_settings()) if context.has_storage() else None
    return StyleLibrary(files("video") / "styles", blobs)


def find_style(options: "FilmOptions") -> "Style":
    """The style that the options name. Raises BadInput, naming what there is, if there is none."""
    try:
        return library().find(options.style, options.quality)
    except BadInput as error:
        if context.has_storage():
            raise
        raise BadInput(f"{error}; {SHIPPED_ALONE}") from error

"""Which styles there are, by name alone: for those who take orders for films and run no network.

The function app is shipped without the networks, so it knows the shipped ones by this list; a test holds it against
the folder.
"""

from collections.abc import Iterable
from typing import Final

from models.errors import BadInput
from models.ports import BlobStore
from models.registry import Registry
from models.style.manifest import QUALITIES, is_style_name

SHIPPED: Final = frozenset(
    (style, quality) for style in ("composition-vii", "great-wave", "starry-night") for quality in QUALITIES
)
"""Style and quality of each network that comes with Penstock."""
MODEL_PREFIX: Final = "style-"
"""Of the names of styles in the registry."""


class StyleNames:
    """Shipped styles, and those with a live version in the registry. Holds no state: safe to share."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def check(self, style: str, quality: str) -> None:
        """Raises BadInput, naming what there is, for a style or quality that no film can have now."""
        if (style, quality) not in SHIPPED and not self._is_live(style, quality):
            raise BadInput(unknown(style, quality, self.names()))

    def names(self) -> set[tuple[str, str]]:
        """Style and quality of all that a film can have now."""
        models = {info.name.split("/")[1] for info in self._blobs.list(f"models/{MODEL_PREFIX}")}
        pairs = {(style, quality) for style, _, quality in (_named(model) for model in models)}
        return {*SHIPPED, *(pair for pair in pairs if self._is_live(*pair))}

    def _is_live(self, style: str, quality: str) -> bool:
        if quality not in QUALITIES or not is_style_name(style):
            return False
        return Registry(self._blobs, model_name(style, quality)).aliases().aliases.live is not None


def model_name(style: str, quality: str) -> str:
    """The registry's name of a style."""
    return f"{MODEL_PREFIX}{style}-{quality}"


def unknown(style: str, quality: str, there: Iterable[tuple[str, str]]) -> str:
    """What is wrong with a style and quality that is not among those that are `there`."""
    found = sorted(there)
    if qualities := [each for name, each in found if name == style]:
        return f"style {style}: expected quality {' or '.join(qualities)}, got {quality!r}"
    named = [f"{name} ({', '.join(each for other, each in found if other == name)})" for name in dict(found)]
    return f"style: expected {', '.join(named) or 'one to be registered first'}, got {style!r}"


def _named(model: str) -> tuple[str, str, str]:
    return model.removeprefix(MODEL_PREFIX).rpartition("-")

"""Puts a trained style into the model registry, where it wins over a shipped one of its name once it is live."""

import msgspec

from models.ports import BlobStore, Clock
from models.registry import Registry
from models.style.library import publish_style
from models.style.names import model_name
from training.stamp import creator, stamped
from training.style.bundle import Bundle, Origin, Trained, card


def register_style(
    blobs: BlobStore, made: Bundle, origin: Origin, trained: Trained, clock: Clock, *, promote: bool
) -> str:
    """The version under which the style is stored now; live with `promote`. Again within a second is harmless."""
    import torch

    style = made.manifest
    stamp = stamped(clock, made.graph)
    publish_style(
        blobs,
        style,
        made.graph,
        version=stamp.version,
        created_at=stamp.created_at,
        creator=creator(f"PyTorch {torch.__version__}"),
        card=card(style.style, origin, [trained]).encode(),
        metrics={name: float(value) for name, value in msgspec.structs.asdict(trained.scores).items()},
        parameters=_parameters(trained),
    )
    if promote:
        Registry(blobs, model_name(style.style, style.quality)).promote(stamp.version)
    return stamp.version


def _parameters(trained: Trained) -> dict[str, int | float | str]:
    options = msgspec.structs.asdict(trained.options)
    architecture = msgspec.structs.asdict(options.pop("architecture"))
    return {**architecture, **options}

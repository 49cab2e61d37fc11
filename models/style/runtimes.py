"""The names by which a runtime for networks is chosen. Imports nothing heavy: settings are checked with it."""

from typing import Final, Literal

from models.errors import ConfigurationError

PROVIDERS: Final = ("tensorrt", "cuda", "openvino", "cpu")
"""Best first."""
Precision = Literal["best", "fp32"]
"""best: the fastest arithmetic that keeps the picture, which differs between machines.

fp32: the same picture on all, within a level.
"""


def providers_of(text: str | None) -> list[str] | None:
    """The providers in a text like "openvino,cpu", in its order; None, for all, if there is none.

    Raises ConfigurationError for other names.
    """
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if unknown := [name for name in names if name not in PROVIDERS]:
        raise ConfigurationError(f"providers: expected some of {', '.join(PROVIDERS)}, got {', '.join(unknown)}")
    return names or None

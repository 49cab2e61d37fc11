"""Documents of the model registry: what a model version is, and which one is live. Stored as JSON."""

import msgspec


class ModelFile(msgspec.Struct, frozen=True):
    """A file of a version; `sha256` in lower-case hex, `size` in bytes."""

    sha256: str
    size: int


class TensorSpec(msgspec.Struct, frozen=True):
    """An input or output of a graph; a name in `shape` stands for a dimension that is free."""

    name: str
    dtype: str
    shape: list[int | str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model. Written after its files, so a version with a manifest is whole."""

    format: int = 1
    kind: str = "svm-bank"
    """What reads it: "svm-bank" (models.inference.bank), "als" or "fm" (models.recommend)."""
    model: str
    version: str
    created_at: float
    """Epoch seconds."""
    creator: str
    """Name and version of what made it."""
    files: dict[str, ModelFile] = {}
    features: list[str] = []
    window: str = ""
    """Of a bank: name of the window spec that the features were computed on."""
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    series: int = 0
    """Of a bank: how many (device, sensor) pairs it can score."""
    items: int = 0
    """Of a recommender: how many items it knows."""
    metrics: dict[str, float]
    parameters: dict[str, int | float | str]
    data_fingerprint: str
    """sha256 over what this version was trained on."""
    based_on: str | None = None
    """The version whose other series were taken over."""


class Aliases(msgspec.Struct, frozen=True, kw_only=True):
    """Which version serves, and which one did before it."""

    format: int = 1
    live: str | None = None
    previous: str | None = None

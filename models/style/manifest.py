"""The manifest beside an ONNX network that restyles pictures: what its tensors mean.

It lets any network with one image in and one image out of the same size run here, whoever trained it.
"""

import re
from typing import Final, Literal

import msgspec

from models.errors import ModelRefused

QUALITIES: Final = ("fast", "fine")
# Parts of registry names, blob names and folders; two of them and a prefix fit the registry's 100 characters.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Padding is done by reflection, and no known network halves a picture more often than six times.
_MOST_MULTIPLE: Final = 64
_MOST_PIXELS_ON_A_SIDE: Final = 16384


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a network: a batch of pictures as a tensor.

    name: of the tensor in the graph. low, high: the values of black and white, in every channel.
    """

    name: str
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channels: Literal["RGB", "BGR"] = "RGB"
    low: float = 0.0
    high: float = 1.0
    dtype: Literal["float32", "float16", "uint8"] = "float32"


class StyleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a style's network is.

    file: the ONNX file beside the manifest, with its digest. height, width: the only size that the graph takes;
    None: any. multiple: sizes must be multiples of this; pictures are padded to it and cropped again.
    title, licence: for people. card: file name of the model card, if there is one.
    """

    format: int = 1
    style: str
    quality: str = "fine"
    file: str
    sha256: str
    input: Image
    output: Image
    height: int | None = None
    width: int | None = None
    multiple: int = 1
    title: str = ""
    licence: str = ""
    card: str = ""


def read_manifest(data: bytes, *, name: str) -> StyleManifest:
    """The manifest in the JSON of the file `name`. Raises ModelRefused with what is wrong in it."""
    try:
        manifest = msgspec.json.decode(data, type=StyleManifest)
    except msgspec.DecodeError as error:
        raise ModelRefused(f"{name}: not the manifest of a style: {error}") from error
    if complaint := _complaint(manifest):
        raise ModelRefused(f"{name}: {complaint}")
    return manifest


def is_style_name(name: str) -> bool:
    """Whether a style may be called so: names of blobs and folders are made of it."""
    return _NAME.fullmatch(name) is not None


def _complaint(manifest: StyleManifest) -> str | None:
    if manifest.format != 1:
        return f"expected format 1, got {manifest.format}: it was written for another version of Penstock"
    if not is_style_name(manifest.style):
        return f"style: expected 1..40 of a-z, 0-9 and '-', got {manifest.style!r}"
    if manifest.quality not in QUALITIES:
        return f"quality: expected {' or '.join(QUALITIES)}, got {manifest.quality!r}"
    for kind, value in (("file", manifest.file), ("card", manifest.card)):
        if "/" in value or "\\" in value or value.startswith("."):
            return f"{kind}: expected the name of a file beside the manifest, got {value!r}"
    if not _SHA256.fullmatch(manifest.sha256):
        return f"sha256: expected 64 hexadecimal digits, got {manifest.sha256!r}"
    if not 1 <= manifest.multiple <= _MOST_MULTIPLE:
        return f"multiple: expected 1..{_MOST_MULTIPLE}, got {manifest.multiple}"
    return (
        _complaint_of_size(manifest)
        or _complaint_of_image("input", manifest.input)
        or _complaint_of_image("output", manifest.output)
    )


def _complaint_of_size(manifest: StyleManifest) -> str | None:
    if (manifest.height is None) != (manifest.width is None):
        return "height and width: expected both or neither"
    for kind, value in (("height", manifest.height), ("width", manifest.width)):
        if value is not None and not 1 <= value <= _MOST_PIXELS_ON_A_SIDE:
            return f"{kind}: expected 1..{_MOST_PIXELS_ON_A_SIDE}, got {value}"
    return None


def _complaint_of_image(side: str, image: Image) -> str | None:
    if not image.name:
        return f"{side}.name: expected the name of a tensor, got nothing"
    if not abs(image.high - image.low) > 1e-6 or abs(image.low) > 1e6 or abs(image.high) > 1e6:
        return f"{side}: expected different, finite values of low and high, got {image.low} and {image.high}"
    if image.dtype == "uint8" and (image.low, image.high) != (0.0, 255.0):
        return f"{side}: uint8 goes from low 0 to high 255, got {image.low} and {image.high}"
    return None

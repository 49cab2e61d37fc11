"""Where styles come from: versions in the registry first, then the networks that ship with Penstock.

A style of one quality is the registry's model `style-<name>-<quality>`; its live version wins over a shipped network
of that name. Whoever starts a film notes the version, and every worker opens that one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

from models.errors import BadInput, ModelRefused
from models.manifest import Manifest, TensorSpec
from models.ports import BlobStore
from models.registry import Registry
from models.style.manifest import QUALITIES, Image, StyleManifest, is_style_name, read_manifest
from models.style.names import MODEL_PREFIX, model_name, unknown

KIND: Final = "style"
MANIFEST_FILE: Final = "style.json"
_SHIPPED: Final = "shipped-"


@dataclass(frozen=True, slots=True)
class Style:
    """A network's bytes, what they are, and the version that says which they are for good."""

    manifest: StyleManifest
    graph: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A style of one quality as `StyleLibrary.styles` finds it, and the version that a film would get now."""

    manifest: StyleManifest
    version: str


class StyleLibrary:
    """Styles of a folder `<style>/<quality>.json` and, where there is a store, of its registry."""

    def __init__(self, shipped: Traversable, blobs: BlobStore | None = None) -> None:
        self._shipped = shipped
        self._blobs = blobs

    def styles(self) -> list[Listed]:
        """Every style and quality once, in the order of their names."""
        found = {(each.manifest.style, each.manifest.quality): each for each in self._list_shipped()}
        for model in self._models():
            if listed := self._live(model):
                found[(listed.manifest.style, listed.manifest.quality)] = listed
        return [found[key] for key in sorted(found)]

    def find(self, style: str, quality: str) -> Style:
        """The live version, else the shipped one. Raises BadInput, naming what there is, if there is neither."""
        listed = self._live(model_name(style, quality)) if self._blobs and _is_name(style, quality) else None
        if listed is None:
            listed = next((each for each in self._list_shipped() if _key(each) == (style, quality)), None)
        if listed is None:
            raise BadInput(unknown(style, quality, [_key(each) for each in self.styles()]))
        return self.open(style, quality, listed.version)

    def open(self, style: str, quality: str, version: str) -> Style:
        """The network of exactly that version, its digest checked. Raises ModelRefused or NotFound if it is gone."""
        if version.startswith(_SHIPPED):
            return self._open_shipped(style, quality, version)
        if self._blobs is None:
            raise ModelRefused(f"style {style}, {quality}, {version}: it is registered, and no registry is at hand")
        registry = Registry(self._blobs, model_name(style, quality))
        manifest = registry.manifest(version)
        described = read_manifest(registry.file(manifest, MANIFEST_FILE), name=f"{registry.model} {version}")
        return Style(described, registry.file(manifest, described.file), version)

    def _open_shipped(self, style: str, quality: str, version: str) -> Style:
        for each in self._list_shipped():
            if _key(each) == (style, quality):
                if each.version != version:
                    raise ModelRefused(
                        f"style {style}, {quality}: the film was planned with {version}, this installation of "
                        f"Penstock ships {each.version}; let all parts run the same version"
                    )
                return Style(each.manifest, (self._shipped / style / each.manifest.file).read_bytes(), version)
        raise ModelRefused(f"style {style}, {quality}: this installation of Penstock does not ship it")

    def _list_shipped(self) -> Iterator[Listed]:
        if not self._shipped.is_dir():
            return
        for folder in sorted(self._shipped.iterdir(), key=lambda each: each.name):
            for quality in QUALITIES:
                file = folder / f"{quality}.json"
                if folder.is_dir() and file.is_file():
                    manifest = read_manifest(file.read_bytes(), name=f"{folder.name}/{file.name}")
                    yield Listed(manifest, f"{_SHIPPED}{manifest.sha256[:12]}")

    def _models(self) -> list[str]:
        """Names of the registry's models that are styles."""
        if self._blobs is None:
            return []
        return sorted({info.name.split("/")[1] for info in self._blobs.list(f"models/{MODEL_PREFIX}")})

    def _live(self, model: str) -> Listed | None:
        assert self._blobs is not None
        registry = Registry(self._blobs, model)
        version = registry.aliases().aliases.live
        if version is None:
            return None
        data = registry.file(registry.manifest(version), MANIFEST_FILE)
        return Listed(read_manifest(data, name=f"{model} {version}"), version)


def publish_style(
    blobs: BlobStore,
    style: StyleManifest,
    graph: bytes,
    *,
    version: str,
    created_at: float,
    creator: str,
    card: bytes | None = None,
    metrics: dict[str, float] | None = None,
    parameters: dict[str, int | float | str] | None = None,
) -> Manifest:
    """Store a style as a version of its model; not live yet. Publishing the same again is harmless.

    The network was tried before (models.style.tryout). `created_at`: epoch seconds. Raises Conflict if the version
    exists with other content.
    """
    files = {MANIFEST_FILE: msgspec.json.format(msgspec.json.encode(style)), style.file: graph}
    if card is not None and style.card:
        files[style.card] = card
    manifest = Manifest(
        kind=KIND,
        model=model_name(style.style, style.quality),
        version=version,
        created_at=created_at,
        creator=creator,
        inputs=[_tensor(style.input, style)],
        outputs=[_tensor(style.output, style)],
        metrics=metrics or {},
        parameters=parameters or {},
        data_fingerprint=style.sha256,
    )
    return Registry(blobs, manifest.model).publish(manifest, files)


def _tensor(image: Image, style: StyleManifest) -> TensorSpec:
    sizes: dict[str, int | str] = {"N": "n", "C": 3, "H": style.height or "h", "W": style.width or "w"}
    return TensorSpec(image.name, image.dtype, [sizes[axis] for axis in image.layout])


def _key(listed: Listed) -> tuple[str, str]:
    return listed.manifest.style, listed.manifest.quality


def _is_name(style: str, quality: str) -> bool:
    """Whether a registry could hold it: options of a film come from anybody."""
    return quality in QUALITIES and is_style_name(style)

"""Model registry over the BlobStore port: immutable versions, and two aliases changed by one conditional write.

models/<model>/<version>/<file>          create-only
models/<model>/<version>/manifest.json   create-only, last: a version without it does not exist
models/<model>/aliases.json              {live, previous}
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from models.errors import AlreadyExists, BadInput, Conflict, ModelRefused, NotFound, Superseded
from models.manifest import Aliases, Manifest, ModelFile
from models.ports import BlobStore

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MANIFEST: Final = "manifest.json"
_ALIASES: Final = "aliases.json"
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class AliasState:
    """The aliases with the etag of the blob they were read from; None: there was no such blob."""

    aliases: Aliases
    etag: str | None


class Registry:
    """Versions and aliases of one model. Holds no state: safe to share between threads."""

    def __init__(self, blobs: BlobStore, model: str) -> None:
        self._blobs = blobs
        self.model = _checked(model, "model")

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Store a version; the manifest that is returned carries the files' digests. It is not live yet.

        Publishing the same bytes again is harmless, so a lost answer or a crash half-way can be repeated.
        Raises Conflict if the version exists with other content.
        """
        if manifest.model != self.model:
            raise BadInput(f"registry of model {self.model!r}: got a manifest of {manifest.model!r}")
        digests = {_checked(name, "file"): _describe(data) for name, data in sorted(files.items())}
        manifest = msgspec.structs.replace(manifest, files=digests)
        for name, data in files.items():
            self._create(self._path(manifest.version, name), data)
        self._create(self._path(manifest.version, _MANIFEST), msgspec.json.encode(manifest))
        return manifest

    def versions(self) -> list[str]:
        """Names of all whole versions, in name order (which is the order of their making)."""
        start = f"models/{self.model}/"
        names = (info.name.removeprefix(start).split("/") for info in self._blobs.list(start))
        return [parts[0] for parts in names if len(parts) == 2 and parts[1] == _MANIFEST]

    def manifest(self, version: str) -> Manifest:
        """The manifest of `version`. Raises NotFound; ModelRefused if it cannot be read."""
        try:
            data = self._blobs.get(self._path(version, _MANIFEST)).data
        except NotFound as error:
            raise NotFound(f"model {self.model} has no version {version!r} (penstock models list)") from error
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except msgspec.DecodeError as error:
            raise ModelRefused(f"model {self.model} {version}: manifest cannot be read: {error}") from error
        if (manifest.model, manifest.version) != (self.model, version):
            raise ModelRefused(
                f"model {self.model} {version}: its manifest names {manifest.model} {manifest.version}"
            )
        return manifest

    def file(self, manifest: Manifest, name: str) -> bytes:
        """A file of the version, its digest checked. Raises ModelRefused on another digest or a missing file."""
        expected = manifest.files.get(name)
        if expected is None:
            raise ModelRefused(f"model {self.model} {manifest.version}: has no file {name!r}")
        try:
            data = self._blobs.get(self._path(manifest.version, name)).data
        except NotFound as error:
            raise ModelRefused(f"model {self.model} {manifest.version}: file {name!r} is gone") from error
        found = _describe(data)
        if found != expected:
            raise ModelRefused(
                f"model {self.model} {manifest.version}: file {name!r} should have sha256 {expected.sha256} "
                f"({expected.size} bytes), found {found.sha256} ({found.size} bytes)"
            )
        return data

    def aliases(self) -> AliasState:
        """The aliases as they are now; both empty while nothing was promoted."""
        try:
            blob = self._blobs.get(self._alias_path)
        except NotFound:
            return AliasState(Aliases(), None)
        try:
            return AliasState(msgspec.json.decode(blob.data, type=Aliases), blob.info.etag)
        except msgspec.DecodeError as error:
            raise ModelRefused(f"model {self.model}: {self._alias_path} cannot be read: {error}") from error

    def promote(self, version: str, *, based_on: AliasState | None = None) -> Aliases:
        """Make `version` live, and the one that was live `previous`. Promoting the live version changes nothing.

        With `based_on`, only if the aliases are still those, else Superseded is raised. Raises NotFound if there
        is no such version.
        """
        self.manifest(version)
        for _ in range(_ATTEMPTS):
            state = based_on or self.aliases()
            if state.aliases.live == version:
                return state.aliases
            after = Aliases(live=version, previous=state.aliases.live)
            try:
                self._write_aliases(after, state.etag)
            except Superseded:
                if based_on is not None:
                    raise
            else:
                return after
        raise Superseded(f"model {self.model}: {_ATTEMPTS} promotions in a row came in between; try again")

    def rollback(self) -> Aliases:
        """Make the previous version live again; the one that was live becomes `previous`.

        Raises NotFound if there is none, Superseded if the aliases changed meanwhile.
        """
        state = self.aliases()
        if state.aliases.previous is None:
            raise NotFound(f"model {self.model}: there is no previous version to roll back to")
        self.manifest(state.aliases.previous)
        after = Aliases(live=state.aliases.previous, previous=state.aliases.live)
        self._write_aliases(after, state.etag)
        return after

    def _write_aliases(self, aliases: Aliases, etag: str | None) -> None:
        data = msgspec.json.encode(aliases)
        try:
            if etag is None:
                self._blobs.create(self._alias_path, data)
            else:
                self._blobs.replace(self._alias_path, data, etag=etag)
        except (AlreadyExists, Superseded) as error:
            # After a lost answer the conflict may be with our own write.
            if self.aliases().aliases != aliases:
                raise Superseded(f"model {self.model}: the aliases changed meanwhile") from error

    def _create(self, path: str, data: bytes) -> None:
        try:
            self._blobs.create(path, data)
        except AlreadyExists as error:
            if self._blobs.get(path).data != data:
                raise Conflict(f"{path} exists with other content") from error

    @property
    def _alias_path(self) -> str:
        return f"models/{self.model}/{_ALIASES}"

    def _path(self, version: str, file: str) -> str:
        return f"models/{self.model}/{_checked(version, 'version')}/{file}"


def _checked(name: str, kind: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadInput(f"{kind} name: expected 1..100 of letters, digits, '.', '_' and '-', got {name!r}")
    return name


def _describe(data: bytes) -> ModelFile:
    return ModelFile(hashlib.sha256(data).hexdigest(), len(data))

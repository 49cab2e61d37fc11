"""`penstock video submit` where the network loses answers."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.azure.queues import AzureQueue
from infra.cli import context, video
from models.errors import AlreadyExists
from models.ports import BlobInfo
from models.videos import job_id
from tests.fakes import FakeBlobs


class _Forgetful(FakeBlobs):
    """Stores an upload, loses the answer, and refuses the client's second try."""

    def upload(self, name: str, path: Path, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        super().upload(name, path, metadata=metadata)
        raise AlreadyExists(name)


def test_an_upload_whose_answer_was_lost_is_a_job_like_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = _Forgetful()
    sent: list[bytes] = []
    monkeypatch.setattr(context, "open_blobs", lambda _: blobs)
    monkeypatch.setattr(AzureQueue, "__init__", lambda *_: None)
    monkeypatch.setattr(AzureQueue, "send", lambda _, body: sent.append(body))
    (tmp_path / "film.mp4").write_bytes(b"film")

    class Settings:
        data_storage = SecretStr("")

    id = video.upload(Settings(), tmp_path / "film.mp4", {"style": "toy"})  # type: ignore[arg-type]  # all it needs
    stored = next(iter(blobs.list("videos-in/")))
    assert id == job_id(stored, {"style": "toy"})
    assert len(sent) == 1

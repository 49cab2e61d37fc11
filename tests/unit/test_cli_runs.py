"""`penstock runs train` where the upload is overtaken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import context, main, runs
from models.ports import BlobInfo
from models.runs import Runs
from tests.fakes import FakeBlobs, FakeClock, FakeState


class Overtaken(FakeBlobs):
    """Storage in which another upload follows at once."""

    def replace(
        self, name: str, data: bytes, *, etag: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> BlobInfo:
        first = super().replace(name, data, etag=etag, metadata=metadata)
        super().replace(name, data + b"3,4,5\n", metadata=metadata)
        return first


def test_an_upload_that_another_one_replaced_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(context, "load_settings", lambda: None)
    monkeypatch.setattr(context, "open_blobs", lambda _: Overtaken(clock))
    monkeypatch.setattr(runs, "_runs", lambda _: Runs(FakeState(), clock))
    file = tmp_path / "ratings.csv"
    file.write_text("user,item,rating\n1,2,5\n")
    done = CliRunner().invoke(main.app, ["runs", "train", str(file)])
    assert done.exit_code == 1
    assert "replaced by a newer upload" in str(done.exception)

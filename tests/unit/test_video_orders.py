"""`penstock video submit|status|list`: what is refused before a film is sent, and where the result is written."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from functions.videos.intake import Intake
from infra.azure.queues import AzureQueue
from infra.cli import context, output, video
from infra.cli.video_out import NotSaved
from infra.clock import SystemClock
from infra.settings import Settings
from infra.state.sqlite import SqliteState
from models.contracts.film import FilmOptions, FilmPlan, Limits
from models.contracts.videos import VideoState, VideoUpload
from models.errors import BadInput, NotFound, TryLater
from models.ports import BlobInfo
from models.style.names import StyleNames
from models.videos import Videos
from models.videowork import VideoWork
from tests.fakes import FakeBlobs, FakeQueue
from video.clip import make_clip
from video.out import ENDINGS, check_out


class Shop(FakeBlobs):
    """A runtime whose only worker sends back what came, in a file of the ending that it is told."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.ending = ".mp4"
        self.videos = Videos(SqliteState(state), SystemClock())
        self.work = VideoWork(self, self.videos, FakeQueue(), SystemClock())
        self.intake = Intake(self.videos, self.work, StyleNames(self), Limits())

    def told(self, event: bytes) -> None:
        """As the functions host and a worker do with the event of an upload."""
        self.intake.receive(event)
        job = self.videos.latest(1)[0]
        name = f"videos-out/film-{job.id}{self.ending}"
        self.create(name, self.get(job.source).data)
        self.work.done(job.id, name)

    @property
    def uploads(self) -> list[BlobInfo]:
        return list(self.list("videos-in/"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    opened = Shop(tmp_path / "state.sqlite")
    settings = Settings(state_path=tmp_path / "state.sqlite", video_max_bytes=1_000_000)
    monkeypatch.setattr(context, "load_settings", lambda: settings)
    monkeypatch.setattr(context, "open_blobs", lambda _: opened)
    monkeypatch.setattr(AzureQueue, "__init__", lambda *_: None)
    monkeypatch.setattr(AzureQueue, "send", lambda _, body: opened.told(body))
    return opened


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_clip(path, frames=2, fps=24, size=(32, 32))
    return path


def penstock(*arguments: object) -> Any:
    """What the command prints as JSON; raises what it raises."""
    done = CliRunner().invoke(video.app, [*map(str, arguments), "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def shown_by(*arguments: str) -> str:
    """What the command prints for people."""
    return CliRunner().invoke(video.app, arguments, catch_exceptions=False).stdout


def event_of(blob: str) -> bytes:
    """As Event Grid tells of an upload."""
    subject = f"/blobServices/default/containers/{blob.replace('/', '/blobs/', 1)}"
    return json.dumps({"subject": subject, "eventType": "Microsoft.Storage.BlobCreated"}).encode()


def sent(shop: Shop, film: Path) -> str:
    """A finished job."""
    return str(penstock("submit", film, "--wait")["id"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--style", "vangogh"], r"style: expected composition-vii \(fast, fine\), .* got 'vangogh'"),
        (["--quality", "best"], "quality: expected 'fast' or 'fine', got 'best'"),
        (["--size", "1x1"], "size: expected at least 16x16, got 1x1"),
        (["--size", "99999x99999"], "size: expected at most 9,437,184 pixels"),
        (["--scale", "9"], "scale: expected a number from 0.25 to 1"),
        (["--out", "there.mp4"], "there.mp4: is there already; write to another file, or say --force"),
        (["--out", "there.mkv"], r"there.mkv: this film becomes a .mp4 file; write it to there.mp4"),
        (["--out", "out.avi"], r"out.avi: this film becomes a .mp4 file"),
        (["--out", "none/out.mp4"], "none: no such folder to write the film to"),
        (["--out", "out"], "out: this film becomes a .mp4 file; write it to out.mp4"),
        (["--out", "same.mp4", "--force"], "same.mp4: is the source"),
        (["--out", f"{'x' * 300}.mp4"], "cannot be written: File name too long"),
        (["--out", "/proc/out.mp4"], "cannot be written: "),
    ],
)
def test_what_cannot_be_is_refused_before_a_byte_is_sent(
    shop: Shop, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same.mp4").write_bytes(film.read_bytes())
    (tmp_path / "there.mp4").write_bytes(b"precious")
    with pytest.raises(BadInput, match=reason):
        penstock("submit", "same.mp4", *options)
    assert shop.uploads == []
    assert (tmp_path / "there.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("content", "reason", "without_av"),
    [
        (b"", "the file is empty", True),
        (bytes(1_000_001), "has 1,000,001 bytes, at most 1,000,000 are taken", True),
        (b"not a film at all\n" * 100, "not a film that can be read", False),
    ],
)
def test_a_file_that_is_no_film_is_refused_as_far_as_it_can_be_seen_here(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str, without_av: bool
) -> None:
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(BadInput, match=reason):
        penstock("submit", tmp_path / "film.mp4")
    assert shop.uploads == []
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    if without_av:
        with pytest.raises(BadInput, match=reason):
            penstock("submit", tmp_path / "film.mp4")
    else:
        penstock("submit", tmp_path / "film.mp4")
    assert len(shop.uploads) == (0 if without_av else 1)


def test_a_film_is_written_to_a_file_into_a_folder_and_over_a_file_if_that_is_said(
    shop: Shop, film: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out.MP4", tmp_path / "folder"
    folder.mkdir()
    job = penstock("submit", film, "--out", out)
    assert out.read_bytes() == film.read_bytes()
    penstock("status", job["id"], "--out", folder)
    written = folder / Path(job["result"]).name
    assert written.read_bytes() == film.read_bytes()
    for there in (out, written, folder):
        with pytest.raises((BadInput, NotSaved), match=r"is there already; .* say --force"):
            penstock("status", job["id"], "--out", there)
    with pytest.raises(NotSaved) as told:
        penstock("status", job["id"], "--out", folder)
    _, _, command = str(told.value).rpartition("this fetches it: ")
    assert command.endswith(f"{written} --force")
    penstock(*shlex.split(command)[2:])
    out.write_bytes(b"old")
    penstock("status", job["id"], "--out", out, "--force")
    assert out.read_bytes() == film.read_bytes()
    shown = CliRunner().invoke(video.app, ["status", job["id"], "--out", str(out), "--force"]).stdout
    assert f"written   {out}" in shown


def test_a_film_of_another_ending_is_not_lost_and_the_command_that_fetches_it_is_told(
    shop: Shop, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # so that the ending is not known before
    shop.ending = ".mkv"
    out, other = tmp_path / "my film.mp4", tmp_path / "my film.mkv"
    other.write_bytes(b"precious")
    with pytest.raises(NotSaved, match=r"my film.mp4: this film becomes a .mkv file") as told:
        penstock("submit", film, "--out", out)
    assert not out.exists()
    _, _, command = str(told.value).rpartition("this fetches it: ")
    job = penstock(*shlex.split(command)[2:])
    assert (tmp_path / Path(job["result"]).name).read_bytes() == film.read_bytes()
    assert other.read_bytes() == b"precious"


@pytest.mark.parametrize("error", [TryLater("storage is away"), OSError(28, "No space left on device")])
def test_a_film_that_cannot_be_fetched_now_is_not_lost(
    shop: Shop, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    out = tmp_path / "out.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(shop, "download", fail)
        done = CliRunner().invoke(video.app, ["submit", str(film), "--out", str(out), "--json"])
    assert isinstance(done.exception, NotSaved)
    job = json.loads(done.stdout)
    assert str(done.exception).endswith(f"penstock video status {job['id']} --out {out}")
    assert job["state"] == VideoState.DONE


def test_an_upload_that_was_asked_for_over_http_is_shown_listed_waited_for_and_cancelled(
    shop: Shop, film: Path
) -> None:
    ids = ["0a", "1b"]
    for at, id in enumerate(ids):
        shop.videos.expect(
            VideoUpload(
                id=id, blob=f"videos-in/{id}/film.mp4", name="film.mp4", options=FilmOptions(style="great-wave"),
                caller="c", created_at=float(at), expires_at=900.0,
            )
        )  # fmt: skip
    assert penstock("status", "0a")["state"] == "expected"
    assert [each["id"] for each in penstock("list", "--state", "expected")] == ["1b", "0a"]
    assert penstock("list") == []
    assert penstock("cancel", "0a")["state"] == "cancelled"
    assert [each["id"] for each in penstock("list", "--state", "expected")] == ["1b"]
    shop.told(event_of(shop.upload("videos-in/1b/film.mp4", film).name))
    shown = penstock("status", "1b", "--wait")
    assert (shown["state"], shown["options"]["style"]) == ("done", "great-wave")
    assert [each["id"] for each in penstock("list", "--state", "done")] == [shown["id"]]
    assert penstock("list", "--state", "failed") == []
    assert penstock("cancel", "1b")["state"] == "done"
    with pytest.raises(NotFound, match="there is no video '2c'"):
        penstock("cancel", "2c")
    assert "state     cancelled" in shown_by("status", "0a", "--log")


def test_a_try_that_failed_is_no_error_of_a_film_that_goes_on(shop: Shop) -> None:
    opened = shop.videos.open("20260131T100000Z-0", BlobInfo("videos-in/x", 1, "e", 0.0), name="x", options=None)
    assert opened
    shop.videos.set("20260131T100000Z-0", error="segment 3: no headway for 30 s")
    assert "last failed try  segment 3: no headway" in shown_by("status")
    shop.work.fail("20260131T100000Z-0", "gave up, failed 5 times; the last time: segment 3: no headway")
    shown = shown_by("status")
    assert "error     gave up" in shown
    assert "last failed try" not in shown


def test_logs_are_shown_in_the_order_of_steps_whenever_they_were_written(shop: Shop, film: Path) -> None:
    job = penstock("submit", film, "--wait")
    for name in ("join", "segment-000001", "plan", "segment-000000"):
        shop.create(f"{job['log']}{name}.txt", b"a line\n")
    heads = re.findall(r"^-- .*/(.*)\.txt$", shown_by("status", "--log"), re.M)
    assert heads == ["plan", "segment-000000", "segment-000001", "join"]


def test_the_limits_are_those_of_the_settings() -> None:
    settings = Settings(
        video_max_pixels=1, video_max_side=16, video_max_seconds=2, video_max_frames=3, video_max_bytes=4
    )
    assert settings.film_limits == Limits(max_pixels=1, max_side=16, max_seconds=2, max_frames=3, max_bytes=4)
    assert Settings().film_limits == Limits()


def test_the_endings_that_are_known_here_are_those_of_all_plans() -> None:
    assert set(ENDINGS) == {f".{name}" for name in FilmPlan.__annotations__["container"].__args__}


def test_a_name_without_an_ending_that_a_film_can_have_is_refused_whatever_the_film(tmp_path: Path) -> None:
    for name in ("out", "out.avi", "out.mp4.txt"):
        with pytest.raises(BadInput, match=r"expected a name that ends in .mp4 or .mov or .mkv, or a folder"):
            check_out(tmp_path / name, force=True)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_films_are_listed_with_whole_ids_and_names_in_every_width(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    names = ["film.mp4", "holiday in the mountains, first day, before noon (copy 2).mp4", "日本" * 40, "x" * 255]
    ids = [f"20260131T10000{at}Z-0123456789abcdef" for at in range(len(names))]
    for id, name in zip(ids, names, strict=True):
        shop.videos.open(id, BlobInfo("videos-in/x", 1, "e", 0.0), name=name, options=None)
        shop.videos.set(id, frames=400_000, frames_done=123_456, state=VideoState.CANCELLED)
    monkeypatch.setattr(output.stdout, "width", width)
    lines = CliRunner().invoke(video.app, ["list"], catch_exceptions=False).stdout.splitlines()
    assert all(len(line) <= width for line in lines)
    for id, name in zip(ids, names, strict=True):
        first = next(at for at, line in enumerate(lines) if line.startswith(f"{id} "))
        assert "cancelled" in lines[first]
        assert "123456/400000" in lines[first + 1]
        assert _begin_with(name, lines[first + 1 :])


def _begin_with(name: str, lines: list[str]) -> bool:
    """Whether the lines begin with all of the name, piece by piece."""
    rest = name.replace(" ", "")
    for line in lines:
        piece = line.split("  ")[0].replace(" ", "")
        if not rest.startswith(piece):
            break
        rest = rest.removeprefix(piece)
    return not rest

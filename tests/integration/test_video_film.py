"""Whole films restyled by several processes on this machine, undisturbed, killed, and stopped half-way."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from onnx import helper

from models.contracts.film import FilmOptions, Limits
from models.errors import BadInput, TryLater
from models.style.library import Style
from tests.unit.styles import Painter, manifest_of, model_of
from video.clip import make_clip
from video.crew import Crew, Job
from video.film import Progress, plan_for, stylise_film

pytestmark = pytest.mark.integration

_OPTIONS = FilmOptions(style="toy")


def inverting() -> Style:
    """White becomes black: what came out says of each frame which it was."""
    graph = model_of([helper.make_node("Sub", ["one", "image"], ["styled"])], {"one": np.float32(1)})
    data = graph.SerializeToString()
    return Style(manifest_of(data), data, "shipped-test")


def broken() -> Style:
    graph = model_of([helper.make_node("Div", ["image", "none"], ["styled"])], {"none": np.float32(0)})
    data = graph.SerializeToString()
    return Style(manifest_of(data), data, "shipped-test")


def pictures(path: Path) -> list[tuple[float, Any]]:
    with av.open(path) as container:
        return [(float(f.time), f.to_ndarray(format="rgb24").astype(int)) for f in container.decode(video=0)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    make_clip(folder / "clip.mp4", frames=60, fps=30, size=(96, 64))
    return folder / "clip.mp4"


def test_every_frame_is_restyled_at_its_time_and_nothing_else_is_left(clip: Path, tmp_path: Path) -> None:
    moved: list[Progress] = []
    out = tmp_path / "out"
    out.mkdir()
    made = stylise_film(clip, out, inverting(), _OPTIONS, workers=2, preview=out / "pair.jpg", progress=moved.append)
    assert (made.frames, made.workers, made.out) == (60, 2, str(out / "clip-toy.mp4"))
    before, after = pictures(clip), pictures(out / "clip-toy.mp4")
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    assert max(np.abs(255 - old - new).mean() for (_, old), (_, new) in zip(before, after, strict=True)) < 12
    assert [moved[-1].frames, moved[-1].of] == [60, 60]
    assert sorted(each.name for each in out.iterdir()) == ["clip-toy.mp4", "pair.jpg"]
    with av.open(out / "pair.jpg") as pair:
        assert next(pair.decode(video=0)).height == 64
    assert multiprocessing.active_children() == []


@pytest.mark.scheduled
@pytest.mark.parametrize("workers", [4, 8])
def test_no_frame_is_lost_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    make_clip(clip, frames=823, fps=30, size=(64, 48))
    made = stylise_film(clip, out, inverting(), _OPTIONS, workers=workers)
    assert (made.frames, made.workers) == (823, workers)
    before, after = pictures(clip), pictures(out)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    assert max(np.abs(255 - old - new).mean() for (_, old), (_, new) in zip(before, after, strict=True)) < 20


def test_killed_processes_cost_their_segments_and_change_nothing(clip: Path, tmp_path: Path) -> None:
    style = inverting()
    stylise_film(clip, tmp_path / "calm.mp4", style, _OPTIONS, workers=2)
    victims: list[int] = []

    def kill(now: Progress) -> None:
        if now.frames > 20 * (len(victims) + 1) - 15 and len(victims) < 2:
            victim = multiprocessing.active_children()[0]
            victims.append(victim.pid or 0)
            os.kill(victims[-1], signal.SIGKILL)

    made = stylise_film(clip, tmp_path / "hit.mp4", style, _OPTIONS, workers=2, progress=kill)
    assert len(victims) == 2
    assert made.frames == 60
    calm, hit = pictures(tmp_path / "calm.mp4"), pictures(tmp_path / "hit.mp4")
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(calm, hit, strict=True))


def test_a_segment_at_which_processes_keep_dying_fails_the_film_with_the_signal(clip: Path, tmp_path: Path) -> None:
    def kill(_: Progress) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(BadInput, match="3 processes died at it, the last by SIGKILL"):
        stylise_film(clip, tmp_path / "out.mp4", inverting(), _OPTIONS, workers=1, progress=kill)
    assert not list(tmp_path.glob("*.mp4"))


def test_a_broken_network_fails_the_film_and_leaves_no_file(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="style toy: the network gave values that are not finite"):
        stylise_film(clip, tmp_path / "out.mp4", broken(), _OPTIONS, workers=2)
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
    assert multiprocessing.active_children() == []


def test_a_process_that_cannot_write_says_why(clip: Path, tmp_path: Path) -> None:
    plan = plan_for(clip, _OPTIONS, Limits(), workers=1)
    full = tmp_path / "full"
    full.mkdir()
    (full / "0.partial").symlink_to("/dev/full")
    for folder, reason in ((tmp_path / "gone", "No such file"), (full, f"{tmp_path}: No space left on device")):
        job = Job(clip, plan, inverting(), folder, threads=1)
        with Crew(job, 1) as crew, pytest.raises(TryLater, match=f"a segment cannot be made: .*{reason}"):
            crew.make([0], lambda _: None)


def test_where_a_film_cannot_be_written_is_said_before_any_work(clip: Path, tmp_path: Path) -> None:
    for out, reason in (
        (tmp_path / "film.avi", r"becomes a \.mp4 file; write it to film\.mp4"),
        (tmp_path / "none" / "film.mp4", "no such folder"),
        (clip, "is the source"),
        (Path("/proc/film.mp4"), r"/proc/film\.mp4: cannot be written: "),
    ):
        with pytest.raises(BadInput, match=reason):
            stylise_film(clip, out, inverting(), _OPTIONS)
    with pytest.raises(BadInput, match=r"\.png or \.jpg"):
        stylise_film(clip, tmp_path / "film.mp4", inverting(), _OPTIONS, preview=tmp_path / "a.gif")
    with pytest.raises(BadInput, match="cannot be written: "):
        stylise_film(clip, tmp_path / "film.mp4", inverting(), _OPTIONS, preview=Path("/proc/a.png"))
    assert not (tmp_path / "film.mp4").exists()


def test_a_preview_that_cannot_be_written_is_a_note_to_the_film(clip: Path, tmp_path: Path) -> None:
    preview = tmp_path / "pictures" / "pair.png"
    preview.parent.mkdir()
    made = stylise_film(
        clip, tmp_path / "film.mp4", inverting(), _OPTIONS, workers=1, preview=preview,
        progress=lambda _: shutil.rmtree(preview.parent, ignore_errors=True),
    )  # fmt: skip
    assert made.notes[-1] == f"no preview: {preview}: No such file or directory"
    assert made.preview is None
    assert len(pictures(tmp_path / "film.mp4")) == 60


def test_what_is_wrong_with_a_film_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "none.mp4").touch()
    with pytest.raises(BadInput, match=r"^none\.mp4: the file is empty"):
        stylise_film(tmp_path / "none.mp4", tmp_path / "out.mp4", inverting(), _OPTIONS)


def test_a_file_that_is_there_is_replaced_by_force_only(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    out.write_bytes(b"dear")
    with pytest.raises(BadInput, match="is there already; write to another file, or say --force"):
        stylise_film(clip, out, inverting(), _OPTIONS)
    (tmp_path / "film.jpg").write_bytes(b"dear")
    with pytest.raises(BadInput, match=r"film\.jpg: is there already"):
        stylise_film(clip, tmp_path / "new.mp4", inverting(), _OPTIONS, preview=tmp_path / "film.jpg")
    assert out.read_bytes() == b"dear"
    stylise_film(clip, out, inverting(), _OPTIONS, workers=1, force=True)
    assert len(pictures(out)) == 60


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way_no_process_stays_and_after_ctrl_c_no_file(clip: Path, tmp_path: Path, stop: int) -> None:
    painter = Painter(16).onnx()
    (tmp_path / "net.onnx").write_bytes(painter)
    script = textwrap.dedent("""
        import multiprocessing, sys
        from pathlib import Path
        from models.contracts.film import FilmOptions
        from models.style.library import Style
        from tests.unit.styles import manifest_of
        from video.film import stylise_film

        def told(now):
            if now.frames == 4:
                print(*(child.pid for child in multiprocessing.active_children()), flush=True)
                sys.stdin.read()  # so that the film is not whole before the signal comes

        if __name__ == "__main__":
            graph = Path(sys.argv[1]).read_bytes()
            style = Style(manifest_of(graph, multiple=2), graph, "shipped-test")
            clip, out = map(Path, sys.argv[2:])
            stylise_film(clip, out, style, FilmOptions(style="toy", size="640x360"), workers=2, progress=told)
    """)
    (tmp_path / "run.py").write_text(script)
    command = [
        sys.executable,
        str(tmp_path / "run.py"),
        str(tmp_path / "net.onnx"),
        str(clip),
        str(tmp_path / "out.mp4"),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        pids = [int(each) for each in process.stdout.readline().split()]
        assert len(pids) == 2
        os.killpg(process.pid, stop) if stop == signal.SIGINT else process.kill()
        # The pipe closes when the last process that holds it has ended.
        _, errors = process.communicate(timeout=60)
    assert not (tmp_path / "out.mp4").exists()
    if stop == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]

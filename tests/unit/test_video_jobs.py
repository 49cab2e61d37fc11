"""Jobs of films: how they begin, what their steps make, what is done twice, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.contracts.film import FilmOptions, Limits
from models.contracts.videos import VideoJob, VideoMessage, VideoState
from models.errors import BadInput, Damaged, NotFound, TryLater
from models.names import video_result_blob, video_segment_blob, video_work_prefix
from models.ports import Put
from models.videos import film_options, job_id, safe_name, safe_stem
from tests.unit.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def result(studio: Studio, job: VideoJob) -> str:
    return studio.blobs.get(studio.videos.get(job.id).result).data.decode()


def marker_of(job: VideoJob) -> str:
    """An id of which the record's document would be the mark that the job has not ended."""
    stamp, dash, rest = job.id.partition("-")
    return f"unfinished:{stamp.translate(str.maketrans('0123456789', '9876543210'))}{dash}{rest}"


def left(studio: Studio, job: VideoJob) -> list[str]:
    return [info.name for info in studio.blobs.list(video_work_prefix(job.id))]


# How jobs begin.


def test_an_upload_becomes_one_job_however_often_its_event_comes(studio: Studio) -> None:
    info = studio.put(style="great-wave")
    for _ in range(3):
        studio.intake.receive(studio.event(info))
    (job,) = studio.videos.latest()
    assert (job.name, job.source, job.state) == ("film.mp4", "videos-in/film.mp4", VideoState.RECEIVED)
    assert job.options == FilmOptions(style="great-wave")
    assert studio.next() == VideoMessage(kind="plan", job=job.id)
    assert studio.next() is None


def test_another_version_or_other_options_are_another_job(studio: Studio) -> None:
    ids = {job_id(studio.put(), {})}
    ids.add(job_id(studio.put(), {}))
    info = studio.put()
    ids |= {job_id(info, {}), job_id(info, {"style": "a"}), job_id(info, {"style": "a", "quality": "fast"})}
    ids.add(job_id(info, {"style": "a", "unknown": "ignored"}))
    assert len(ids) == 5


def test_an_event_is_read_as_event_grid_sends_it(studio: Studio) -> None:
    info = studio.put("a folder/100% grüße.mp4")
    studio.intake.receive(studio.event(info).replace(b" ", b"%20").replace(b"100%", b"100%25"))
    assert studio.videos.latest()[0].source == info.name


def test_events_about_other_things_and_blobs_that_are_gone_start_nothing(studio: Studio) -> None:
    info = studio.put()
    studio.intake.receive(studio.event(info, eventType="Microsoft.Storage.BlobDeleted"))
    studio.intake.receive(studio.event(info).replace(b"videos-in", b"videos-out"))
    studio.blobs.delete(info.name)
    studio.intake.receive(studio.event(info))
    assert studio.videos.latest() == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"subject": "videos-in/film.mp4"}', b"\xff"])
def test_a_message_that_is_no_event_is_bad_input(studio: Studio, body: bytes) -> None:
    with pytest.raises(BadInput):
        studio.intake.receive(body)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"quality": "best"}, "quality: expected 'fast' or 'fine', got 'best'"),
        ({"scale": "2"}, "scale: expected a number from 0.25 to 1, got '2.0'"),
        ({"scale": "big"}, "scale: expected a number, got 'big'"),
        ({"strength": "nan"}, "strength: expected a number from 0 to 1, got 'nan'"),
        ({"size": "640*360"}, "size: expected 'WIDTHxHEIGHT', like '640x360', got '640*360'"),
        ({"size": "1x1"}, "size: expected at least 16x16, got 1x1"),
        ({"size": "8193x16"}, "size: expected at most 9,437,184 pixels and 8192 a side, got 8193x16"),
        ({"style": "../../etc"}, "style: expected a name like 'starry-night', got '../../etc'"),
        (
            {"style": "vangogh"},
            "style: expected composition-vii (fast, fine), great-wave (fast, fine), starry-night (fast, fine), "
            "toy (fast), got 'vangogh'",
        ),
        ({"style": "toy"}, "style toy: expected quality fast, got 'fine'"),
    ],
)
def test_options_that_cannot_be_end_the_job_with_what_was_expected(
    studio: Studio, metadata: dict[str, str], reason: str
) -> None:
    studio.register("toy", "fast")
    job = studio.start(studio.put(**metadata))
    assert (job.state, job.error, job.options) == (VideoState.FAILED, reason, None)
    assert studio.next() is None
    assert studio.videos.unfinished() == []


def test_a_style_of_the_registry_can_be_asked_for_once_it_is_live(studio: Studio) -> None:
    studio.register("toy", "fast", live=False)
    job = studio.start(studio.put(style="toy", quality="fast"))
    assert "got 'toy'" in job.error
    studio.register("toy", "fast")
    assert studio.start(studio.put(style="toy", quality="fast")).error == ""


def test_the_limits_of_this_installation_hold_for_what_is_asked(studio: Studio) -> None:
    assert film_options({"size": "640x360"}, Limits(max_pixels=640 * 360)).size == "640x360"
    with pytest.raises(BadInput, match="at most 230,399 pixels"):
        film_options({"size": "640x360"}, Limits(max_pixels=640 * 360 - 1))


def test_options_are_read_from_texts_and_other_metadata_is_ignored() -> None:
    given = {"style": "great-wave", "quality": "fast", "scale": "0.5", "strength": "1", "size": "64x36", "mtime": "7"}
    assert film_options(given) == FilmOptions(
        style="great-wave", quality="fast", scale=0.5, strength=1.0, size="64x36"
    )
    assert film_options({}) == film_options({"scale": "", "style": " "}) == FilmOptions(style="starry-night")


HOSTILE = [
    "a b.mp4", "a.b.mp4", "a.c.mp4", "'; rm -rf ~ #.mp4", '"quoted".mp4', "grüße/日本 😀.mp4", "..mp4", "...", "-rf",
    "no ending", "processed_food.mp4", "x" * 900 + ".mp4", "%2e%2e%2fetc%2fpasswd", "$(touch x).mp4", "a\\b.mp4",
    "a.mp4/", "a.mp4//b.mp4",
]  # fmt: skip


def test_hostile_names_are_stylised_and_never_collide(studio: Studio) -> None:
    for name in HOSTILE:
        studio.start(studio.put(name))
    studio.run()
    jobs = studio.videos.latest()
    assert [job.error for job in jobs] == [""] * len(HOSTILE)
    assert len({job.result for job in jobs}) == len(HOSTILE)
    for job in jobs:
        _, _, name = job.result.partition("videos-out/")
        assert "/" not in name
        assert len(name) < 130
        assert result(studio, job) == "ABCDEFGHIJ"


@pytest.mark.parametrize("name", ["a/../b.mp4", "../x.mp4", "./x.mp4", "a/.."])
def test_a_name_that_clients_fold_into_another_ends_its_job(studio: Studio, name: str) -> None:
    job = studio.start(studio.put(name))
    assert job.state == VideoState.FAILED
    assert "'..'" in job.error


def test_names_become_one_segment_of_a_blob_that_says_something_of_them() -> None:
    assert safe_name("../a b/'c'.mp4") == "_a_b__c_.mp4"
    assert safe_name("grüße.mp4") == "grüße.mp4"
    assert safe_name("gru\u0308\u00dfe.mp4") == "grüße.mp4"  # as macOS writes it
    assert safe_name("film..") == "film"
    assert safe_name("...") == safe_name("") == "film"
    assert len(safe_name("x" * 500 + ".mp4")) == 80
    assert (safe_stem("a.b.mp4"), safe_stem(".mp4"), safe_stem("film")) == ("a.b", "mp4", "film")


# What the steps make.


def test_a_film_is_planned_made_in_segments_joined_and_its_work_removed(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = studio.start()
    said = studio.run()
    assert [text.split(" of ")[0] for text in said] == [
        "plan", "segment-000000", "segment-000001", "segment-000002", "join",
    ]  # fmt: skip
    done = studio.videos.get(job.id)
    assert result(studio, job) == "ABCDEFGHIJ"
    assert done.result == video_result_blob("film", job.id, ".mp4")
    assert (done.state, done.segments, done.segments_done, done.frames, done.frames_done) == ("done", 3, 3, 10, 10)
    assert (done.notes, done.network, done.error) == (["a note"], "shipped-0123456789ab", "")
    assert left(studio, job) == []
    assert studio.videos.unfinished() == []
    logs = {info.name.removeprefix(done.log) for info in studio.blobs.list(done.log)}
    assert logs == {"plan.txt", "segment-000000.txt", "segment-000001.txt", "segment-000002.txt", "join.txt"}
    assert b"4 frames" in studio.blobs.get(f"{done.log}segment-000001.txt").data


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 823])
def test_every_frame_comes_out_whatever_their_number(studio: Studio, frames: int) -> None:
    job = studio.start(studio.put(frames="x" * frames))
    studio.run()
    assert result(studio, job) == "X" * frames


def test_messages_delivered_twice_make_nothing_twice(studio: Studio) -> None:
    job = studio.start()
    while message := studio.next():
        for _ in range(2):
            studio.steps.do(message)
    assert studio.pipeline.planned == 1
    assert sorted(studio.pipeline.made) == [0, 1, 2]
    assert studio.pipeline.joined == 1
    assert result(studio, job) == "ABCDEFGHIJ"


def test_messages_in_any_order_and_from_the_past_do_no_harm(studio: Studio) -> None:
    job = studio.start()
    studio.run(1)
    messages = []
    while message := studio.next():
        messages.append(message)
    studio.steps.do(VideoMessage(kind="join", job=job.id))  # asks for what is missing
    for each in [*reversed(messages), *messages]:
        studio.steps.do(each)
    studio.run()
    assert studio.pipeline.joined == 1
    assert "is done" in studio.steps.do(messages[0])
    assert "no such video" in studio.steps.do(VideoMessage(kind="plan", job="20260131T100000Z-0"))
    assert "3 segments" in _ask(studio, studio.start(studio.put("other.mp4")), 7)
    assert result(studio, job) == "ABCDEFGHIJ"


def test_segments_that_no_plan_has_are_not_made_and_do_not_count(studio: Studio) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"`int` >= 0"):
        msgspec.json.decode(b'{"kind": "segment", "job": "a", "segment": -1}', type=VideoMessage)
    job = studio.start()
    studio.run(3)
    assert "3 segments" in studio.steps.do(VideoMessage(kind="segment", job=job.id, segment=-1))
    for stray in (-1, 3):
        studio.blobs.create(video_segment_blob(job.id, stray), b"?")
    counted = studio.work.progress(studio.videos.get(job.id))
    assert (counted.state, counted.segments_done) == (VideoState.STYLISING, 2)
    studio.run()
    assert result(studio, job) == "ABCDEFGHIJ"


def _ask(studio: Studio, job: VideoJob, segment: int) -> str:
    studio.run(1)
    return studio.steps.do(VideoMessage(kind="segment", job=job.id, segment=segment))


def test_the_first_of_two_workers_decides_a_segment(studio: Studio) -> None:
    job = studio.start()
    studio.run(1)
    message = studio.next()
    assert message is not None
    rival = studio.worker("1")
    studio.pipeline.during = lambda: (setattr(studio.pipeline, "during", lambda: None), rival.do(message))[0]
    studio.steps.do(message)
    studio.run()
    assert sorted(studio.pipeline.made) == [0, 0, 1, 2]
    assert result(studio, job) == "ABCDEFGHIJ"


def test_of_two_that_join_one_publishes_and_both_end(studio: Studio) -> None:
    job = studio.start()
    studio.run(4)
    message = studio.next()
    assert message is not None
    rival = studio.worker("1")
    studio.pipeline.during = lambda: (setattr(studio.pipeline, "during", lambda: None), rival.do(message))[0]
    assert "done" in studio.steps.do(message)
    assert studio.videos.get(job.id).state == VideoState.DONE
    assert result(studio, job) == "ABCDEFGHIJ"
    assert left(studio, job) == []


def test_a_worker_that_dies_anywhere_costs_no_more_than_its_step(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each write of a job's life in turn, the process is gone; the message comes again."""

    class Died(BaseException):
        pass

    dead = 0
    for life in range(100):
        info = studio.put(f"{life}.mp4")
        job = studio.start(info)
        writes = 0

        def counted(real: Any, life: int = life) -> Any:
            def write(*given: Any, **more: Any) -> Any:
                nonlocal writes
                made = real(*given, **more)
                writes += 1
                if writes == life + 1:
                    raise Died
                return made

            return write

        with monkeypatch.context() as patched:
            for port, name in (
                (studio.blobs, "create"), (studio.blobs, "upload"), (studio.blobs, "delete"),
                (studio.state, "transact"), (studio.queue, "send"),
            ):  # fmt: skip
                patched.setattr(port, name, counted(getattr(port, name)))
            died = False
            while not studio.videos.get(job.id).state.is_end:
                message = studio.next()
                if message is None:  # what healed: the sweep
                    studio.clock.advance(11)
                    studio.sweeper.sweep()
                    message = studio.next()
                    assert message is not None
                try:
                    studio.steps.do(message)
                except Died:
                    died = True
                    studio.steps.do(message)
        studio.run()
        assert result(studio, job) == "ABCDEFGHIJ"
        dead += died
        if not died:
            break
    assert dead > 10


def test_what_made_each_segment_is_kept_and_said_where_it_differs(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = studio.start()
    studio.pipeline.runtime = "Letters β, fp16"
    studio.run(2)
    assert studio.work.runtimes(job.id) == {"Letters ?, fp16": 1}
    studio.pipeline.runtime = "Letters 1.0, bf16"
    studio.run(2)
    join = studio.next()
    assert join is not None
    studio.pipeline.during = lambda: (_ for _ in ()).throw(TryLater("the disk is full"))
    with pytest.raises(TryLater):
        studio.steps.do(join)
    studio.pipeline.during = lambda: None
    studio.steps.do(join)
    said = "its segments were made by different runtimes, which may round differently"
    assert studio.videos.get(job.id).notes == ["a note", f"{said}: Letters 1.0, bf16 (2), Letters ?, fp16 (1)"]
    assert b"by Letters 1.0, bf16" in studio.blobs.get(f"{job.log}segment-000002.txt").data
    other = studio.start(studio.put("other.mp4"))
    studio.run()
    assert studio.videos.get(other.id).notes == ["a note"]
    assert b"segments made by Letters 1.0, bf16 (3)" in studio.blobs.get(f"{other.log}join.txt").data


# How jobs end otherwise.


def test_a_film_that_cannot_be_fails_with_its_reason(studio: Studio) -> None:
    job = studio.start(studio.put(frames=""))
    studio.run()
    ended = studio.videos.get(job.id)
    assert (ended.state, ended.error) == (VideoState.FAILED, "there is no frame in this film")
    assert studio.videos.unfinished() == []


def test_a_segment_of_a_bad_film_fails_the_job_and_leaves_nothing(studio: Studio) -> None:
    job = studio.start()
    studio.run(2)

    def nan() -> None:
        raise BadInput("style x: the network gave values that are not finite")

    studio.pipeline.during = nan
    studio.run(1)
    assert studio.videos.get(job.id).error.startswith("style x: ")
    assert left(studio, job) == []
    studio.run()
    assert studio.videos.get(job.id).state == VideoState.FAILED


def test_a_film_replaced_under_its_job_fails_it_and_has_a_job_of_its_own(studio: Studio) -> None:
    job = studio.start()
    studio.run(2)
    other = studio.start(studio.put(frames="zz"))
    studio.run()
    assert studio.videos.get(job.id).error == (
        "the uploaded film was replaced by a newer upload, which becomes a job of its own"
    )
    assert result(studio, other) == "ZZ"


def test_a_film_that_is_gone_or_too_large_fails(studio: Studio) -> None:
    job = studio.start()
    studio.blobs.delete("videos-in/film.mp4")
    large = studio.start(studio.put("large.mp4", frames="x" * 1001))
    studio.run()
    assert "gone" in studio.videos.get(job.id).error
    assert studio.videos.get(large.id).error == "size of the file: expected at most 1000 bytes, got 1001"


def test_a_cancelled_job_stops_at_the_next_batch_and_leaves_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video.worker.headway._REPORT_EVERY_S", 0.0)
    job = studio.start()
    studio.run(1)
    studio.pipeline.during = lambda: studio.work.cancel(job.id) and None
    assert "ended meanwhile" in studio.run(1)[0]
    assert studio.pipeline.made == []
    assert studio.videos.get(job.id).state == VideoState.CANCELLED
    studio.run()
    assert left(studio, job) == []


def test_a_job_cancelled_while_it_is_joined_publishes_nothing(studio: Studio) -> None:
    job = studio.start()
    studio.run(4)
    studio.pipeline.during = lambda: studio.work.cancel(job.id) and None
    studio.run()
    ended = studio.videos.get(job.id)
    assert (ended.state, ended.result) == (VideoState.CANCELLED, "")
    assert list(studio.blobs.list("videos-out/")) == []


def test_a_step_whose_storage_is_away_may_come_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    job = studio.start()
    message = studio.next()
    assert message is not None

    def away(*_: object, **__: object) -> None:
        raise TryLater("storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(studio.blobs, "create", away)
        with pytest.raises(TryLater):
            studio.steps.do(message)
    studio.steps.do(message)
    studio.run()
    assert result(studio, job) == "ABCDEFGHIJ"


# Sources on a worker's disk.


def test_a_film_is_downloaded_once_and_room_is_made_for_the_next(studio: Studio, monkeypatch) -> None:
    downloads: list[str] = []
    real = studio.blobs.download
    monkeypatch.setattr(studio.blobs, "download", lambda name, path: (downloads.append(name), real(name, path))[1])
    first = studio.put("a.mp4", frames="a" * 60)
    second = studio.put("b.mp4", frames="b" * 60)
    sources = studio.steps.sources
    kept = sources.get(first.name, first.etag)
    assert sources.get(first.name, first.etag) == kept
    assert sources.get(second.name, second.etag).read_text() == "b" * 60
    assert not kept.exists()
    sources.get(first.name, first.etag)
    assert downloads == [first.name, second.name, first.name]


def test_what_a_killed_worker_left_on_disk_is_removed_at_the_start(studio: Studio) -> None:
    info = studio.put()
    file = studio.steps.sources.get(info.name, info.etag)
    (file.parent / "half.part").write_bytes(b"x")
    studio.worker("0")
    assert list(file.parent.iterdir()) == []


def test_records_that_are_asked_for_and_are_not_there_are_not_found(studio: Studio) -> None:
    for id in ("", "20260131T100000Z-0123456789abcdef", "unfinished:", "x", marker_of(studio.start())):
        with pytest.raises(NotFound):
            studio.videos.get(id)
        assert not studio.videos.is_known(id)


def test_a_record_that_cannot_be_read_is_named_and_left_out_where_many_are_read(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    job, other = studio.start(), studio.start(studio.put("other.mp4"))
    name = marker_of(job).removeprefix("unfinished:")
    studio.state.transact("videos", "videos", [Put(name, b'{"id": 5}')])
    with pytest.raises(
        Damaged, match=f"video '{job.id}' cannot be read .* remove document '{name}' from videos/videos"
    ):
        studio.videos.get(job.id)
    assert [each.id for each in studio.videos.latest()] == [other.id]
    assert job.id in caplog.text


def test_a_message_is_what_its_contract_says(studio: Studio) -> None:
    job = studio.start()
    body = studio.queue.bodies[0]
    assert msgspec.json.decode(body) == {"version": 1, "kind": "plan", "job": job.id, "segment": 0}

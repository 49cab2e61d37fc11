"""`/api/videos`, the sweep over films, and the triggers, on fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import pytest

from functions.films import films
from functions.videos.sweep import Swept
from functions.videos.uploads import caller_of
from models.contracts.videos import VideoMessage, VideoState
from models.errors import BadInput, ConfigurationError, PenstockError, TryLater
from models.ports import BlobInfo, Put
from tests.unit.studio import Studio
from tests.unit.videohttp import KEY, call


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_an_upload_is_asked_for_put_and_followed_to_its_end(studio: Studio) -> None:
    asked = {"name": "holiday 1.mp4", "style": "great-wave", "quality": "fast", "scale": 0.5, "strength": 0.25}
    status, accepted, _ = call(studio, "POST", body=asked)
    assert status == 201
    assert accepted["blob"] == f"videos-in/{accepted['id']}/holiday_1.mp4"
    assert accepted["upload_url"].endswith("sp=cw")
    assert (accepted["method"], accepted["headers"]) == ("PUT", {"x-ms-blob-type": "BlockBlob"})
    assert accepted["expires_at"] == studio.clock.now() + 900
    status, waiting, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert (status, waiting["state"], waiting["name"]) == (200, "expected", "holiday 1.mp4")

    info = studio.blobs.replace(accepted["blob"], b"abcdefghij")
    for _ in range(2):
        studio.intake.receive(studio.event(info))
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert (job["state"], job["options"]["quality"], job["options"]["strength"]) == ("received", "fast", 0.25)
    assert job["caller"] == caller_of(KEY, {})

    studio.run(1)
    studio.clock.advance(4)
    studio.run(2)
    _, job, _ = call(studio, "GET", f"videos/{job['id']}")
    assert [job[each] for each in ("state", "segments", "segments_done", "frames", "frames_done")] == [
        "stylising", 3, 2, 10, 8,
    ]  # fmt: skip
    assert (job["fps"], job["eta_s"]) == (2.0, 1.0)
    assert job["download_url"] == ""
    studio.run()
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert (job["state"], job["frames_done"], job["eta_s"]) == ("done", 10, None)
    assert job["download_url"].startswith(f"https://links.invalid/{job['result']}?sp=r")
    assert "sp=" not in json.dumps(list(map(str, studio.state.documents.values())))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "expected JSON like"),
        (b" \n", "got nothing; {} asks for a film with all defaults"),
        (b"{", "expected JSON like"),
        (b"[]", "got an array"),
        (b"null", "got null"),
        (b'"film.mp4"', "got 'film.mp4'"),
        (b"name=film.mp4&style=great-wave", "expected JSON like"),
        (b'{"name": 5}', "name: expected a text, got 5"),
        (b'{"name": null}', "name: expected a text, got null"),
        (b'{"style": ["great-wave"]}', "style: expected a text, got an array"),
        (b'{"size": {"width": 640}}', "size: expected a text, got an object"),
        (b'{"scale": "big"}', "scale: expected a number, got 'big'"),
        (b'{"strength": true}', "strength: expected a number, got true"),
        (b'{"name": ""}', "name: expected 1 to 255 characters"),
        (b'{"name": "a\\u0000b"}', "without control characters"),
        (b'{"name": "a\\u009b2Jb"}', "without control characters"),
        (b'{"name": "\\ud800"}', r"half of a surrogate pair in '\ud800'"),
        (b'{"style": "\\ud800"}', "style: expected a name like"),
        (json.dumps({"name": "x" * 256}).encode(), "got 'xxxx"),
        (b'{"quality": "best"}', "quality: expected 'fast' or 'fine', got 'best'"),
        (b'{"quality": "fine", "Quality": "fast"}', "strength, size; got one that is called 'Quality'"),
        (b'{"style": "great-wave", "style": "starry-night"}', "expected each field once, got 'style' more often"),
        (b'{"\\ud800": 1}', r"got one that is called '\ud800'"),
        (b'{"scale": 7}', "scale: expected a number from 0.25 to 1, got '7.0'"),
        (b'{"scale": NaN}', "expected numbers as JSON has them, got NaN"),
        (b'{"strength": -Infinity}', "expected numbers as JSON has them, got -Infinity"),
        (b'{"strength": 1e999}', "strength: expected a number from 0 to 1"),
        (b'{"strength": 1' + b"0" * 400 + b"}", "strength: expected a number"),
        (b'{"strength": 1' + b"0" * 9000 + b"}", "expected JSON like"),
        (b'{"size": "huge"}', "size: expected 'WIDTHxHEIGHT'"),
        (b'{"size": "0x0"}', "size: expected 'WIDTHxHEIGHT'"),
        (b'{"size": "1x1"}', "size: expected at least 16x16, got 1x1"),
        (b'{"size": "99999x99999"}', "size: expected at most 9,437,184 pixels and 8192 a side, got 99999x99999"),
        (b'{"style": "../x"}', "style: expected a name like"),
        (b'{"style": "vangogh"}', "style: expected composition-vii (fast, fine), great-wave (fast, fine), starry"),
        (b'{"name": "\xff"}', "expected UTF-8, got a byte that is none at 10"),
        ("{}".encode("utf-16"), "expected UTF-8"),
        (b"[" * 16_000, "too many brackets in brackets"),
        (b'{"name":' * 2_000, "expected JSON like"),
        (b"x" * 20_000, "the film itself goes to upload_url"),
    ],
)
def test_a_request_that_cannot_be_is_a_400_that_says_what_was_expected(
    studio: Studio, body: bytes, expected: str
) -> None:
    status, answer, _ = call(studio, "POST", body=body)
    assert status == 400
    assert expected in answer["error"]
    assert studio.state.documents == {}  # nothing is counted either


@pytest.mark.parametrize("name", ["..", "../../x.mp4", "a/b'\"\\%2e.mp4", "日本 😀.mp4", "x" * 255])
def test_a_hostile_name_is_kept_for_people_and_made_safe_for_the_address(studio: Studio, name: str) -> None:
    _, accepted, _ = call(studio, "POST", body={"name": name})
    assert accepted["blob"].count("/") == 2
    assert not {".", ".."} & set(accepted["blob"].split("/"))
    info = studio.blobs.replace(accepted["blob"], b"ab")
    studio.intake.receive(studio.event(info))
    studio.run()
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert (job["state"], job["name"]) == ("done", name)


def test_a_caller_beyond_its_quota_is_told_when_to_come_again(studio: Studio) -> None:
    for _ in range(3):
        assert call(studio, "POST")[0] == 201
        studio.clock.advance(60)
    status, answer, headers = call(studio, "POST")
    assert (status, headers["Retry-After"]) == (429, str(3600 - 180))
    assert "at most 3 uploads an hour" in answer["error"]
    assert call(studio, "POST", headers={"x-functions-key": "another"})[0] == 201
    studio.clock.advance(3600 - 180)
    assert call(studio, "POST")[0] == 201
    assert call(studio, "POST")[0] == 429


def test_callers_are_told_apart_by_the_key_that_the_host_checked() -> None:
    one = caller_of({"x-functions-key": "k1"}, {"code": "k2"})
    assert one == caller_of({"x-functions-key": "k1"}, {}) == caller_of({}, {"code": "k1"})
    assert one != caller_of({}, {"code": "k2"})
    assert caller_of({"x-ms-client-principal-id": "somebody"}, {}) == caller_of({}, {}) == "anonymous"
    assert "k1" not in one
    # The host checks the first of several.
    assert one == caller_of({"x-functions-key": "k1,another"}, {}) == caller_of({}, {"code": "k1, another"})


def test_cancelling_gives_no_quota_back_and_a_refused_request_costs_none(studio: Studio) -> None:
    for _ in range(3):
        assert call(studio, "POST", body={"style": "vangogh"})[0] == 400
        _, accepted, _ = call(studio, "POST")
        call(studio, "DELETE", f"videos/{accepted['id']}")
    assert call(studio, "POST")[0] == 429


def test_two_requests_with_one_name_are_two_jobs(studio: Studio) -> None:
    accepted = [call(studio, "POST", body={"name": "film.mp4"})[1] for _ in range(2)]
    for each in accepted:
        studio.intake.receive(studio.event(studio.blobs.replace(each["blob"], b"abcd")))
    studio.run()
    jobs = [call(studio, "GET", f"videos/{each['id']}")[1] for each in accepted]
    assert [(job["name"], job["state"]) for job in jobs] == [("film.mp4", "done")] * 2
    assert len({job["id"] for job in jobs}) == len({job["result"] for job in jobs}) == 2


def test_cancelling_is_heard_at_any_time_and_twice(studio: Studio) -> None:
    _, accepted, _ = call(studio, "POST")
    for _ in range(2):
        status, answer, _ = call(studio, "DELETE", f"videos/{accepted['id']}")
        assert (status, answer["state"]) == (200, "cancelled")
    assert not studio.intake.start(studio.blobs.replace(accepted["blob"], b"abcd"))
    assert studio.videos.latest() == []

    job = studio.start()
    studio.run(2)
    for _ in range(2):
        status, answer, _ = call(studio, "DELETE", f"videos/{job.id}")
        assert (status, answer["state"]) == (200, "cancelled")
    assert list(studio.blobs.list("videos-work/")) == []
    done = studio.start(studio.put("other.mp4"))
    studio.run()
    assert call(studio, "DELETE", f"videos/{done.id}")[1]["state"] == "done"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id", ["unknown", "20260131T100000Z-0123456789abcdef", "unfinished:", "%00"])
def test_an_unknown_id_is_a_404(studio: Studio, method: str, id: str) -> None:
    assert call(studio, method, f"videos/{id}")[0] == 404


def test_an_id_that_names_a_mark_of_the_store_is_a_404_and_such_a_blob_a_film_like_any(studio: Studio) -> None:
    _, accepted, _ = call(studio, "POST")
    job = studio.start()
    for id in (accepted["id"], job.id):
        stamp, dash, rest = id.partition("-")
        mark = f"unfinished:{stamp.translate(str.maketrans('0123456789', '9876543210'))}{dash}{rest}"
        for method in ("GET", "DELETE"):
            assert call(studio, method, f"videos/{mark}")[0] == 404
        studio.put(f"{mark}/film.mp4")
    assert studio.sweeper.sweep() == Swept(started=2)


@pytest.mark.parametrize("error", [TryLater, BadInput, ConfigurationError])
def test_uploads_that_cannot_be_listed_hold_up_no_job_and_the_log_says_what_to_do(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[PenstockError]
) -> None:
    listed = studio.blobs.list

    def broken(prefix: str) -> Iterator[BlobInfo]:
        if prefix == "videos-in/":
            raise error("InternalServerError")
        return listed(prefix)

    job = studio.start()
    studio.next()  # lost
    studio.put("not noticed.mp4")
    studio.clock.advance(11)
    with monkeypatch.context() as patched:
        patched.setattr(studio.blobs, "list", broken)
        assert studio.sweeper.sweep() == Swept(asked=1, failed=1)
    assert "videos-in/ cannot be listed" in caplog.text
    assert "delete what was put there last" in caplog.text
    studio.run()
    assert studio.videos.get(job.id).state == VideoState.DONE
    assert studio.sweeper.sweep().started == 1


def test_a_record_that_cannot_be_read_is_an_error_that_names_it_and_holds_up_nothing_else(studio: Studio) -> None:
    _, accepted, _ = call(studio, "POST")
    job = studio.start()
    studio.next()  # lost
    for (container, partition, id), document in list(studio.state.documents.items()):
        if document.body != b"{}" and partition == "uploads":
            studio.state.transact(container, partition, [Put(id, b"{}")])
    for method in ("GET", "DELETE"):
        status, answer, _ = call(studio, method, f"videos/{accepted['id']}")
        assert status == 500
        assert f"video '{accepted['id']}' cannot be read" in answer["error"]
    assert call(studio, "GET", "videos?state=expected")[1]["videos"] == []
    studio.blobs.replace(accepted["blob"], b"abcd")
    studio.clock.advance(11)
    assert studio.sweeper.sweep() == Swept(asked=1, failed=1)
    studio.run()
    assert studio.videos.get(job.id).state == VideoState.DONE


def test_films_are_listed_the_latest_first_and_by_state(studio: Studio) -> None:
    for number in range(3):
        studio.start(studio.put(f"{number}.mp4", **({"quality": "bad"} if number == 1 else {})))
        studio.clock.advance(1)
    _, answer, _ = call(studio, "GET")
    assert [each["name"] for each in answer["videos"]] == ["2.mp4", "1.mp4", "0.mp4"]
    assert len(call(studio, "GET", "videos?limit=2")[1]["videos"]) == 2
    assert [each["name"] for each in call(studio, "GET", "videos?state=failed")[1]["videos"]] == ["1.mp4"]
    assert call(studio, "GET", "videos?state=expected")[1]["videos"] == []
    ids = [call(studio, "POST")[1]["id"] for _ in range(2) if studio.clock.advance(1) is None]
    assert [each["id"] for each in call(studio, "GET", "videos?state=expected")[1]["videos"]] == ids[::-1]
    call(studio, "DELETE", f"videos/{ids[0]}")
    assert [each["id"] for each in call(studio, "GET", "videos?state=expected")[1]["videos"]] == ids[1:]
    for wrong in ("limit=0", "limit=x", "state=lost"):
        assert call(studio, "GET", f"videos?{wrong}")[0] == 400


# The sweep.


def test_the_sweep_starts_the_job_of_an_upload_of_which_nothing_was_heard(studio: Studio) -> None:
    studio.put()
    assert studio.sweeper.sweep().started == 1
    assert studio.sweeper.sweep().started == 0
    assert studio.next() is not None


def test_an_upload_that_cannot_be_looked_up_is_swept_the_next_time(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.put()

    def away(*_: object) -> None:
        raise TryLater("the state store is away")

    with monkeypatch.context() as patched:
        patched.setattr(studio.state, "get", away)
        patched.setattr(studio.state, "transact", away)
        assert studio.sweeper.sweep().failed == 1
    assert studio.sweeper.sweep().started == 1


def test_the_more_uploads_there_are_the_less_often_they_are_listed(studio: Studio) -> None:
    def sweep_until_started() -> float:
        """Seconds until an upload was found."""
        put_at = studio.clock.now()
        studio.put(f"{put_at}.mp4")
        while not studio.sweeper.sweep().started:
            studio.clock.advance(5)
        return studio.clock.now() - put_at

    for number in range(90):
        studio.put(f"{number}.mp4")
    studio.sweeper.sweep()
    studio.clock.advance(5)
    assert sweep_until_started() == 0
    for number in range(90, 2500):
        studio.put(f"{number}.mp4")
    while not studio.sweeper.sweep().started:
        studio.clock.advance(5)
    assert {sweep_until_started() for _ in range(5)} == {15}


def test_a_clock_that_was_set_back_does_not_stop_the_search_for_uploads(studio: Studio) -> None:
    for number in range(100):
        studio.put(f"{number}.mp4")
    studio.sweeper.sweep()
    studio.put()
    assert studio.sweeper.sweep().started == 0
    studio.clock.advance(-3600)
    assert studio.sweeper.sweep().started == 1


@pytest.mark.parametrize("steps", range(5))
def test_a_lost_message_is_sent_again_once_no_message_is_left(studio: Studio, steps: int) -> None:
    job = studio.start()
    studio.run(steps)
    while studio.next():  # lost
        pass
    assert studio.sweeper.sweep().asked == 0  # it may be on its way
    studio.clock.advance(11)
    assert studio.sweeper.sweep().asked >= 1
    assert studio.sweeper.sweep().asked == 0
    studio.run()
    assert studio.videos.get(job.id).state == VideoState.DONE


def test_a_lost_message_among_those_of_other_films_is_sent_again_later(studio: Studio) -> None:
    job = studio.start()
    studio.next()  # lost
    studio.start(studio.put("other.mp4"))
    studio.clock.advance(60)
    assert studio.sweeper.sweep().asked == 0
    studio.clock.advance(900)
    assert studio.sweeper.sweep().asked == 2
    studio.clock.advance(901)
    assert studio.sweeper.sweep().asked == 0  # ever more rarely
    said = studio.run()
    assert any(job.id in text and "plan" in text for text in said)


def test_a_worker_that_died_before_it_counted_its_segment_holds_nothing_up(studio: Studio) -> None:
    job = studio.start()
    studio.run(3)
    last = studio.next()
    assert last is not None
    for each in range(3):
        name = f"videos-work/{job.id}/segments/{each:06d}"
        if studio.blobs.head(name) is None:
            studio.blobs.create(name, b"IJ", metadata={"frames": "2"})
    studio.queue.send(b"of another film")
    studio.clock.advance(11)
    assert studio.sweeper.sweep().asked == 1
    studio.queue.receive(timedelta(seconds=1))
    assert studio.next() == VideoMessage(kind="join", job=job.id)


def test_a_job_that_is_not_done_in_time_has_failed(studio: Studio) -> None:
    job = studio.start()
    studio.run(2)
    studio.clock.advance(3601)
    assert studio.sweeper.sweep().expired == 1
    ended = studio.videos.get(job.id)
    assert (ended.state, ended.error) == (VideoState.FAILED, "was not done within 1 hours")
    assert list(studio.blobs.list("videos-work/")) == []


def test_what_an_ended_job_left_and_uploads_to_which_nothing_came_are_removed(studio: Studio) -> None:
    job = studio.start()
    studio.work.cancel(job.id)
    studio.blobs.create(f"videos-work/{job.id}/segments/000000", b"late")
    studio.blobs.create("videos-work/unknown/plan.json", b"of another runtime")
    _, accepted, _ = call(studio, "POST")
    studio.sweeper.sweep()
    assert [info.name for info in studio.blobs.list("videos-work/")] == ["videos-work/unknown/plan.json"]
    assert call(studio, "GET", f"videos/{accepted['id']}")[0] == 200
    studio.clock.advance(86_400 + 901)
    studio.sweeper.sweep()
    assert call(studio, "GET", f"videos/{accepted['id']}")[0] == 404


def test_many_waiting_jobs_are_looked_after_in_turns(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.videos.sweep._AT_ONCE", 2)
    for number in range(5):
        studio.start(studio.put(f"{number}.mp4"))
    while studio.next():
        pass
    studio.clock.advance(11)
    assert [studio.sweeper.sweep().asked for _ in range(2)] == [2, 0]  # the queue is not empty any more
    while studio.next():
        pass
    assert studio.sweeper.sweep().asked == 1


def test_the_triggers_take_their_message_or_their_time(studio: Studio) -> None:
    app = films(lambda: studio.services, sweep_schedule="0 * * * * *")
    functions = {builder._function._name: builder._function.get_user_function() for builder in app._function_builders}
    info = studio.put()
    functions["receive_film"](func.QueueMessage(id="1", body=studio.event(info)))
    assert len(studio.videos.latest()) == 1
    studio.put("other.mp4")
    functions["sweep_videos"](None)
    assert len(studio.videos.latest()) == 2

"""Records of films on every state store: one job, markers of those that have not ended, quotas."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from models.contracts.film import FilmOptions
from models.contracts.videos import VideoState, VideoUpload
from models.errors import NotFound, TooMany
from models.ports import BlobInfo, StateStore
from models.videos import Videos
from tests.contracts.test_state_store import account, cosmosdb, state
from tests.fakes import FakeClock

__all__ = ["account", "cosmosdb", "state"]
OPTIONS = FilmOptions(style="great-wave")


def opened(videos: Videos, second: int) -> str:
    id = f"20260131T10000{second}Z-0123456789abcdef"
    info = BlobInfo(f"videos-in/a 'film' {second}.mp4", 1, "etag", 0.0)
    assert videos.open(id, info, name="a film", options=OPTIONS)
    assert not videos.open(id, info, name="another", options=OPTIONS)
    return id


def test_jobs_come_the_latest_first_and_unfinished_ones_by_themselves(state: StateStore) -> None:
    videos = Videos(state, FakeClock())
    ids = [opened(videos, second) for second in range(3)]
    assert [job.id for job in videos.latest()] == ids[::-1]
    assert [job.id for job in videos.latest(2)] == ids[:0:-1]
    assert videos.unfinished() == ids
    videos.moved(ids[1], state=VideoState.DONE, result="videos-out/x")
    assert videos.unfinished() == [ids[0], ids[2]]
    assert videos.moved(ids[1], state=VideoState.FAILED).state == VideoState.DONE
    assert videos.get(ids[1]).ended_at is not None
    assert len(videos.latest()) == 3
    with pytest.raises(NotFound):
        videos.get("unknown")


def test_workers_that_count_at_once_lose_no_count(state: StateStore) -> None:
    videos = Videos(state, FakeClock())
    id = opened(videos, 0)

    def count() -> None:
        for _ in range(5):
            videos.change(id, lambda job: msgspec.structs.replace(job, segments_done=job.segments_done + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert videos.get(id).segments_done == 20


def test_callers_that_ask_at_once_get_no_more_than_their_quota(state: StateStore) -> None:
    videos = Videos(state, FakeClock())
    together = threading.Barrier(20)

    def ask(_: int) -> bool:
        together.wait(30)
        try:
            videos.count_upload("caller", 5)
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(ask, range(20))) == 5


def test_uploads_and_quotas_are_kept_beside_the_jobs(state: StateStore) -> None:
    clock = FakeClock()
    videos = Videos(state, clock)
    upload = VideoUpload(
        id="0a", blob="videos-in/0a/film.mp4", name="film", options=OPTIONS, caller="c",
        created_at=clock.now(), expires_at=clock.now() + 1,
    )  # fmt: skip
    videos.expect(upload)
    assert videos.upload_of("videos-in/0a/film.mp4") == upload
    assert videos.upload_of("videos-in/0a/other.mp4") is None
    assert videos.latest() == []
    assert videos.unfinished() == []
    for _ in range(2):
        videos.count_upload("c/a?ller", 2)
    with pytest.raises(TooMany):
        videos.count_upload("c/a?ller", 2)
    videos.forget_uploads(clock.now() + 1, lambda _: False)
    videos.forget_uploads(clock.now() + 2, lambda awaited: awaited == upload)
    assert videos.upload_of(upload.blob) == upload
    videos.forget_uploads(clock.now() + 2, lambda _: False)
    assert videos.upload_of(upload.blob) is None
    assert videos.awaited() == []


def test_an_upload_is_awaited_until_its_film_has_come_and_then_kept(state: StateStore) -> None:
    videos = Videos(state, FakeClock())
    for second, id in enumerate(("f1", "0a")):
        upload = VideoUpload(
            id=id, blob=f"videos-in/{id}/film.mp4", name=id, options=OPTIONS, caller="c",
            created_at=float(second), expires_at=1000.0,
        )  # fmt: skip
        videos.expect(upload)
    assert [each.id for each in videos.awaited()] == ["0a", "f1"]
    videos.change_upload("0a", lambda now: msgspec.structs.replace(now, cancelled=True))
    assert len(videos.awaited()) == 2
    videos.change_upload("f1", lambda now: msgspec.structs.replace(now, job="a job"))
    assert [each.id for each in videos.awaited()] == ["0a"]
    videos.forget_uploads(2000.0, lambda _: False)
    assert (videos.awaited(), videos.upload("f1").job) == ([], "a job")

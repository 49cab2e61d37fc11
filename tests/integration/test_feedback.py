"""Ratings from a hub to profiles and the archive, by real Faust workers on the real hub, Azurite and SQLite."""

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from infra.azure.blobs import AzureBlobs
from infra.azure.eventhub import EventHubSender, connect
from infra.local.azurite import RunningAzurite
from infra.local.eventhubs.testing import RunningHub, running_hub
from infra.state.sqlite import SqliteState
from models import names
from models.contracts import FeedbackEvent, ForgetEvent
from models.contracts.feedback import RatingsEvent
from models.recommend.feedback import decode_feedback
from models.recommend.history import apply_events
from models.recommend.profile import CONTAINER, PROFILE_ID, decode_profile, user_partition
from tests.fakes import FakeState
from tests.integration.streaming import StreamWorker, produce
from training.recommend.archive import read_archive

pytestmark = pytest.mark.integration
PARTITIONS = 4


class Place:
    """A hub, a store and a worker of one test."""

    def __init__(self, folder: Path, hub: RunningHub, name: str, azurite: RunningAzurite) -> None:
        self.hub, self.name = hub, name
        self.blobs = AzureBlobs(azurite.connection_string)
        self.state = SqliteState(folder / "state.sqlite")
        self.workers = [self._worker(folder, azurite)]
        self._make = lambda: self._worker(folder, azurite)

    def _worker(self, folder: Path, azurite: RunningAzurite) -> StreamWorker:
        return StreamWorker(
            folder, f"{self.name}-readings", self.hub.bootstrap, azurite.connection_string, ratings_hub=self.name
        )

    def another_worker(self) -> None:
        self.workers.append(self._make())

    def send(self, events: list[RatingsEvent]) -> None:
        produce(self.hub.bootstrap, self.name, [(event.user, msgspec.json.encode(event)) for event in events])

    def offsets(self) -> list[tuple[int, int]]:
        """(partition, offset) of every event in the archive, in name order."""
        found = []
        for info in self.blobs.list(names.feedback_prefix(self.name)):
            partition = int(info.name.split("/")[2])
            found += [(partition, offset) for offset in decode_feedback(self.blobs.get(info.name).data).offset]
        return found

    def profile(self, user: str) -> dict[str, tuple[float, int]]:
        return profile_in(self.state, user)


def profile_in(state: object, user: str) -> dict[str, tuple[float, int]]:
    document = state.get(CONTAINER, user_partition(user), PROFILE_ID)  # type: ignore[attr-defined]
    found = decode_profile(document.body).ratings if document else {}
    return {item: (each.rating, each.time_us) for item, each in found.items()}


def eventually(condition: Callable[[], object], place: Place, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("\n".join(worker.log.read_text()[-4000:] for worker in place.workers))
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path, azurite: RunningAzurite) -> Iterator[Place]:
    name = f"r{uuid.uuid4().hex[:8]}"
    with running_hub(tmp_path / "hub", {name: PARTITIONS, f"{name}-readings": PARTITIONS}) as hub:
        found = Place(tmp_path, hub, name, azurite)
        yield found
        for worker in found.workers:
            if worker.process.poll() is None:
                worker.stop()
        found.blobs.close()
        found.state.close()


def some_events(count: int, users: int = 20) -> list[RatingsEvent]:
    events: list[RatingsEvent] = []
    for n in range(count):
        user = f"user {n % users}"
        if n % 97 == 96:
            events.append(ForgetEvent(user=user, time_us=n // 2))
        else:
            item = f"item/{n * 7 % 31}"
            events.append(FeedbackEvent(user=user, item=item, rating=1 + n % 5, time_us=n * 31 % count, key=str(n)))
    return events


def assert_each_event_counts_once(place: Place, events: list[RatingsEvent]) -> None:
    eventually(lambda: len(place.offsets()) >= len(events), place)
    stored = place.offsets()
    assert len(stored) == len(set(stored)) == len(events)
    undisturbed = FakeState()
    for event in events:
        apply_events(undisturbed, event.user, [event])
    for user in {event.user for event in events}:
        assert place.profile(user) == profile_in(undisturbed, user), user
    archive = read_archive(place.blobs, place.name)
    assert len(archive.ratings) == sum(len(place.profile(user)) for user in {event.user for event in events})


def test_workers_killed_while_they_read_lose_and_double_no_rating(place: Place) -> None:
    events = some_events(3_000)
    third = len(events) // 3
    [worker] = place.workers
    eventually(lambda: worker.answers("health"), place)
    for end in (third, 2 * third):
        place.send(events[end - third : end])
        eventually(lambda user=events[end - 1].user: place.profile(user), place)
        worker.send(signal.SIGKILL)
        # Profiles come first, the archive half a second later: this life died in between.
        assert len(place.offsets()) < end
        worker.start()
    place.another_worker()
    place.send(events[2 * third :])
    assert_each_event_counts_once(place, events)


def test_a_second_step_that_got_lost_heals_within_seconds_and_is_seen_in_the_web_view(place: Place) -> None:
    [worker] = place.workers
    eventually(lambda: worker.answers("health"), place)
    sender = EventHubSender(place.name, connect(place.name, connection=place.hub.connection_string, namespace=None))
    rating = FeedbackEvent(user="ana ☂/7?#", item="film", rating=4.5, time_us=1_000_000, key="k")
    sender.send(rating.user, msgspec.json.encode(rating))
    sender.send(rating.user, b"no rating")
    sender.close()
    # What a function that died right after the hub's acknowledgement leaves behind.
    eventually(lambda: place.profile(rating.user) == {"film": (4.5, 1_000_000)}, place, timeout_s=5)
    eventually(lambda: place.offsets(), place)
    seen = worker.get("status")["ratings"]["totals"]
    assert seen == {"events": 2, "ratings": 1, "forgets": 0, "dead_lettered": 1, "lag": 0}
    [letters] = list(place.blobs.list(names.dead_letter_prefix(place.name)))
    assert b"no rating" in place.blobs.get(letters.name).data


def test_a_hub_that_dies_is_read_on_after_its_return(place: Place) -> None:
    [worker] = place.workers
    events = some_events(600)
    eventually(lambda: worker.answers("health"), place)
    place.send(events[:300])
    place.hub.kill()
    place.hub.restart()
    place.send(events[300:])
    assert_each_event_counts_once(place, events)

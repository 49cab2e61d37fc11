from __future__ import annotations

import logging
import threading

import pytest

from models.errors import TryLater
from models.inference import LiveBank
from models.ports import Blob
from models.registry import Registry
from models.windowspec import WindowSpec
from tests.fakes import FakeBlobs
from tests.unit.svm import fleet, noise_windows, publishing


class FlakyBlobs(FakeBlobs):
    """Blobs that can be away, and that count reads."""

    away = False
    reads = 0

    def get(self, name: str) -> Blob:
        self.reads += 1
        if self.away:
            raise TryLater("storage is away")
        return super().get(name)


@pytest.fixture
def blobs() -> FlakyBlobs:
    return FlakyBlobs()


@pytest.fixture
def live(blobs: FlakyBlobs) -> LiveBank:
    return LiveBank(Registry(blobs, "svm"), blobs.clock, 2.0)


def promote(blobs: FakeBlobs, *series: str, spec: WindowSpec | None = None) -> str:
    blobs.clock.advance(1)
    sets = fleet(*(noise_windows((name, "s")) for name in series))
    how = publishing(blobs) if spec is None else publishing(blobs, spec=spec)
    return how.publish(sets, promote=True, fresh=True).manifest.version


def version(live: LiveBank) -> str | None:
    bank = live.current()
    return bank.version if bank else None


def test_there_is_no_bank_until_a_model_is_promoted(blobs: FlakyBlobs, live: LiveBank) -> None:
    assert live.current() is None
    first = promote(blobs, "a")
    blobs.clock.advance(2)
    assert version(live) == first


def test_a_promotion_and_a_rollback_are_picked_up_without_a_restart(blobs: FlakyBlobs, live: LiveBank) -> None:
    first = promote(blobs, "a")
    assert version(live) == first
    second = promote(blobs, "a", "b")
    blobs.clock.advance(2)
    assert version(live) == second
    Registry(blobs, "svm").rollback()
    blobs.clock.advance(2)
    assert version(live) == first


def test_the_alias_is_read_at_most_once_per_refresh_time(blobs: FlakyBlobs, live: LiveBank) -> None:
    promote(blobs, "a")
    live.current()
    before = blobs.reads
    for _ in range(5):
        live.current()
    assert blobs.reads == before
    blobs.clock.advance(2)
    live.current()
    assert blobs.reads == before + 1


def test_a_clock_set_back_does_not_stop_refreshing(blobs: FlakyBlobs, live: LiveBank) -> None:
    live.current()
    blobs.clock.advance(-3600)
    first = promote(blobs, "a")
    assert version(live) == first


def test_a_tampered_version_is_refused_once_and_the_old_bank_stays(
    blobs: FlakyBlobs, live: LiveBank, caplog: pytest.LogCaptureFixture
) -> None:
    first = promote(blobs, "a")
    live.current()
    second = promote(blobs, "b")
    name = f"models/svm/{second}/weights.npz"
    blobs.replace(name, blobs.get(name).data[:-1] + b"x")
    for _ in range(3):
        blobs.clock.advance(2)
        assert version(live) == first
    assert sum("sha256" in record.message for record in caplog.records) == 1
    third = promote(blobs, "c")
    blobs.clock.advance(2)
    assert version(live) == third


def test_the_old_bank_serves_while_storage_is_away(
    blobs: FlakyBlobs, live: LiveBank, caplog: pytest.LogCaptureFixture
) -> None:
    first = promote(blobs, "a")
    live.current()
    second = promote(blobs, "b")
    blobs.away = True
    blobs.clock.advance(2)
    assert version(live) == first
    assert "storage is away" in caplog.text
    blobs.away = False
    blobs.clock.advance(2)
    assert version(live) == second


def test_no_model_is_never_claimed_before_the_registry_was_read(blobs: FlakyBlobs, live: LiveBank) -> None:
    first = promote(blobs, "a")
    blobs.away = True
    with pytest.raises(TryLater):
        live.current()
    blobs.away = False
    assert version(live) == first


def test_a_bank_for_other_windows_is_not_used(blobs: FlakyBlobs, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveBank(Registry(blobs, "svm"), blobs.clock, 2.0, spec=WindowSpec(60, 60))
    promote(blobs, "a", spec=WindowSpec(300, 60))
    with caplog.at_level(logging.ERROR):
        assert live.current() is None
    assert "hopping-300s-60s" in caplog.text


def test_threads_that_ask_during_the_first_load_wait_for_it(blobs: FlakyBlobs, live: LiveBank) -> None:
    first = promote(blobs, "a")
    seen: list[str | None] = []
    threads = [threading.Thread(target=lambda: seen.append(version(live))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [first] * 8


def test_scoring_goes_on_with_the_bank_it_began_with(blobs: FlakyBlobs, live: LiveBank) -> None:
    promote(blobs, "a")
    bank = live.current()
    assert bank is not None
    promote(blobs, "b")
    blobs.clock.advance(2)
    after = live.current()
    assert after is not None
    windows = noise_windows(("a", "s"))
    assert bank.score(["a"], ["s"], windows.features[:1]).status == ["scored"]
    assert after.score(["a"], ["s"], windows.features[:1]).status == ["learning"]

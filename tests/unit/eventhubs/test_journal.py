from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.eventhubs.errors import CannotStart, InvalidTopic
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.journal import Journal, cut_journal
from infra.local.eventhubs.offsets import Committed, OffsetStore
from infra.local.eventhubs.topics import Catalogue

MESSAGES = [b"first", b"second message", b"", b"the last one"]


def write(path: Path, messages: list[bytes]) -> None:
    journal = Journal(path, Flusher("none", 0), lambda _: None)
    for message in messages:
        journal.append(message)
    journal.close()


def replay(path: Path) -> list[bytes]:
    seen: list[bytes] = []
    Journal(path, Flusher("none", 0), seen.append).close()
    return seen


def test_messages_are_replayed_in_order(tmp_path: Path) -> None:
    write(tmp_path / "j", MESSAGES)
    write(tmp_path / "j", [b"later"])
    assert replay(tmp_path / "j") == [*MESSAGES, b"later"]


def test_a_journal_cut_at_any_byte_replays_the_whole_messages_before_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "j", MESSAGES)
    whole = (tmp_path / "j").read_bytes()
    for cut in range(len(whole)):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(whole[:cut])
        kept = replay(path)
        assert kept == MESSAGES[: len(kept)]
        assert sum(8 + len(message) for message in kept) <= cut
        write(path, [b"next"])
        assert replay(path) == [*kept, b"next"]


def test_a_flipped_byte_never_changes_what_is_replayed(tmp_path: Path) -> None:
    write(tmp_path / "j", MESSAGES)
    whole = (tmp_path / "j").read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x04
        path = tmp_path / f"flip-{position}"
        path.write_bytes(damaged)
        try:
            kept = replay(path)
        except CannotStart as refusal:
            refused += "is damaged at byte" in str(refusal) and path.read_bytes() == damaged
        else:
            assert kept == MESSAGES[: len(kept)]
            assert len(kept) < len(MESSAGES)
    last = len(whole) - 8 - len(MESSAGES[-1])
    assert refused == last, "every damage that a whole message follows, and no other"


def test_a_damaged_journal_can_be_cut_there(tmp_path: Path) -> None:
    write(tmp_path / "j", MESSAGES)
    damaged = bytearray((tmp_path / "j").read_bytes())
    damaged[13] = 0xFF
    (tmp_path / "j").write_bytes(damaged)
    with pytest.raises(CannotStart, match="eventhubs cut"):
        replay(tmp_path / "j")
    assert cut_journal(tmp_path / "j") == len(damaged) - 13
    assert replay(tmp_path / "j") == MESSAGES[:1]
    assert (tmp_path / "j.cut-13").read_bytes() == damaged[13:]


def test_zeros_at_the_end_are_a_write_that_never_happened(tmp_path: Path) -> None:
    write(tmp_path / "j", MESSAGES)
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(4096))
    assert replay(tmp_path / "j") == MESSAGES


def test_a_rewritten_journal_holds_only_the_given_messages_and_can_be_appended_to(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", Flusher("none", 0), lambda _: None)
    for message in MESSAGES:
        journal.append(message)
    journal.rewrite([b"state"])
    journal.append(b"news")
    journal.close()
    assert replay(tmp_path / "j") == [b"state", b"news"]


def test_committed_offsets_survive_and_their_journal_stays_short(tmp_path: Path) -> None:
    store = OffsetStore(tmp_path / "o", Flusher("none", 0))
    for offset in range(25_000):
        store.commit("g", "t", offset % 2, Committed(offset, 0, "m"))
    store.close()
    assert (tmp_path / "o").stat().st_size < 10_000 * 120
    store = OffsetStore(tmp_path / "o", Flusher("none", 0))
    assert store.committed("g") == {("t", 0): Committed(24_998, 0, "m"), ("t", 1): Committed(24_999, 0, "m")}
    store.close()


def test_a_deleted_topic_takes_its_committed_offsets_along(tmp_path: Path) -> None:
    store = OffsetStore(tmp_path / "o", Flusher("none", 0))
    store.commit("g", "gone", 0, Committed(5, 0, ""))
    store.commit("g", "kept", 0, Committed(6, 0, ""))
    store.forget_topic("gone")
    store.close()
    store = OffsetStore(tmp_path / "o", Flusher("none", 0))
    assert store.committed("g") == {("kept", 0): Committed(6, 0, "")}
    store.close()


def test_topics_survive_with_partitions_and_settings(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "t", Flusher("none", 0), max_partitions=32)
    catalogue.put(catalogue.plan("a", 2, {"cleanup.policy": "compact"}))
    catalogue.put(catalogue.plan("b", 2, {}))
    catalogue.put(catalogue.plan_growth("b", 5))
    before = dict(catalogue.topics)
    catalogue.delete("a")
    catalogue.close()
    catalogue = Catalogue(tmp_path / "t", Flusher("none", 0), max_partitions=32)
    assert catalogue.topics == {"b": before["b"]}
    assert catalogue.deleted_directories == {before["a"].directory}
    catalogue.put(catalogue.plan("a", 2, {}))
    assert catalogue.topics["a"].directory != before["a"].directory
    catalogue.close()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "ü", "x" * 250])
def test_names_that_kafka_refuses_are_refused(tmp_path: Path, name: str) -> None:
    catalogue = Catalogue(tmp_path / "t", Flusher("none", 0), max_partitions=32)
    with pytest.raises(InvalidTopic):
        catalogue.plan(name, 1, {})
    catalogue.close()

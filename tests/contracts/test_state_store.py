"""Contract of the StateStore port, on the fake and on SQLite."""

import threading

import pytest

from infra.state.sqlite import SqliteState
from models.errors import Superseded
from models.ports import MAX_TRANSACTION_WRITES, Put, Remove, StateStore
from tests.fakes import FakeState


@pytest.fixture(params=["fake", pytest.param("sqlite", marks=pytest.mark.integration)])
def state(request, tmp_path):
    if request.param == "fake":
        yield FakeState()
        return
    store = SqliteState(tmp_path / "state" / "state.sqlite")
    yield store
    store.close()


def put(state: StateStore, partition: str, id: str, body: bytes = b"{}") -> str:
    state.transact("box", partition, [Put(id, body)])
    document = state.get("box", partition, id)
    assert document is not None
    return document.etag


def test_a_document_is_read_back_from_its_container_and_partition_alone(state: StateStore) -> None:
    put(state, "p", "a", b'{"n": 1}')
    document = state.get("box", "p", "a")
    assert document is not None
    assert (document.partition, document.id, document.body) == ("p", "a", b'{"n": 1}')
    assert state.get("box", "q", "a") is None
    assert state.get("other", "p", "a") is None


def test_every_write_gives_another_etag_even_to_a_document_made_anew(state: StateStore) -> None:
    etags = [put(state, "p", "a"), put(state, "p", "a")]
    state.transact("box", "p", [Remove("a")])
    etags.append(put(state, "p", "a"))
    assert len(set(etags)) == 3


def test_an_empty_etag_means_only_if_there_is_none(state: StateStore) -> None:
    state.transact("box", "p", [Put("a", b"1", etag="")])
    with pytest.raises(Superseded):
        state.transact("box", "p", [Put("a", b"2", etag="")])
    assert state.get("box", "p", "a").body == b"1"


def test_a_conditional_write_replaces_only_the_version_it_names(state: StateStore) -> None:
    old = put(state, "p", "a")
    state.transact("box", "p", [Put("a", b"2", etag=old)])
    for stale in (Put("a", b"3", etag=old), Remove("a", etag=old), Put("missing", b"3", etag=old)):
        with pytest.raises(Superseded):
            state.transact("box", "p", [stale])
    assert state.get("box", "p", "a").body == b"2"


def test_a_transaction_with_one_failing_condition_writes_nothing(state: StateStore) -> None:
    put(state, "p", "kept")
    with pytest.raises(Superseded):
        state.transact("box", "p", [Put("new", b"1"), Remove("kept"), Put("kept2", b"1", etag="stale")])
    assert [document.id for document in state.query("box", partition="p")] == ["kept"]


def test_a_transaction_writes_and_removes_together(state: StateStore) -> None:
    put(state, "p", "a")
    state.transact("box", "p", [Remove("a"), Put("b", b"1"), Remove("never-there")])
    assert [document.id for document in state.query("box")] == ["b"]


def test_query_gives_partition_and_id_order_by_prefix_up_to_a_limit(state: StateStore) -> None:
    for partition, id in (("q", "a:1"), ("p", "b"), ("p", "a:2"), ("p", "a:10"), ("p", "a;")):
        put(state, partition, id)
    found = [(d.partition, d.id) for d in state.query("box", id_prefix="a:")]
    assert found == [("p", "a:10"), ("p", "a:2"), ("q", "a:1")]
    assert [d.id for d in state.query("box", partition="p")] == ["a:10", "a:2", "a;", "b"]
    assert len(state.query("box", limit=2)) == 2


@pytest.mark.parametrize("prefix", ["%", "_", "ü", "\ud7ff", "\U0010ffff", "a\U0010ffff", "'", "A"])
def test_a_prefix_is_taken_literally(state: StateStore, prefix: str) -> None:
    for id in (prefix, prefix + "x", prefix + "\U0010ffff", "zz", "a", "\ue000", "!"):
        put(state, "p", id)
    ids = [d.id for d in state.query("box", partition="p", id_prefix=prefix)]
    assert ids == sorted([prefix, prefix + "x", prefix + "\U0010ffff"])


def test_too_many_writes_or_two_of_one_document_are_refused(state: StateStore) -> None:
    state.transact("box", "p", [Put(str(n), b"") for n in range(MAX_TRANSACTION_WRITES)])
    with pytest.raises(ValueError, match="at most"):
        state.transact("box", "p", [Put(str(n), b"") for n in range(MAX_TRANSACTION_WRITES + 1)])
    with pytest.raises(ValueError, match="once"):
        state.transact("box", "p", [Put("a", b""), Remove("a")])


def test_threads_that_compare_and_set_lose_no_update(state: StateStore) -> None:
    put(state, "p", "count", b"0")

    def add(times: int) -> None:
        done = 0
        while done < times:
            document = state.get("box", "p", "count")
            try:
                body = str(int(document.body) + 1).encode()
                state.transact("box", "p", [Put("count", body, etag=document.etag)])
                done += 1
            except Superseded:
                continue

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert state.get("box", "p", "count").body == b"100"

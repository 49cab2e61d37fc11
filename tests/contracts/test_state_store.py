"""Contract of the StateStore port, on the fake, on SQLite, and on Cosmos DB.

The adapter of Cosmos DB is run against a server for tests, and against a real account where COSMOS_ENDPOINT names one
(with COSMOS_KEY, or by identity): in a database of its own, which is deleted at the end.
"""

import itertools
import os
import threading
import uuid
from collections.abc import Iterator

import pytest

from infra.state.cosmos import CosmosState, connect
from infra.state.sqlite import SqliteState
from models.errors import Superseded
from models.ports import MAX_TRANSACTION_WRITES, Put, Remove, StateStore
from tests.cosmosdb import KEY, running_cosmosdb
from tests.fakes import FakeState

ACCOUNT = os.environ.get("COSMOS_ENDPOINT")
numbers = itertools.count()


@pytest.fixture(scope="module")
def cosmosdb() -> Iterator[str]:
    with running_cosmosdb() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def account() -> Iterator[CosmosState]:
    client = connect(ACCOUNT or "", os.environ.get("COSMOS_KEY"))
    name = f"penstock-tests-{uuid.uuid4().hex[:8]}"
    store = CosmosState(client, name)
    yield store
    store.close()
    client().delete_database(name)


class Emptied:
    """A store whose container `box` is another one in each test."""

    def __init__(self, store: StateStore) -> None:
        self._store, self._number = store, next(numbers)

    def get(self, container, partition, id):
        return self._store.get(f"{container}-{self._number}", partition, id)

    def query(self, container, **which):
        return self._store.query(f"{container}-{self._number}", **which)

    def transact(self, container, partition, writes):
        self._store.transact(f"{container}-{self._number}", partition, writes)

    def transact_many(self, container, transactions):
        return self._store.transact_many(f"{container}-{self._number}", transactions)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("sqlite", marks=pytest.mark.integration),
        pytest.param("cosmosdb", marks=pytest.mark.integration),
        pytest.param(
            "account",
            marks=[
                pytest.mark.integration,
                pytest.mark.skipif(not ACCOUNT, reason="COSMOS_ENDPOINT names no account of Cosmos DB"),
            ],
        ),
    ]
)
def state(request, tmp_path):
    if request.param == "fake":
        yield FakeState()
    elif request.param == "account":
        yield Emptied(request.getfixturevalue("account"))
    else:
        store = (
            SqliteState(tmp_path / "state" / "state.sqlite")
            if request.param == "sqlite"
            else CosmosState(connect(request.getfixturevalue("cosmosdb"), KEY), f"db-{next(numbers)}")
        )
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
    if isinstance(state, CosmosState):
        pytest.skip("that a batch is undone is a patch of this test server, and would show nothing of Cosmos DB")
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


@pytest.mark.parametrize(
    "text", ["a/b\\c?d#e", " x ", "grüße 日本 😀", "'; DROP TABLE documents; --", "%2f", "\u2028"]
)
def test_partitions_and_ids_keep_their_characters(state: StateStore, text: str) -> None:
    put(state, text, text)
    assert [(d.partition, d.id) for d in state.query("box", partition=text, id_prefix=text)] == [(text, text)]
    state.transact("box", text, [Remove(text), Put("other", b"1")])
    assert [d.id for d in state.query("box")] == ["other"]


def test_ids_may_be_long_and_long_ones_are_told_apart(state: StateStore) -> None:
    ids = sorted("日" * 512 + last for last in ("", "a", "b"))
    for id in ids:
        put(state, "p", id, id.encode())
    assert [state.get("box", "p", id).body for id in ids] == [id.encode() for id in ids]
    assert [d.id for d in state.query("box", partition="p", id_prefix=ids[0])] == ids
    assert [d.id for d in state.query("box", id_prefix=ids[1])] == [ids[1]]


def test_a_document_of_a_megabyte_is_read_back_whole(state: StateStore) -> None:
    body = b'{"ratings": "' + "ü😀 ".encode() * 128 * 1024 + b'"}'
    put(state, "p", "a", body)
    assert state.get("box", "p", "a").body == body


def test_too_many_writes_or_two_of_one_document_are_refused(state: StateStore) -> None:
    state.transact("box", "p", [Put(str(n), b"") for n in range(MAX_TRANSACTION_WRITES)])
    with pytest.raises(ValueError, match="at most"):
        state.transact("box", "p", [Put(str(n), b"") for n in range(MAX_TRANSACTION_WRITES + 1)])
    with pytest.raises(ValueError, match="once"):
        state.transact("box", "p", [Put("a", b""), Remove("a")])


def test_many_transactions_stand_alone_and_say_which_of_them_held(state: StateStore) -> None:
    old = put(state, "p1", "a")
    put(state, "p1", "a", b"newer")
    put(state, "p3", "gone")
    held = state.transact_many(
        "box",
        [
            ("p0", [Put("a", b"0", etag="")]),
            ("p1", [Put("a", b"1", etag=old)]),
            ("p2", [Put("a", b"2")]),
            ("p3", [Remove("gone")]),
            ("p4", [Remove("never-there")]),
        ],
    )
    assert held == [True, False, True, True, True]
    assert [(d.partition, d.body) for d in state.query("box")] == [("p0", b"0"), ("p1", b"newer"), ("p2", b"2")]
    assert state.transact_many("box", []) == []


def test_many_transactions_are_more_than_one_commit_holds(state: StateStore) -> None:
    wanted = [(f"p{number:03d}", [Put("a", str(number).encode(), etag="")]) for number in range(450)]
    assert state.transact_many("box", wanted) == [True] * 450
    assert [d.body for d in state.query("box")] == [writes[0].body for _, writes in wanted]
    # Done again they change nothing: all of them are there.
    assert state.transact_many("box", wanted) == [False] * 450


def test_many_transactions_name_a_partition_once(state: StateStore) -> None:
    with pytest.raises(ValueError, match="once"):
        state.transact_many("box", [("p", [Put("a", b"")]), ("p", [Put("b", b"")])])
    assert state.query("box") == []


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

from __future__ import annotations

from azure.eventhub._buffered_producer._partition_resolver import generate_hash_code
from hypothesis import given
from hypothesis import strategies as st

from infra.local.eventhubs.amqp.placement import Placement, hash_code


@given(st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=60))
def test_a_key_has_the_hash_that_the_sdk_gives_it(key: str) -> None:
    assert hash_code(key.encode()) == generate_hash_code(key)


@given(st.binary(max_size=40), st.integers(1, 32))
def test_a_key_has_one_partition_whoever_sends(key: bytes, partitions: int) -> None:
    first, second = Placement(), Placement()
    second.partition(None, partitions)
    assert 0 <= first.partition(key, partitions) == second.partition(key, partitions) < partitions


def test_events_without_a_key_go_round() -> None:
    placement = Placement()
    assert [placement.partition(None, 3) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]

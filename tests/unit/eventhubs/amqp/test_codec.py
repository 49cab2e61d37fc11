"""The codec against the SDK's own, so that it is not tested against itself."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.eventhub._pyamqp._decode import _DECODE_BY_CONSTRUCTOR
from azure.eventhub._pyamqp._encode import encode_value
from hypothesis import given
from hypothesis import strategies as st

from infra.local.eventhubs.amqp.decoding import DecodeError, decode, decode_whole, items_of, skip
from infra.local.eventhubs.amqp.encoding import encode
from infra.local.eventhubs.amqp.values import Array, Described, Int, Symbol, Timestamp, UByte, UInt, ULong, UShort

LONGS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    LONGS,
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.binary(max_size=300),
    st.uuids(),
    st.integers(-(2**62), 2**62).map(Timestamp),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=10) | st.integers(0, 300), inner, max_size=6)
    ),
    max_leaves=30,
)
TYPED = st.one_of(
    SCALARS,
    st.integers(0, 255).map(UByte),
    st.integers(0, 2**16 - 1).map(UShort),
    st.integers(0, 2**32 - 1).map(UInt),
    st.integers(0, 2**64 - 1).map(ULong),
    st.integers(-(2**31), 2**31 - 1).map(Int),
    st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol),
)


def sdk_decode(data: bytes) -> Any:
    rest, value = _DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])
    assert not rest, "the SDK sees more bytes than one value"
    return value


def as_sdk_sees(value: Any) -> Any:
    """The SDK's decoder makes bytes of every string."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Described):
        return as_sdk_sees(value.value)
    if isinstance(value, list):
        return [as_sdk_sees(each) for each in value]
    if isinstance(value, dict):
        return {as_sdk_sees(key): as_sdk_sees(each) for key, each in value.items()}
    return value


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert decode_whole(encode(value)) == value


@given(st.one_of(TYPED, VALUES))
def test_the_sdk_reads_what_is_written(value: Any) -> None:
    assert sdk_decode(encode(value)) == as_sdk_sees(value)


@given(st.one_of(TYPED, VALUES))
def test_a_value_ends_where_skipping_it_ends(value: Any) -> None:
    data = encode(value)
    assert skip(data + b"rest", 0) == len(data)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**31), 2**31 - 1), st.text(max_size=300), st.binary()),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
        max_leaves=20,
    )
)
def test_what_the_sdk_writes_is_read(value: Any) -> None:
    output = bytearray()
    encode_value(output, value)
    assert decode_whole(bytes(output)) == value


@pytest.mark.parametrize("names", [("PLAIN",), ("PLAIN", "ANONYMOUS", "x" * 300)])
@pytest.mark.parametrize("kind", [Symbol, str])
def test_an_array_of_names_is_an_array_however_many_there_are(names: tuple[str, ...], kind: type[str]) -> None:
    data = encode(Array(tuple(kind(name) for name in names)))
    assert data[0] & 0xEF == 0xE0
    assert sdk_decode(data) == [name.encode() for name in names]
    assert decode_whole(data) == list(names)


def test_a_described_value_keeps_its_descriptor() -> None:
    value = Described(ULong(0x24), [1, "two"])
    assert decode_whole(encode(value)) == value
    assert decode_whole(encode(Described(Symbol("a:b"), "x"))) == Described("a:b", "x")


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5))
def test_the_items_of_a_map_can_be_cut_out(value: Any) -> None:
    data = encode(value)
    items = [decode_whole(data[start:end]) for start, end in items_of(data)]
    assert dict(zip(items[::2], items[1::2], strict=True)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (decode, skip, lambda data, at: list(items_of(data, at))):
        try:
            read(data, 0)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xb0\xff\xff\xff\xff",  # 4 GiB of binary
        b"\xd0\x00\x00\x00\x08\xff\xff\xff\xff\x40\x40\x40\x40",  # a list of 4 billion
        b"\xd1\x00\x00\x00\x08\xff\xff\xff\xfe\x40\x40\x40\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",  # an array of 4 billion nulls, which need no bytes
        b"\xc1\x02\x01\x40",  # a map with a key and no value
        b"\xc1\x05\x02\x45\x40",  # cut
        b"\xa1\x01\xff",  # no UTF-8
        b"\x01",
        b"\xc0\x01\x02",
        b"\xc1\x03\x02\x45\x40",  # a key that is a list
    ],
)
def test_what_lies_about_its_size_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_whole(data)


def test_deep_nesting_is_refused_and_not_followed() -> None:
    data = b"\x40"
    for _ in range(100):
        data = encode([b""])[:1] + bytes((len(data) + 1, 1)) + data if len(data) < 250 else data
    with pytest.raises(DecodeError, match="nested"):
        decode(data)
    with pytest.raises(DecodeError, match="nested"):
        decode(b"\x00" * 10_000)


def test_a_uuid_survives() -> None:
    value = uuid.uuid4()
    assert sdk_decode(encode(value)) == value

"""Decoding of event bodies: what is a reading gets through, whatever stands beside it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts.readings import MAX_EPOCH_US
from stream.decode import MAX_BODY_CHARS, decode

OK = {"device": "d7", "sensor": "temp", "ts": 1_700_000_000.25, "value": 21.4}
OK_US = 1_700_000_000_250_000


def body(*items: object) -> bytes:
    return json.dumps(items[0] if len(items) == 1 else list(items)).encode()


@pytest.mark.parametrize(
    "ts",
    [
        "2023-11-14T22:13:20.250Z",
        "2023-11-14T22:13:20.250",
        "2023-11-14 22:13:20.250",
        "2023-11-14T23:13:20.250+01:00",
        1_700_000_000.25,
        1_700_000_000_250,
    ],
)
def test_iso_times_seconds_and_milliseconds_name_the_same_moment(ts: object) -> None:
    assert decode([body({**OK, "ts": ts}), body(OK)]).ts_us.tolist() == [OK_US, OK_US]


def test_single_readings_and_arrays_keep_their_order_and_event() -> None:
    second, third = {**OK, "sensor": "load"}, {**OK, "device": "d8"}
    decoded = decode([body(OK), body(second, third), b"[]", body(OK)])
    assert decoded.device == ["d7", "d7", "d8", "d7"]
    assert decoded.sensor == ["temp", "load", "temp", "temp"]
    assert decoded.event.tolist() == [0, 1, 1, 3]
    assert decoded.item.tolist() == [0, 0, 1, 0]
    assert decoded.rejected == []


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        None,
        b" ",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b"7",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"device":"d","sensor":"s","ts":1,"value":1,"more":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"device":"d","sensor":"s","ts":1,"value":NaN}',
        b'{"device":"d","sensor":"s","ts":1,"value":Infinity}',
        b'{"device":"d","sensor":"s","ts":1,"value":1e999}',
        b'{"device":"d","sensor":"s","ts":1,"value":"1"}',
        b'{"device":"d","sensor":"s","ts":1,"value":true}',
        b'{"device":"d","sensor":"s","ts":true,"value":1}',
        b'{"device":"d","sensor":"s","ts":"yesterday","value":1}',
        b'{"device":"d","sensor":"s","ts":-1,"value":1}',
        b'{"device":"d","sensor":"s","ts":1e300,"value":1}',
        b'{"device":"d","sensor":"s","ts":1.7976931348623157e308,"value":1}',
        b'{"device":"d","sensor":"s","ts":-1e308,"value":1}',
        b'{"device":"d","sensor":"s","ts":' + b"9" * 300 + b',"value":1}',
        b'{"device":"d","sensor":"s","ts":"9999-12-31T23:59:59Z","value":1}',
        b'{"device":"d","sensor":"s","ts":"0001-01-01T00:00:00+14:00","value":1}',
        b'{"device":"d","sensor":"s","ts":"0001-01-01T00:00:00Z","value":1}',
        b'{"device":"","sensor":"s","ts":1,"value":1}',
        b'{"device":5,"sensor":"s","ts":1,"value":1}',
        b'{"device":"d","ts":1,"value":1}',
        b'{"device":"d","flush":false}',
        b'{"device":"\xff","sensor":"s","ts":1,"value":1}',
        b'{"device":"\\ud800","sensor":"s","ts":1,"value":1}',
        b'{"device":"' + b"x" * 300 + b'","sensor":"s","ts":1,"value":1}',
        body(OK) + body(OK),
        body(OK) + b"," + body(OK),
        b"x" * 1_000_000,
    ],
)
def test_what_is_no_reading_is_rejected_with_a_reason_and_harms_no_neighbour(bad: bytes | None) -> None:
    decoded = decode([body(OK), bad, body(OK, OK)])
    assert decoded.event.tolist() == [0, 2, 2]
    assert decoded.ts_us.tolist() == [OK_US] * 3
    [rejected] = decoded.rejected
    assert rejected.event == 1
    assert len(rejected.detail) > 10
    assert len(rejected.body) <= 4 * MAX_BODY_CHARS
    json.dumps(rejected.body).encode()


def test_one_bad_item_of_an_array_costs_only_itself() -> None:
    decoded = decode([body(OK, {"device": "d7"}, OK, 7)])
    assert decoded.item.tolist() == [0, 2]
    assert [rejected.item for rejected in decoded.rejected] == [1, 3]


def test_unknown_fields_are_ignored_and_names_may_be_any_unicode() -> None:
    decoded = decode([body({**OK, "device": "Gerät-7/Ω\n", "firmware": {"version": [1, 2]}})])
    assert decoded.device == ["Gerät-7/Ω\n"]


def test_a_flush_marker_is_a_row_without_sensor() -> None:
    decoded = decode([body(OK, {"device": "d7", "flush": True})])
    assert decoded.sensor == ["temp", ""]
    assert decoded.value[1] != decoded.value[1]


@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_make_it_raise(bodies: list[bytes]) -> None:
    decoded = decode(bodies)
    accounted = {*decoded.event.tolist(), *(rejected.event for rejected in decoded.rejected)}
    assert accounted >= {i for i, body in enumerate(bodies) if b"[" not in body}


@given(st.datetimes(datetime(1970, 1, 2), datetime(2099, 1, 1)))  # noqa: DTZ001  # zone-less on purpose
def test_zoneless_times_are_utc(moment: datetime) -> None:
    expected = round(moment.replace(tzinfo=UTC).timestamp() * 1e6)
    assert decode([body({**OK, "ts": moment.isoformat()})]).ts_us.tolist() == [expected]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_numbers_are_taken_or_rejected(times: list[float], value: float) -> None:
    decoded = decode([body({**OK, "ts": ts, "value": value}) for ts in times])
    assert len(decoded) + len(decoded.rejected) == len(times)
    assert all(0 <= ts_us <= MAX_EPOCH_US for ts_us in decoded.ts_us.tolist())

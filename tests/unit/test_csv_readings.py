from __future__ import annotations

import pytest

from models.csvreadings import CsvColumns, parse_csv
from models.errors import BadInput
from models.tables import Readings

NAMES = CsvColumns.parse("device=Device,sensor=Sensor,ts=TS,value=Value")
SECOND_US = 1_535_497_205_000_000


def parse(*lines: str, columns: CsvColumns = NAMES) -> Readings:
    (readings,) = parse_csv([line + "\n" for line in lines], columns)
    return readings


def test_columns_are_found_by_name_in_any_order() -> None:
    readings = parse("Value,extra,TS,Sensor,Device", "1.5,x,2018-08-28 23:00:05.000,4,pump")
    assert (readings.device, readings.sensor) == (["pump"], ["4"])
    assert readings.ts_us.tolist() == [SECOND_US]
    assert readings.value.tolist() == [1.5]
    assert readings.offset.tolist() == [2]


@pytest.mark.parametrize(
    "text",
    [
        "2018-08-28 23:00:05.000",
        "2018-08-28T23:00:05Z",
        "2018-08-29T01:00:05+02:00",
        "1535497205",
        "1535497205.0",
        "1535497205000",
        " 2018-08-28 23:00:05 ",
    ],
)
def test_times_without_zone_are_utc_and_epoch_numbers_are_seconds_or_milliseconds(text: str) -> None:
    assert parse("Device,Sensor,TS,Value", f"d,s,{text},1").ts_us.tolist() == [SECOND_US]


def test_quotes_byte_order_mark_blank_lines_and_carriage_returns_are_read() -> None:
    readings = parse('\ufeff"Device",Sensor,TS,Value\r', "", '"a, b",s,1535497205,1\r', '"c\nd",s,1535497205,2')
    assert readings.device == ["a, b", "c\nd"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("d,s,yesterday,1", "line 3: expected an ISO 8601 time.*'yesterday'"),
        ("d,s,1535497205000000,1", "line 3: ts:"),
        ("d,s,nan,1", "line 3"),
        ("d,s,1535497205,", "line 3: expected a finite number as value, got ''"),
        ("d,s,1535497205,inf", "line 3: expected a finite number"),
        ("d,s", "line 3: expected at least 4 cells, got 2"),
        (",s,1535497205,1", "line 3: expected a device of 1..256"),
        (f"d,{'x' * 257},1535497205,1", "line 3: expected a sensor of 1..256"),
    ],
)
def test_what_is_no_reading_is_named_with_its_line(line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse("Device,Sensor,TS,Value", "d,s,1535497205,1", line)


@pytest.mark.parametrize("lines", [[], [""], ["device,sensor,ts,value"]])
def test_a_missing_column_is_named(lines: list[str]) -> None:
    with pytest.raises(BadInput, match="no column 'Device'"):
        list(parse_csv(lines, NAMES))


def test_a_column_name_that_occurs_twice_is_refused_where_it_is_used() -> None:
    assert parse("Device,Sensor,TS,Value,x,x", "d,s,1535497205,1,2,3").value.tolist() == [1.0]
    with pytest.raises(BadInput, match="2 columns are called 'Value', expected one"):
        parse("Device,Sensor,TS,Value, Value ", "d,s,1535497205,1,2")


@pytest.mark.parametrize("text", ["device", "device=", "colour=x", "device=a,device=b"])
def test_a_mapping_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="columns"):
        CsvColumns.parse(text)


def test_a_file_is_read_in_chunks_that_follow_each_other() -> None:
    lines = ["Device,Sensor,TS,Value", *(f"d,s,{1_535_497_205 + i},{i}" for i in range(10))]
    chunks = list(parse_csv(lines, NAMES, rows=4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    assert [value for chunk in chunks for value in chunk.value] == list(range(10))


def test_a_header_alone_has_no_readings() -> None:
    assert list(parse_csv(["Device,Sensor,TS,Value"], NAMES)) == []

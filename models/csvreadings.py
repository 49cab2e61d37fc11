"""Readings from CSV text: lines in, columns out. Used to train on a file and to replay one."""

import csv
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from models.columns import parse_columns
from models.contracts import epoch_us
from models.errors import BadInput
from models.tables import Readings

_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """Which column of the file holds which part of a reading."""

    device: str = "device"
    sensor: str = "sensor"
    ts: str = "ts"
    value: str = "value"

    @classmethod
    def parse(cls, mapping: str) -> "CsvColumns":
        """The columns of a text such as `device=Device,sensor=Sensor,ts=TS,value=Value`; parts may be left out."""
        return cls(**parse_columns(mapping, cls.__dataclass_fields__))


def parse_csv(lines: Iterable[str], columns: CsvColumns, *, rows: int = 65_536) -> Iterator[Readings]:
    """Readings of a CSV text with a header line, in file order, in chunks of at most `rows`.

    Times are ISO 8601 (zone-less means UTC), epoch seconds or epoch milliseconds. `offset` of a reading is its line
    number. Raises BadInput for a header without one column of each name, and with the line number for anything that
    is not a reading; empty lines are passed over.
    """
    reader = csv.reader(_without_mark(lines))
    try:
        header = [name.strip() for name in next(reader, [])]
        places = [_place(header, name) for name in (columns.device, columns.sensor, columns.ts, columns.value)]
        chunk = _Chunk()
        for cells in reader:
            if not cells:
                continue
            chunk.add(cells, places, reader.line_num)
            if len(chunk.device) == rows:
                yield chunk.readings()
                chunk = _Chunk()
        if chunk.device:
            yield chunk.readings()
    except csv.Error as error:
        raise BadInput(f"CSV line {reader.line_num}: {error}") from error


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """`lines` without the byte order mark that some programs put first."""
    rest = iter(lines)
    yield next(rest, "").removeprefix("\ufeff")
    yield from rest


class _Chunk:
    def __init__(self) -> None:
        self.device: list[str] = []
        self._sensor: list[str] = []
        self._ts = array("q")
        self._value = array("d")
        self._line = array("q")
        self._last_ts = ("", 0)

    def add(self, cells: list[str], places: list[int], line: int) -> None:
        try:
            device, sensor, ts, value = (cells[place] for place in places)
        except IndexError:
            raise BadInput(f"CSV line {line}: expected at least {max(places) + 1} cells, got {len(cells)}") from None
        self._ts.append(self._time(ts, line))
        self._value.append(_number(value, line))
        self.device.append(_name(device, "device", line))
        self._sensor.append(_name(sensor, "sensor", line))
        self._line.append(line)

    def readings(self) -> Readings:
        return Readings(
            device=self.device,
            sensor=self._sensor,
            ts_us=np.array(self._ts, dtype=np.int64),
            value=np.array(self._value, dtype=np.float64),
            offset=np.array(self._line, dtype=np.int64),
        )

    def _time(self, text: str, line: int) -> int:
        # Neighbouring lines often share their time.
        if text != self._last_ts[0]:
            self._last_ts = (text, _time_us(text.strip(), line))
        return self._last_ts[1]


def _place(header: list[str], column: str) -> int:
    if header.count(column) > 1:
        raise BadInput(f"CSV header: {header.count(column)} columns are called {column!r}, expected one")
    try:
        return header.index(column)
    except ValueError:
        raise BadInput(f"CSV header: no column {column!r}; it has {', '.join(map(repr, header)) or 'none'}") from None


def _time_us(text: str, line: int) -> int:
    try:
        return epoch_us(float(text))
    except BadInput as error:
        raise BadInput(f"CSV line {line}: {error}") from error
    except (ValueError, OverflowError):
        pass
    try:
        return epoch_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError, BadInput):
        raise BadInput(
            f"CSV line {line}: expected an ISO 8601 time, epoch seconds or epoch milliseconds, got {text!r}"
        ) from None


def _number(text: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"CSV line {line}: expected a finite number as value, got {text!r}")
    return value


def _name(text: str, what: str, line: int) -> str:
    name = text.strip()
    if not 0 < len(name) <= _MAX_NAME:
        raise BadInput(f"CSV line {line}: expected a {what} of 1..{_MAX_NAME} characters, got {len(name)}")
    return name

"""Predictions as CSV, one row per window."""

import csv
from datetime import UTC, datetime
from typing import TextIO

from infra.feed.results import Results
from models.features import FEATURES
from models.tables import Predictions

HEADER = ("device", "sensor", "start", "count", *FEATURES, "status", "decision", "score", "model_version")


def export_predictions(
    results: Results, out: TextIO, *, device: str | None = None, sensor: str | None = None, since_us: int = 0
) -> int:
    """Write the header and the windows asked for, by device, sensor and start; the number of rows.

    Times are ISO 8601 in UTC; numbers have all their digits; decision and score are empty where there is none.
    """
    rows = [
        row
        for partition in results.partitions()
        for found in results.predictions(partition)
        for row in _rows(found, device, sensor, since_us)
    ]
    rows.sort(key=lambda row: row[:3])
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((*row[:2], _iso(row[2]), *row[3]) for row in rows)
    return len(rows)


def _rows(
    found: Predictions, device: str | None, sensor: str | None, since_us: int
) -> list[tuple[str, str, int, list[object]]]:
    return [
        (
            found.device[i],
            found.sensor[i],
            start_us,
            [
                int(found.count[i]),
                *map(repr, found.features[i].tolist()),
                found.status[i],
                _number(float(found.decision[i])),
                _number(float(found.score[i])),
                found.model_version[i],
            ],
        )
        for i, start_us in enumerate(found.start_us.tolist())
        if start_us >= since_us
        and (device is None or found.device[i] == device)
        and (sensor is None or found.sensor[i] == sensor)
    ]


def _number(value: float) -> str:
    return "" if value != value else repr(value)


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()

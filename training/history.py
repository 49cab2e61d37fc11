"""Training data: stored readings in, windows per series out."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import BadInput
from models.features import windows_of_history
from models.names import raw_prefix
from models.ports import BlobInfo, BlobStore
from models.tables import Readings, decode_readings
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Series = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SeriesWindows:
    """The n windows of one (device, sensor), ascending by start."""

    series: Series
    start_us: Int64
    features: Float64
    """(n, len(FEATURES)), all finite."""


def windows_by_series(chunks: Iterable[Readings], spec: WindowSpec, *, max_windows: int) -> list[SeriesWindows]:
    """The latest `max_windows` windows of each series, series sorted by name; readings in log order per series.

    Windows whose features are not finite are left out: no model can be fitted on them.
    """
    codes: dict[Series, int] = {}
    columns: list[tuple[Int64, Int64, Float64]] = []
    for chunk in chunks:
        pairs = zip(chunk.device, chunk.sensor, strict=True)
        code = np.fromiter((codes.setdefault(pair, len(codes)) for pair in pairs), np.int64, len(chunk))
        columns.append((code, chunk.ts_us, chunk.value))
    if not columns:
        return []
    series, ts_us, value = (np.concatenate(column) for column in zip(*columns, strict=True))
    owner, start_us, windows = windows_of_history(series, ts_us, value, spec)
    finite = np.isfinite(windows.values).all(axis=1)
    owner, start_us, features = owner[finite], start_us[finite], windows.values[finite]
    first = np.searchsorted(owner, np.arange(len(codes) + 1))
    result = []
    for name in sorted(codes):
        begin, end = first[codes[name]], first[codes[name] + 1]
        begin = max(begin, end - max_windows)
        result.append(SeriesWindows(name, start_us[begin:end], features[begin:end]))
    return result


def archived_readings(
    blobs: BlobStore, hub: str, keep: Callable[[Readings], Readings], *, max_readings: int = 20_000_000
) -> list[Readings]:
    """What `keep` leaves of the raw archive's files, in log order per partition.

    Once `max_readings` are kept, older files are not read, so memory stays bounded. A file that is no Parquet is
    passed over with a log line.
    """
    kept: dict[str, Readings] = {}
    total = 0
    for info in sorted(blobs.list(raw_prefix(hub)), key=lambda info: info.modified, reverse=True):
        if total >= max_readings:
            log.warning("archive of %s: %d readings taken, older files are left out", hub, total)
            break
        readings = keep(_read(blobs, info))
        if len(readings):
            kept[info.name] = readings
            total += len(readings)
    return [kept[name] for name in sorted(kept)]


def filter_readings(
    readings: Readings, wanted: set[Series] | None, since_us: int | None = None, until_us: int | None = None
) -> Readings:
    """Those of `wanted` series with since_us <= ts < until_us; None: no such limit."""
    keep = np.ones(len(readings), dtype=bool)
    if wanted is not None:
        pairs = zip(readings.device, readings.sensor, strict=True)
        keep &= np.fromiter((pair in wanted for pair in pairs), bool, len(readings))
    if since_us is not None:
        keep &= readings.ts_us >= since_us
    if until_us is not None:
        keep &= readings.ts_us < until_us
    if keep.all():
        return readings
    index = np.flatnonzero(keep)
    return Readings(
        device=[readings.device[i] for i in index],
        sensor=[readings.sensor[i] for i in index],
        ts_us=readings.ts_us[index],
        value=readings.value[index],
        offset=readings.offset[index],
    )


def fingerprint(sets: Iterable[SeriesWindows], spec: WindowSpec) -> str:
    """sha256 (hex) over the spec and every series with its starts and features."""
    digest = hashlib.sha256(spec.name.encode())
    for windows in sets:
        digest.update(repr((windows.series, len(windows.start_us))).encode())
        digest.update(windows.start_us.tobytes())
        digest.update(np.ascontiguousarray(windows.features).tobytes())
    return digest.hexdigest()


def _read(blobs: BlobStore, info: BlobInfo) -> Readings:
    try:
        return decode_readings(blobs.get(info.name).data)
    except BadInput as error:
        log.error("archive file %s passed over: %s", info.name, error)
        empty = np.empty(0, dtype=np.int64)
        return Readings([], [], empty, np.empty(0), empty)

"""Columnar forms of the contracts and their Parquet encoding (bytes in, bytes out).

pyarrow is imported on first use: the function app must not pay for it at start.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.errors import BadInput
from models.features import FEATURES

if TYPE_CHECKING:
    import pyarrow as pa

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """n closed windows as columns (contract: WindowRow), sorted by device, sensor, start."""

    device: list[str]
    sensor: list[str]
    start_us: Int64
    count: npt.NDArray[np.int32]
    duplicates: npt.NDArray[np.int32]
    features: Float64
    """(n, len(FEATURES))"""
    closed_by: list[str]
    closed_offset: Int64

    def __len__(self) -> int:
        return len(self.device)

    def take(self, rows: Sequence[int]) -> "Windows":
        """The windows at these places, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return Windows(
            device=[self.device[i] for i in rows],
            sensor=[self.sensor[i] for i in rows],
            start_us=self.start_us[index],
            count=self.count[index],
            duplicates=self.duplicates[index],
            features=self.features[index],
            closed_by=[self.closed_by[i] for i in rows],
            closed_offset=self.closed_offset[index],
        )

    def and_then(self, others: "Windows") -> "Windows":
        """These windows followed by others."""
        return Windows(
            device=self.device + others.device,
            sensor=self.sensor + others.sensor,
            start_us=np.concatenate((self.start_us, others.start_us)),
            count=np.concatenate((self.count, others.count)),
            duplicates=np.concatenate((self.duplicates, others.duplicates)),
            features=np.concatenate((self.features, others.features)),
            closed_by=self.closed_by + others.closed_by,
            closed_offset=np.concatenate((self.closed_offset, others.closed_offset)),
        )


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """A batch file: windows of one partition closed by the log up to and including `through_offset`.

    `closed_at` (epoch seconds) is when the oldest of them was closed on the worker's clock, for latency only.
    """

    windows: Windows
    through_offset: int
    closed_at: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """n predictions as columns (contract: Prediction), in the order of the batch they score."""

    device: list[str]
    sensor: list[str]
    start_us: Int64
    count: npt.NDArray[np.int32]
    duplicates: npt.NDArray[np.int32]
    features: Float64
    closed_offset: Int64
    status: list[str]
    decision: Float64
    score: Float64
    model_version: list[str]

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Readings:
    """n readings as columns, in log order: the raw archive, and late readings."""

    device: list[str]
    sensor: list[str]
    ts_us: Int64
    value: Float64
    offset: Int64
    """Offset of the event that carried the reading; several readings may share one."""

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of texts that repeat: distinct `values`, and the place of each row's text among them (int32)."""

    values: list[str]
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Coded":
        """The column of these texts."""
        places: dict[str, int] = {}
        codes = [places.setdefault(text, len(places)) for text in texts]
        return cls(list(places), np.array(codes, dtype=np.int32))

    def at(self, rows: Int64) -> "Coded":
        """The texts at these places of the column."""
        return Coded(self.values, self.codes[rows])


def encode_batch(batch: WindowBatch) -> bytes:
    """Parquet bytes of a window batch."""
    w = batch.windows
    columns = {
        "device": text_column(w.device),
        "sensor": text_column(w.sensor),
        "start": timestamps(w.start_us),
        "count": w.count,
        "duplicates": w.duplicates,
        **{name: w.features[:, i] for i, name in enumerate(FEATURES)},
        "closed_by": text_column(w.closed_by),
        "closed_offset": w.closed_offset,
    }
    return write_parquet(columns, {"through_offset": str(batch.through_offset), "closed_at": repr(batch.closed_at)})


def decode_batch(data: bytes) -> WindowBatch:
    """The window batch of `encode_batch`. Raises BadInput if `data` is something else."""
    table = read_parquet(data)
    try:
        metadata = table.schema.metadata or {}
        return WindowBatch(
            windows=Windows(
                device=table["device"].to_pylist(),
                sensor=table["sensor"].to_pylist(),
                start_us=epoch_us(table["start"]),
                count=table["count"].to_numpy(),
                duplicates=table["duplicates"].to_numpy(),
                features=_feature_matrix(table),
                closed_by=table["closed_by"].to_pylist(),
                closed_offset=table["closed_offset"].to_numpy(),
            ),
            through_offset=int(metadata[b"through_offset"]),
            closed_at=float(metadata[b"closed_at"]),
        )
    except KeyError as missing:
        raise BadInput(f"window batch: column or metadata {missing} is missing") from missing


def encode_predictions(predictions: Predictions) -> bytes:
    """Parquet bytes of predictions."""
    p = predictions
    return write_parquet(
        {
            "device": text_column(p.device),
            "sensor": text_column(p.sensor),
            "start": timestamps(p.start_us),
            "count": p.count,
            "duplicates": p.duplicates,
            **{name: p.features[:, i] for i, name in enumerate(FEATURES)},
            "closed_offset": p.closed_offset,
            "status": text_column(p.status),
            "decision": p.decision,
            "score": p.score,
            "model_version": text_column(p.model_version),
        },
        {},
    )


def decode_predictions(data: bytes) -> Predictions:
    """The predictions of `encode_predictions`. Raises BadInput if `data` is something else."""
    table = read_parquet(data)
    try:
        return Predictions(
            device=table["device"].to_pylist(),
            sensor=table["sensor"].to_pylist(),
            start_us=epoch_us(table["start"]),
            count=table["count"].to_numpy(),
            duplicates=table["duplicates"].to_numpy(),
            features=_feature_matrix(table),
            closed_offset=table["closed_offset"].to_numpy(),
            status=table["status"].to_pylist(),
            decision=table["decision"].to_numpy(),
            score=table["score"].to_numpy(),
            model_version=table["model_version"].to_pylist(),
        )
    except KeyError as missing:
        raise BadInput(f"predictions: column {missing} is missing") from missing


def encode_readings(readings: Readings) -> bytes:
    """Parquet bytes of readings."""
    r = readings
    return encode_coded_readings(Coded.of(r.device), Coded.of(r.sensor), r.ts_us, r.value, r.offset)


def encode_coded_readings(device: Coded, sensor: Coded, ts_us: Int64, value: Float64, offset: Int64) -> bytes:
    """Parquet bytes of readings (the columns of `Readings`, names coded)."""
    return write_parquet(
        {
            "device": _coded_text(device),
            "sensor": _coded_text(sensor),
            "ts": timestamps(ts_us),
            "value": value,
            "offset": offset,
        },
        {},
        # Times and offsets hardly change from row to row, and sensors often give few distinct values.
        use_dictionary=["device", "sensor", "value"],
        column_encoding={"ts": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED"},
    )


def decode_readings(data: bytes) -> Readings:
    """The readings of `encode_readings`. Raises BadInput if `data` is something else."""
    table = read_parquet(data)
    try:
        return Readings(
            device=table["device"].to_pylist(),
            sensor=table["sensor"].to_pylist(),
            ts_us=epoch_us(table["ts"]),
            value=table["value"].to_numpy(),
            offset=table["offset"].to_numpy(),
        )
    except KeyError as missing:
        raise BadInput(f"readings: column {missing} is missing") from missing


def warm_up() -> None:
    """Load what encoding needs, so that the first file does not wait for it."""
    nothing = Coded.of([""])
    encode_coded_readings(nothing, nothing, np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64))


def text_column(values: list[str]) -> "pa.Array":
    """A column of texts."""
    import pyarrow as pa

    encoded = [text.encode() for text in values]
    ends = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _coded_text(column: Coded) -> "pa.Array":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(_numbers(column.codes), text_column(column.values))


def timestamps(us: Int64) -> "pa.Array":
    """A column of times from epoch microseconds."""
    import pyarrow as pa

    return _numbers(us).cast(pa.timestamp("us", tz="UTC"))


def _numbers(column: npt.NDArray[Any]) -> "pa.Array":
    """The column's own memory as an Arrow array.

    Made of buffers, as `text_column` is: `pa.array` imports pandas where it is installed, to know its types, and
    55 MB more are resident.
    """
    import pyarrow as pa

    column = np.ascontiguousarray(column)
    if column.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(column), [None, pa.py_buffer(np.packbits(column, bitorder="little"))]
        )
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [None, pa.py_buffer(column)])


def epoch_us(column: Any) -> Int64:
    """Epoch microseconds of a column of times."""
    import pyarrow as pa

    us: Int64 = column.cast(pa.int64()).to_numpy()
    return us


def _feature_matrix(table: "pa.Table") -> Float64:
    matrix = np.empty((table.num_rows, len(FEATURES)))
    for i, name in enumerate(FEATURES):
        matrix[:, i] = table[name].to_numpy()
    return matrix


def write_parquet(columns: dict[str, Any], metadata: dict[str, str], **encoding: Any) -> bytes:
    """Parquet bytes of columns (arrays of NumPy or Arrow) and texts about all of them; `encoding` goes to Arrow's
    writer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_numbers(column) if isinstance(column, np.ndarray) else column for column in columns.values()]
    table = pa.Table.from_arrays(arrays, names=list(columns)).replace_schema_metadata(metadata)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **encoding)
    return buffer.getvalue()


def read_parquet(data: bytes) -> "pa.Table":
    """The table of `write_parquet`, or any other. Raises BadInput if `data` is no Parquet file that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # On this thread alone: a pool thread of Arrow's that still lets go of `data` while the interpreter ends
        # aborts the process ("terminate called without an active exception").
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            return file.read(use_threads=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:  # OSError: of damaged bytes, too
        raise BadInput(f"expected a Parquet file, got {len(data)} other bytes ({error})") from error

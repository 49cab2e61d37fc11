"""A device that scores itself: the readings of one window in, a verdict out. Needs onnxruntime and numpy only.

    python score.py DIR < readings.csv

DIR holds model.onnx and model.json as written by `penstock models export-edge`. Standard input has one `ts,value`
line per reading, ts in epoch seconds, without a header. For each window one JSON line is printed; a negative
decision lies outside what the model has seen.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime tells its makers of its use

import onnxruntime as ort


def window_features(ts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 (8,): mean, std, min, max, median, slope per second, last minus first, mean step; ts ascending."""
    # Everything in float64: a float32 mean has lost the readings of a sensor with a large offset.
    mean = values.mean()
    seconds = ts - ts[0]
    seconds = seconds - seconds.mean()
    spread = (seconds * seconds).sum()
    slope = (seconds * (values - mean)).sum() / spread if spread > 0 else 0.0
    steps = np.abs(np.diff(values))
    roughness = steps.mean() if len(steps) else 0.0
    shape = [slope, values[-1] - values[0], roughness]
    return np.array([mean, values.std(), values.min(), values.max(), np.median(values), *shape], dtype=np.float64)


def windows(ts: np.ndarray, values: np.ndarray, size_s: int, hop_s: int) -> Iterator[tuple[int, np.ndarray]]:
    """(start in epoch seconds, features) of every window, aligned to the epoch; the last reading of a time counts."""
    latest = dict(zip(ts.tolist(), values.tolist(), strict=True))
    ts = np.array(sorted(latest))
    values = np.array([latest[t] for t in ts.tolist()])
    first = int(ts[0] // hop_s) * hop_s - size_s + hop_s
    for start in range(first, int(ts[-1]) + 1, hop_s):
        inside = (ts >= start) & (ts < start + size_s)
        if inside.any():
            yield start, window_features(ts[inside], values[inside])


def main(folder: Path) -> None:
    """Score the windows of standard input."""
    about = json.loads((folder / "model.json").read_text())
    sizes = [int(number) for number in re.findall(r"(\d+)s", about["window"])]
    readings = np.array([[float(cell) for cell in line.split(",")] for line in sys.stdin if line.strip()])
    if not len(readings):
        return
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for start, features in windows(readings[:, 0], readings[:, 1], sizes[0], sizes[-1]):
        if not np.isfinite(features).all():
            print(json.dumps({"start": start, "status": "invalid"}))
            continue
        # float64 in: the graph subtracts the mean before it narrows to float32.
        (decision,) = session.run(["scores"], {"features": features[None, :]})
        print(json.dumps({"start": start, "status": "scored", "decision": float(decision[0, 0])}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

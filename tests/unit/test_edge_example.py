from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.tables import Readings
from tests.unit.svm import SPEC, readings
from training.history import windows_by_series
from training.svm.edge import edge_graph
from training.svm.fit import SvmOptions, fit_series

SCORE = Path(__file__).parents[2] / "examples/edge/score.py"


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_device_scores_itself_as_scikit_learn_does(tmp_path: Path, offset: float) -> None:
    history = shifted(readings(("d", "s"), minutes=60), offset)
    (windows,) = windows_by_series([history], SPEC, max_windows=100)
    estimator = fit_series(windows, SvmOptions()).estimator
    (tmp_path / "model.onnx").write_bytes(edge_graph(estimator))
    (tmp_path / "model.json").write_text(json.dumps({"window": SPEC.name}))

    fresh = shifted(readings(("d", "s"), minutes=10, seed=1), offset)
    fresh.value[30:36] += 8
    (expected,) = windows_by_series([fresh], SPEC, max_windows=100)
    lines = [f"{ts / 1e6!r},{value!r}" for ts, value in zip(fresh.ts_us.tolist(), fresh.value.tolist(), strict=True)]
    result = subprocess.run(
        [sys.executable, "-I", SCORE, tmp_path],
        input="\n".join(lines), capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["start"] * 1_000_000 for row in rows] == expected.start_us.tolist()
    decision = np.array([row["decision"] for row in rows])
    np.testing.assert_allclose(decision, estimator.decision_function(expected.features), atol=1e-5 * 2, rtol=0)
    assert decision[5] < 0 < np.median(decision)


def test_the_example_imports_nothing_of_the_project() -> None:
    lines = SCORE.read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= {"json", "os", "re", "sys", "collections", "pathlib", "numpy", "onnxruntime"}


def shifted(of: Readings, offset: float) -> Readings:
    return Readings(of.device, of.sensor, of.ts_us, of.value + offset, of.offset)

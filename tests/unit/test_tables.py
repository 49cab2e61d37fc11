"""Reading and writing Parquet files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import BadInput
from models.tables import Readings, decode_readings, encode_readings

READ = """
import os, sys
import pyarrow.parquet
from models.tables import decode_readings
before = set(os.listdir("/proc/self/task"))
data = open(sys.argv[1], "rb").read()
for _ in range(20):
    decode_readings(data)
print(len(set(os.listdir("/proc/self/task")) - before))
"""

WRITE = """
import sys
from models.tables import warm_up
warm_up()
sys.exit("pandas" in sys.modules)
"""


def test_writing_a_file_does_not_import_pandas_where_it_is_installed() -> None:
    # 55 MB of a worker's memory.
    subprocess.run([sys.executable, "-c", WRITE], check=True, cwd=Path(__file__).parents[2])


def test_texts_of_any_length_and_alphabet_come_back() -> None:
    texts = ["", "a", "Gerät-7/Ω\n", "x" * 256, ""]
    readings = Readings(texts, texts[::-1], np.arange(5), np.zeros(5), np.arange(5))
    found = decode_readings(encode_readings(readings))
    assert (found.device, found.sensor) == (texts, texts[::-1])


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_reading_a_file_starts_no_thread_that_could_still_hold_it_when_the_process_ends(tmp_path: Path) -> None:
    # Arrow's I/O threads that let go of a Python object while the interpreter ends abort the process.
    n = 300
    readings = Readings(["d"] * n, ["s"] * n, np.arange(n), np.zeros(n), np.arange(n))
    file = tmp_path / "readings.parquet"
    file.write_bytes(encode_readings(readings))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(file)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 0


def test_bytes_that_are_no_parquet_file_are_bad_input() -> None:
    with pytest.raises(BadInput, match="expected a Parquet file, got 7 other bytes"):
        decode_readings(b"nothing")

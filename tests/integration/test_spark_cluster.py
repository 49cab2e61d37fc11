"""Spark on a standalone cluster of a master and two workers, each a process of its own on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pyspark
import pytest

from tests.integration.streaming import free_port
from tests.integration.test_spark import tastes, write_movielens
from training.recommend.als import AlsOptions
from training.recommend.ranking import evaluate, popularity, rank, ranking_metrics
from training.recommend.readers import read_ratings
from training.recommend.spark.engine import fit_spark
from training.recommend.spark.session import spark_session
from training.recommend.spark.shipping import packages_zip
from training.recommend.splits import split

pytestmark = [pytest.mark.integration, pytest.mark.scheduled, pytest.mark.timeout(600)]

SPARK_HOME = Path(pyspark.__file__).parent
SIZE = ["--factors", "6", "--regularization", "0.05", "--alpha", "3", "--iterations", "12", "--k", "5"]


@contextmanager
def running(part: str, folder: Path, *arguments: str) -> Iterator[Path]:
    """A process of Spark's own; what it prints goes to the file."""
    said = folder / f"{part.rsplit('.')[-1]}-{time.monotonic_ns()}.log"
    command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{part}", "--host", "127.0.0.1"]
    # A worker's Python must be the one that has NumPy; Spark looks for `python3` on its PATH.
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with said.open("wb") as output:
        process = subprocess.Popen([*command, *arguments], stdout=output, stderr=output, env=environment, cwd=folder)
    try:
        yield said
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cluster")
    port, web = free_port(), free_port()
    with ExitStack() as parts:
        parts.enter_context(running("master.Master", folder, "--port", str(port), "--webui-port", str(web)))
        url = f"spark://127.0.0.1:{port}"
        wait_for_workers(web, 0)
        for number in range(2):
            work = folder / f"worker-{number}"
            limits = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(work)]
            parts.enter_context(running("worker.Worker", folder, url, *limits))
        wait_for_workers(web, 2)
        yield url


def wait_for_workers(web: int, wanted: int) -> None:
    """Until the master says that so many workers have joined it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/json/", timeout=5) as answer:
                if json.load(answer)["aliveworkers"] >= wanted:
                    return
        except (OSError, ValueError):  # not up, or no JSON yet
            pass
        time.sleep(0.2)
    pytest.fail(f"the master has not seen {wanted} workers in two minutes")


def test_the_job_runs_by_spark_submit_and_writes_factors_of_every_id(cluster: str, tmp_path: Path) -> None:
    ratings = write_movielens(tmp_path, "u.data", tastes())
    job = Path(__file__).parents[2] / "training" / "recommend" / "spark" / "job.py"
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", cluster]
    command += ["--py-files", str(packages_zip(tmp_path)), "--conf", "spark.ui.enabled=false"]
    command += ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.cores.max=2"]
    command += [str(job), "--ratings", str(ratings), "--out", str(tmp_path / "out"), *SIZE]
    # From a folder that has no packages of the project: they must come from the zip.
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command += ["--checkpoints", (tmp_path / "checkpoints").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    (written,) = (tmp_path / "out" / "report.json").glob("part-*")
    report = json.loads(written.read_text())
    # spark-submit mixes what Python prints on stderr into its stdout.
    assert done.stdout.rstrip().endswith(json.dumps(report, indent=2))
    assert report["master"] == cluster
    parts = split(read_ratings(ratings), "stratified")
    popular = ranking_metrics(rank(popularity(parts.train), parts, 5), parts)
    assert report["ndcg_at_k"] > 1.5 * popular["ndcg_at_k"]
    assert report["train_ratings"] + report["test_ratings"] == len(tastes())
    users, items = (pq.read_table(tmp_path / "out" / name) for name in ("user_factors", "item_factors"))
    assert sorted(users["id"].to_pylist(), key=int) == [str(number) for number in range(1, 61)]
    assert sorted(items["id"].to_pylist(), key=int) == [str(number) for number in range(1, 41)]
    assert len(users["features"][0]) == 6


def test_a_session_on_the_cluster_fits_as_one_on_this_machine_does(cluster: str, tmp_path: Path) -> None:
    parts = split(tastes(), "random")
    options = AlsOptions(factors=6, regularization=0.05, alpha=3, iterations=12)
    checkpoints = (tmp_path / "checkpoints").as_uri()
    with spark_session(cluster, checkpoints=checkpoints, driver_host="127.0.0.1") as session:
        there = evaluate(fit_spark(parts.train, options, session), parts, 5)
    assert there.metrics["ndcg_at_k"] > 2 * there.popularity["ndcg_at_k"]
    assert any((tmp_path / "checkpoints").rglob("part-*"))

"""Spark sessions: quiet, on loopback when they are local, with what ALS needs to survive its long lineage."""

import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.errors import ConfigurationError, TryLater
from training.recommend.spark.java import require_java
from training.recommend.spark.shipping import packages_zip

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOCAL: Final = "local[*]"

# ALS builds on its own results iteration after iteration. Java serializes that chain by recursion, so a default stack
# overflows after a few dozen iterations; checkpoints every ten cut the chain, a deep stack bears what is left.
_STACK: Final = "-Xss64m"
_LOG4J: Final = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = spark: %p %c{1}: %m%n
"""


@contextmanager
def spark_session(
    master: str = LOCAL, *, checkpoints: str | None = None, driver_host: str | None = None
) -> Iterator["SparkSession"]:
    """A session on `master`: `local[n]`, or the URL of a cluster, whose workers get this project's packages.

    `checkpoints` is a folder that driver and workers share (a path or URL; on a cluster usually `abfss://` or
    `hdfs://`); locally a temporary one by default. `driver_host` is the address at which workers reach this process,
    if Spark's own guess is wrong. Under `spark-submit` master and settings are the ones given there. The session and
    its temporary files end with the block; the Java process ends with this one.
    Raises ConfigurationError, at once, if Java or pyspark is missing; TryLater if the session does not start.
    """
    require_java()
    try:
        import pyspark.sql  # noqa: F401  # only to see that it is there
    except ImportError as error:
        raise ConfigurationError(f"{error}; install what Spark needs: pip install 'penstock[training]'") from error
    scratch = Path(tempfile.mkdtemp(prefix="penstock-spark-"))
    try:
        with warnings.catch_warnings():
            # pandas is not used here, but pyspark looks at its version whenever it sees one.
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
            session = _started(master, _settings(master, scratch, driver_host), scratch / "java.log")
            try:
                local = is_local(session.sparkContext.master or master)
                if not local and not submitted():
                    session.sparkContext.addPyFile(str(packages_zip(scratch)))
                if checkpoints or local:
                    session.sparkContext.setCheckpointDir(checkpoints or (scratch / "checkpoints").as_uri())
                yield session
            finally:
                session.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _started(master: str, settings: dict[str, str], java_log: Path) -> "SparkSession":
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    if is_local(master):
        # Spark starts whatever `python3` is on PATH as its Python workers.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        if submitted():
            return SparkSession.builder.getOrCreate()
        conf = SparkConf(loadDefaults=False).setMaster(master).setAppName("penstock").setAll(list(settings.items()))
        if SparkContext._gateway is not None:  # noqa: SLF001  # Java runs already: no public way to know
            return SparkSession.builder.config(conf=conf).getOrCreate()
        # What Java itself prints goes to a file: it comes before any logging is set up.
        with java_log.open("wb") as output:
            gateway = launch_gateway(conf, {"stdout": output, "stderr": output})  # type: ignore[no-untyped-call]  # pyspark's own
        return SparkSession(SparkContext(conf=conf, gateway=gateway))
    except (PySparkException, Py4JError) as error:
        said = java_log.read_text(errors="replace")[-2000:] if java_log.exists() else ""
        raise TryLater(f"Spark did not start on {master}: {error}\n{said}".rstrip()) from error


def submitted() -> bool:
    """Whether `spark-submit` started this process, so that master and settings are the ones given to it."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def is_local(master: str) -> bool:
    """Whether executors run inside this machine's driver process."""
    return master == "local" or master.startswith("local[")


def cores(master: str) -> int:
    """How many tasks run at once on a local master."""
    inside = master.removeprefix("local").strip("[]").split(",")[0]
    return (os.cpu_count() or 1) if inside == "*" else int(inside or 1)


def _settings(master: str, scratch: Path, driver_host: str | None) -> dict[str, str]:
    log4j = scratch / "log4j2.properties"
    log4j.write_text(_LOG4J)
    # pyspark's bridge and Py4J say at level INFO what they do.
    logging.getLogger("py4j").setLevel(logging.WARNING)
    settings = {
        "spark.driver.extraJavaOptions": f"{_STACK} -Dlog4j2.configurationFile={log4j.as_uri()}",
        "spark.executor.extraJavaOptions": _STACK,
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if is_local(master):
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": f"{_driver_memory_mb()}m",
            "spark.local.dir": str(scratch),
            "spark.shuffle.compress": "false",
            "spark.sql.shuffle.partitions": str(cores(master)),
        }
    elif driver_host:
        settings |= {"spark.driver.bindAddress": driver_host, "spark.driver.host": driver_host}
    return settings


def _driver_memory_mb() -> int:
    """Half of the machine's memory, at least 1 GiB and at most 16: the heap grows to it only if it is needed."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(pages // 2**21, 1024), 16 * 1024)

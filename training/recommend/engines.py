"""The two engines behind one function: native, on this machine's cores, and Spark."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from models.recommend.ratings import Ratings
from training.recommend.als import AlsModel, AlsOptions, Engine
from training.recommend.native import fit_native

Fit = Callable[[Ratings, AlsOptions], AlsModel]


@dataclass(frozen=True, slots=True)
class Started:
    """An engine that is ready to fit."""

    fit: Fit
    start_s: float
    """What starting it took: of Spark's session."""


@contextmanager
def engine(
    name: Engine,
    *,
    master: str | None = None,
    threads: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Started]:
    """The engine called `name`, for the time of the block. `master` is Spark's (default: all cores of this machine).

    `threads` and `progress` are those of `fit_native`; Spark reports no progress.
    """
    if name == "native":
        yield Started(lambda train, options: fit_native(train, options, threads=threads, progress=progress), 0.0)
        return
    from training.recommend.spark.engine import fit_spark
    from training.recommend.spark.session import LOCAL, spark_session

    begun = time.perf_counter()
    with spark_session(master or LOCAL) as session:
        start_s = time.perf_counter() - begun
        yield Started(lambda train, options: fit_spark(train, options, session), start_s)

"""Asking for models: series that were seen often enough without one are named to the trainer."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from functions.alerts import CONTAINER
from functions.series import SHARD_PREFIX, decode_shard
from models.contracts import PredictionStatus, TrainRequest
from models.errors import Superseded
from models.ports import Clock, Put, StateStore, TaskQueue

log = logging.getLogger(__name__)

# A queue message holds 48 KiB.
_REQUEST_BYTES: Final = 40_000
_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 3600.0
_PARTITION: Final = "learning"
_ASKED: Final = "asked"


class Asked(msgspec.Struct, frozen=True):
    """What was asked for last: a digest of the series, when, and how often in a row."""

    series: str
    at: float
    times: int


def request_training(state: StateStore, train_queue: TaskQueue, clock: Clock, *, min_windows: int) -> int:
    """Send requests for the series that are `learning` and were seen for `min_windows` windows; how many series.

    Nothing is sent while the queue holds a request, waiting or in work, nor within 30 s of the last one; for series
    that stay without a model although asked for, the pause doubles up to an hour. Called twice at once, one of the
    two sends. After a crash before sending, the next call after the pause sends.
    """
    wanted = _without_model(state, min_windows)
    series = [pair for pairs in wanted.values() for pair in pairs]
    if not series or train_queue.length() > 0 or not _turn(state, clock, series):
        return 0
    for (hub, spec), pairs in wanted.items():
        for part in _parts(pairs):
            train_queue.send(msgspec.json.encode(TrainRequest(hub=hub, spec=spec, series=part)))
    log.info("asked for models of %d series", len(series))
    return len(series)


def _without_model(state: StateStore, min_windows: int) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Series (device, sensor) in name order, by (hub, spec)."""
    found: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for document in state.query(CONTAINER, id_prefix=SHARD_PREFIX):
        hub, spec, _ = document.partition.split("/")
        for series in decode_shard(document.body):
            if series.status == PredictionStatus.LEARNING and series.learning >= min_windows:
                found[hub, spec].add((series.device, series.sensor))
    return {key: sorted(pairs) for key, pairs in sorted(found.items())}


def _turn(state: StateStore, clock: Clock, series: list[tuple[str, str]]) -> bool:
    """Whether it is time to ask for `series`, and nobody else does so now."""
    document = state.get(CONTAINER, _PARTITION, _ASKED)
    last = msgspec.json.decode(document.body, type=Asked) if document else None
    digest = hashlib.sha256(msgspec.json.encode(series)).hexdigest()
    times = last.times + 1 if last is not None and last.series == digest else 1
    # 2 ** 7 pauses are more than the longest; the bound keeps the power small.
    pause_s = min(_FIRST_PAUSE_S * 2 ** min(times - 1, 7), _LONGEST_PAUSE_S)
    now = clock.now()
    if last is not None and now - last.at < pause_s:
        return False
    asked = Put(_ASKED, msgspec.json.encode(Asked(digest, now, times)), etag=document.etag if document else "")
    try:
        state.transact(CONTAINER, _PARTITION, [asked])
    except Superseded:
        return False
    return True


def _parts(pairs: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """`pairs` in parts that fit one message each."""
    part: list[tuple[str, str]] = []
    size = 0
    for pair in pairs:
        weight = len(msgspec.json.encode(pair)) + 1
        if part and size + weight > _REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(pair)
        size += weight
    if part:
        yield part

"""What is remembered of one series (device, sensor) of a stream partition, and how one more prediction changes it.

A series' *cursor* is the start of its last applied window. Windows of a series close in time order, so a window at
or before the cursor has been applied already and is skipped: that makes applying any stretch of predictions again
harmless, also when a batch was made anew with other windows in it.
"""

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

from models.contracts import PredictionStatus

# Number of documents that share the series of one partition. Few enough that a fold over all of them is one
# transaction, enough that one of 200,000 series stays below the 2 MB limit of a Cosmos DB document.
SHARDS: Final = 64
SHARD_PREFIX: Final = "series:"


class Episode(msgspec.Struct, array_like=True, gc=False):
    """An open alert. `_us` are window starts in epoch microseconds; `raised_at` is wall clock, epoch seconds."""

    start_us: int
    last_us: int
    windows: int
    peak_score: float
    threshold: float
    model_version: str
    raised_at: float


class Series(msgspec.Struct, array_like=True):
    """The state of one series after its window `last_us`. Stored as an array: fields may only be appended."""

    device: str
    sensor: str
    last_us: int = -1
    windows: int = 0
    learning: int = 0
    """Windows seen without a model."""
    status: str = PredictionStatus.LEARNING.value
    """Of the last window."""
    score: float | None = None
    """Of the last scored window."""
    episode: Episode | None = None


class Shard(msgspec.Struct):
    """A document that holds the series of one shard."""

    version: int = 1
    series: list[Series] = []


def advance(
    series: Series, start_us: int, status: str, score: float, model_version: str, *, threshold: float, now: float
) -> Episode | None:
    """Apply one prediction to `series`; the episode it raised, extended or cleared, if any.

    Cleared is what is returned while `series.episode` is None. Windows that are learning or invalid neither raise nor
    extend nor clear. The caller has skipped windows at or before the cursor.
    """
    assert start_us > series.last_us
    series.last_us = start_us
    series.windows += 1
    series.status = status
    if status != PredictionStatus.SCORED:
        series.learning += status == PredictionStatus.LEARNING
        return None
    series.score = score
    episode = series.episode
    if score <= threshold:
        series.episode = None
        return episode
    if episode is None:
        episode = series.episode = Episode(start_us, start_us, 0, score, threshold, model_version, now)
    episode.last_us = start_us
    episode.windows += 1
    episode.peak_score = max(episode.peak_score, score)
    return episode


def shard_of(device: str, sensor: str) -> int:
    """The shard of a series; the same for ever."""
    return zlib.crc32(f"{len(device)}:{device}{sensor}".encode()) % SHARDS


def shard_id(shard: int) -> str:
    """Document id of a shard."""
    return f"{SHARD_PREFIX}{shard:02d}"


def encode_shard(series: Iterable[Series]) -> bytes:
    """The document body of a shard."""
    return _encoder.encode(Shard(series=list(series)))


def decode_shard(body: bytes) -> list[Series]:
    """The series of a document body."""
    return _decoder.decode(body).series


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Shard)

"""Splits of ratings into a training and a test part.

Random and stratified splits use a hash of the row and the seed, so that the order of rows does not matter and any
engine gives the same parts. With `user`, `item` the ids as text and `seed` an integer, in Spark SQL:

    user_hash = cast(conv(substring(md5(user), 1, 15), 16, 10) as bigint)     -- the same for item_hash
    hash      = xxhash64(user_hash, item_hash, cast(seed as bigint))          -- Spark's own, with its seed of 42
    draw      = shiftrightunsigned(hash, 11) / 9007199254740992D              -- 0 <= draw < 1

md5 is that of the UTF-8 bytes. A group's first `rint(ratio * count)` rows (half to even) are its training part.

| split | order of rows | training part |
|---|---|---|
| random | - | draw < ratio |
| stratified | draw, hash, within a user or item | the first rint(ratio * count) of each |
| chronological | time, draw, hash, within a user or item, or over all | the first rint(ratio * count) of each |
| recommenders | NumPy's legacy generator, within an item | the first rint(ratio * count) of each |

The last is `python_stratified_split(filter_by="item")` of recommenders-team/recommenders, by which its table of
algorithms was made; it depends on the order of rows and works in memory only.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from models.errors import BadInput
from models.recommend.ratings import Ratings, in_id_order
from training.recommend.grouping import ranks

Kind = Literal["random", "stratified", "chronological", "recommenders"]
By = Literal["user", "item", "all"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Uint64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
_SPARK_SEED = 42


@dataclass(frozen=True, slots=True)
class Split:
    """Two disjoint parts under the same users and items; together they are all rows, each in the order it had."""

    train: Ratings
    test: Ratings


def split(ratings: Ratings, kind: Kind, *, ratio: float = 0.75, seed: int = 42, by: By | None = None) -> Split:
    """`ratings` in two parts. `by`: default user; of `recommenders` always item, of `random` without meaning.

    Raises BadInput unless 0 < ratio < 1, `by` fits, and both parts have rows; and for a chronological split if no
    rating has a time.
    """
    if not 0 < ratio < 1:
        raise BadInput(f"ratio: expected a number between 0 and 1, got {ratio}")
    if not 0 <= seed < 2**32:
        raise BadInput(f"seed: expected 0..{2**32 - 1}, got {seed}")
    chosen = _training(ratings, kind, ratio, seed, by)
    if chosen.all() or not chosen.any():
        part = "test" if chosen.all() else "training"
        raise BadInput(f"split {kind} with ratio {ratio} of {len(ratings)} ratings leaves an empty {part} part")
    return Split(ratings.rows(chosen), ratings.rows(~chosen))


def joined(train: Ratings, test: Ratings) -> Split:
    """Two sets of ratings, each with ids of its own, as one split under the ids of both."""
    users, items = in_id_order([*train.users, *test.users]), in_id_order([*train.items, *test.items])
    return Split(*(_under(users, items, part) for part in (train, test)))


def folds(ratings: Ratings, k: int, seed: int) -> list[Split]:
    """Splits whose `k` test parts are disjoint and together all rows: fold floor(k * draw) tests a row."""
    if not 2 <= k <= 20:
        raise BadInput(f"folds: expected 2..20, got {k}")
    fold = np.floor(draws(ratings, seed) * k).astype(np.int64)
    return [Split(ratings.rows(fold != each), ratings.rows(fold == each)) for each in range(k)]


def draws(ratings: Ratings, seed: int) -> Float64:
    """`draw` of each row, as defined above."""
    return (row_hash(ratings, seed) >> np.uint64(11)) / 2.0**53


def row_hash(ratings: Ratings, seed: int) -> Uint64:
    """`hash` of each row, as defined above; Spark's bigint is the same 64 bits with a sign."""
    user, item = _id_hashes(ratings.users)[ratings.user], _id_hashes(ratings.items)[ratings.item]
    start = np.full(len(ratings), _SPARK_SEED, dtype=np.uint64)
    return _xx64(np.full(len(ratings), seed, dtype=np.uint64), _xx64(item, _xx64(user, start)))


def _under(users: list[str], items: list[str], part: Ratings) -> Ratings:
    user_place = {text: place for place, text in enumerate(users)}
    item_place = {text: place for place, text in enumerate(items)}
    user = np.array([user_place[text] for text in part.users], dtype=np.int32)
    item = np.array([item_place[text] for text in part.items], dtype=np.int32)
    return Ratings(users, items, user[part.user], item[part.item], part.value, part.time_s)


def _training(ratings: Ratings, kind: Kind, ratio: float, seed: int, by: By | None) -> Bools:
    if kind == "random":
        return draws(ratings, seed) < ratio
    if kind == "recommenders":
        if by not in (None, "item"):
            raise BadInput(f"split recommenders is by item, got --by {by}")
        # The protocol is defined by this generator.
        draw = np.random.RandomState(seed).random_sample(len(ratings))
        return _first_of_groups(ratings.item, [draw], ratio)
    if kind == "stratified":
        if by == "all":
            raise BadInput("split stratified: expected --by user or --by item, got all")
        return _first_of_groups(_groups(ratings, by), [draws(ratings, seed), row_hash(ratings, seed)], ratio)
    if kind == "chronological":
        if not ratings.time_s.any():
            raise BadInput("split chronological: the ratings have no times")
        keys = [ratings.time_s, draws(ratings, seed), row_hash(ratings, seed)]
        return _first_of_groups(_groups(ratings, by), keys, ratio)
    raise BadInput(f"split: expected one of {', '.join(KINDS)}, got {kind!r}")


def _groups(ratings: Ratings, by: By | None) -> npt.NDArray[np.int32]:
    if by == "all":
        return np.zeros(len(ratings), dtype=np.int32)
    return ratings.item if by == "item" else ratings.user


def _first_of_groups(group: npt.NDArray[np.int32], keys: Sequence[npt.NDArray[Any]], ratio: float) -> Bools:
    """Which rows are among the first rint(ratio * count) of their group, in the order of `keys`, then of rows."""
    chosen: Bools = ranks(group, keys) < np.rint(ratio * np.bincount(group))[group]
    return chosen


def _id_hashes(ids: list[str]) -> Uint64:
    """First 60 bits of the md5 of each id."""
    digests = (hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in ids)
    return np.fromiter((int(digest[:15], 16) for digest in digests), dtype=np.uint64, count=len(ids))


_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


def _xx64(value: Uint64, seed: Uint64) -> Uint64:
    """XXH64 of 8 bytes (github.com/Cyan4973/xxHash, doc/xxhash_spec.md); all arithmetic is modulo 2**64."""
    mixed = seed + _P5 + np.uint64(8)
    mixed ^= _rotated(value * _P2, 31) * _P1
    mixed = _rotated(mixed, 27) * _P1 + _P4
    mixed = (mixed ^ (mixed >> np.uint64(33))) * _P2
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _P3
    return mixed ^ (mixed >> np.uint64(32))


def _rotated(value: Uint64, bits: int) -> Uint64:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))

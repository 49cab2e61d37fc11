"""What a set of ratings looks like: sparsity, long tail, class balance, activity over time."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from models.recommend.ratings import Ratings
from training.recommend.report import Plot, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY_S = 86_400
_HEAD = (0.01, 0.05, 0.10, 0.20)
_POSITIVE_FROM = 4.0
_MAX_VALUES = 20


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a set of ratings. Shares are 0..1; times are ISO 8601, or None where no rating has one."""

    ratings: int
    users: int
    items: int
    density: float
    """Ratings / (users x items)."""
    per_user: dict[str, float]
    """min, median, mean, max"""
    per_item: dict[str, float]
    share_of_top_items: dict[str, float]
    """Share of the ratings that fall on the most rated 1 %, 5 % ... of the items."""
    gini_of_items: float
    """0: all items are rated equally often; towards 1: a few have everything."""
    rated_once: int
    """Items with one rating only."""
    mean_rating: float
    values: dict[str, int]
    """Ratings by value; by whole number where there are many values."""
    positive_share: float
    """Share of ratings of 4 and more."""
    first: str | None
    last: str | None
    median_user_days: float | None
    """Half of the users are active over at most so many days."""


def profile(ratings: Ratings) -> Profile:
    """The figures. `ratings` has rows, and at most one per (user, item)."""
    by_user = _counts(ratings.user)
    by_item = _counts(ratings.item)
    falling = np.sort(by_item)[::-1]
    timed = bool(ratings.time_s.any())
    return Profile(
        ratings=len(ratings),
        users=len(by_user),
        items=len(by_item),
        density=len(ratings) / (len(by_user) * len(by_item)),
        per_user=_spread(by_user),
        per_item=_spread(by_item),
        share_of_top_items={
            f"{share:.0%}": float(falling[: max(1, round(share * len(falling)))].sum() / len(ratings))
            for share in _HEAD
        },
        gini_of_items=_gini(by_item),
        rated_once=int((by_item == 1).sum()),
        mean_rating=float(ratings.value.mean(dtype=np.float64)),
        values=_values(ratings),
        positive_share=float(np.mean(ratings.value >= _POSITIVE_FROM)),
        first=_iso(int(ratings.time_s.min())) if timed else None,
        last=_iso(int(ratings.time_s.max())) if timed else None,
        median_user_days=_median_user_days(ratings) if timed else None,
    )


def profile_markdown(found: Profile, name: str) -> str:
    """The figures as text."""
    rows = [
        ("ratings", f"{found.ratings:,}"),
        ("users", f"{found.users:,}"),
        ("items", f"{found.items:,}"),
        ("density", f"{found.density:.3%}"),
        ("ratings per user (min, median, max)", _three(found.per_user)),
        ("ratings per item (min, median, max)", _three(found.per_item)),
        *((f"ratings on the top {top} of items", f"{share:.1%}") for top, share in found.share_of_top_items.items()),
        ("Gini coefficient of items", f"{found.gini_of_items:.3f}"),
        ("items with one rating", f"{found.rated_once:,}"),
        ("mean rating", f"{found.mean_rating:.3f}"),
        ("ratings of 4 and more", f"{found.positive_share:.1%}"),
        ("first, last", f"{found.first or 'no times'}, {found.last or 'no times'}"),
        ("days from a user's first rating to the last, median", _number(found.median_user_days)),
    ]
    return f"# Profile of {name}\n\n" + table(("figure", "value"), rows)


def profile_plots(ratings: Ratings) -> dict[str, Plot]:
    """Plots by name; that of the activity only where there are times."""
    plots: dict[str, Plot] = {
        "long-tail": lambda axes: _long_tail(axes, ratings),
        "sparsity": lambda axes: _sparsity(axes, ratings),
        "values": lambda axes: _balance(axes, ratings),
    }
    if ratings.time_s.any():
        plots["activity"] = lambda axes: _activity(axes, ratings)
    return plots


def _counts(places: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    counts = np.bincount(places)
    return counts[counts > 0]


def _spread(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    return {
        "min": float(counts.min()),
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "max": float(counts.max()),
    }


def _gini(counts: npt.NDArray[np.int64]) -> float:
    rising = np.sort(counts).astype(np.float64)
    n = len(rising)
    return float(2 * np.sum(np.arange(1, n + 1) * rising) / (n * rising.sum()) - (n + 1) / n)


def _values(ratings: Ratings) -> dict[str, int]:
    values, counts = np.unique(ratings.value, return_counts=True)
    if len(values) > _MAX_VALUES:
        values, counts = np.unique(np.floor(ratings.value), return_counts=True)
    if len(values) > _MAX_VALUES:
        counts, edges = np.histogram(ratings.value, bins=_MAX_VALUES)
        values = edges[:-1]
    return {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}


def _median_user_days(ratings: Ratings) -> float:
    first = np.full(len(ratings.users), np.iinfo(np.int64).max)
    last = np.zeros(len(ratings.users), dtype=np.int64)
    np.minimum.at(first, ratings.user, ratings.time_s)
    np.maximum.at(last, ratings.user, ratings.time_s)
    active = np.unique(ratings.user)
    return float(np.median(last[active] - first[active]) / _DAY_S)


def _iso(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _three(spread: dict[str, float]) -> str:
    return ", ".join(f"{spread[name]:g}" for name in ("min", "median", "max"))


def _number(value: float | None) -> str:
    return "no times" if value is None else f"{value:.1f}"


def _long_tail(axes: "Axes", ratings: Ratings) -> None:
    for label, counts in (("items", _counts(ratings.item)), ("users", _counts(ratings.user))):
        falling = np.sort(counts)[::-1]
        share = np.arange(1, len(falling) + 1) / len(falling)
        axes.plot(share, np.cumsum(falling) / falling.sum(), label=label)
    axes.plot([0, 1], [0, 1], ":", color="0.6", label="all alike")
    axes.set_xlabel("share of items (users), most rated (active) first")
    axes.set_ylabel("share of ratings")
    axes.set_title("Long tail")
    axes.legend(frameon=False)


def _sparsity(axes: "Axes", ratings: Ratings) -> None:
    """How full each block of the matrix is, users and items in falling order of their ratings."""
    users, items = _by_rank(ratings.user), _by_rank(ratings.item)
    bins = (min(60, int(users.max()) + 1), min(60, int(items.max()) + 1))
    filled, user_edges, item_edges = np.histogram2d(users, items, bins=bins)
    cells = np.outer(np.diff(user_edges), np.diff(item_edges))
    image = axes.imshow(
        filled / cells, aspect="auto", cmap="viridis", extent=(0, items.max() + 1, users.max() + 1, 0)
    )
    axes.figure.colorbar(image, ax=axes, label="share of pairs rated")
    axes.set_xlabel("items, most rated first")
    axes.set_ylabel("users, most active first")
    axes.set_title("Sparsity")


def _by_rank(places: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    counts = np.bincount(places)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank[places]


def _balance(axes: "Axes", ratings: Ratings) -> None:
    values = _values(ratings)
    colours = ["C0" if float(value) >= _POSITIVE_FROM else "0.6" for value in values]
    bars = axes.bar(list(values), list(values.values()), color=colours)
    axes.bar_label(bars, [f"{count / len(ratings):.1%}" for count in values.values()], fontsize=8)
    axes.set_xlabel("rating (blue: 4 and more, counted as liked)")
    axes.set_ylabel("ratings")
    axes.set_title("Class balance")


def _activity(axes: "Axes", ratings: Ratings) -> None:
    known = ratings.time_s[ratings.time_s > 0]
    days = (known - known.min()) // _DAY_S
    width = max(1, int(days.max()) // 60 + 1)
    counts = np.bincount(days // width)
    begins = [datetime.fromtimestamp(int(known.min()) + n * width * _DAY_S, UTC) for n in range(len(counts))]
    axes.bar(begins, counts, width=0.9 * width)  # type: ignore[arg-type]  # matplotlib takes dates, its types do not
    axes.set_ylabel(f"ratings per {'day' if width == 1 else f'{width} days'}")
    axes.set_title("Activity over time")
    axes.tick_params(axis="x", rotation=30)

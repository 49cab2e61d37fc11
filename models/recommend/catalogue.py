"""What is known of the items of a recommender, by place, and its Parquet form.

pyarrow is imported on first use: the function app must not pay for it at start.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import BadInput, ModelRefused
from models.recommend.ratings import Int64
from models.tables import read_parquet, text_column, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("item", "title", "genres", "ratings")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """n items: distinct ids in the order of `in_id_order`, so that the lower place is the lower id."""

    items: list[str]
    titles: list[str]
    """Empty where none is known."""
    genres: list[list[str]]
    ratings: Int64
    """(n,): ratings in training, from which popularity comes."""

    def __post_init__(self) -> None:
        if not len(self.items) == len(self.titles) == len(self.genres) == len(self.ratings):
            raise ModelRefused(
                f"catalogue: columns differ in length: {len(self.items)} items, {len(self.titles)} titles, "
                f"{len(self.genres)} genres, {len(self.ratings)} ratings"
            )

    def __len__(self) -> int:
        return len(self.items)

    def at(self, places: Int64) -> "Catalogue":
        """The items at these places, in this order."""
        return Catalogue(
            [self.items[i] for i in places],
            [self.titles[i] for i in places],
            [self.genres[i] for i in places],
            self.ratings[places],
        )


def encode_catalogue(catalogue: Catalogue) -> bytes:
    """Parquet bytes of a catalogue."""
    import pyarrow as pa

    columns = {
        "item": text_column(catalogue.items),
        "title": text_column(catalogue.titles),
        "genres": pa.array(catalogue.genres, pa.list_(pa.string())),
        "ratings": catalogue.ratings,
    }
    return write_parquet(columns, {})


def decode_catalogue(data: bytes) -> Catalogue:
    """The catalogue of `encode_catalogue`. Raises ModelRefused if `data` is something else."""
    import pyarrow as pa

    try:
        table = read_parquet(data)
    except BadInput as error:
        raise ModelRefused(f"items file: {error}") from error
    found = _catalogue(table)
    del table
    # Else the allocator keeps several times the table's size for reads that do not come.
    pa.default_memory_pool().release_unused()
    return found


def _catalogue(table: "pa.Table") -> Catalogue:
    import pyarrow as pa

    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise ModelRefused(f"items file: column {', '.join(missing)} is missing")
    try:
        columns = {
            "item": table["item"].cast(pa.string()),
            "title": table["title"].cast(pa.string()),
            "genres": table["genres"].cast(pa.list_(pa.string())),
            "ratings": table["ratings"].cast(pa.int64()),
        }
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ModelRefused(f"items file: a column has another type than expected: {error}") from error
    for name in ("item", "ratings"):
        if columns[name].null_count:
            raise ModelRefused(f"items file: column {name} has {columns[name].null_count} empty rows")
    once: dict[str, str] = {}  # one text per genre, not one per item
    return Catalogue(
        items=columns["item"].to_pylist(),
        titles=[title or "" for title in columns["title"].to_pylist()],
        genres=[
            [once.setdefault(genre, genre) for genre in genres.as_py() or () if genre] for genres in columns["genres"]
        ],
        # Not by `to_numpy`, which imports pandas where that is installed.
        ratings=np.array(columns["ratings"].to_pylist(), dtype=np.int64),
    )

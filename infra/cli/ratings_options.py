"""Options that several commands on ratings share, and the ratings that they name."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infra.cli import files, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from models.recommend.ratings import Ratings
    from training.recommend.items import ItemInfo

Kind = Literal["random", "stratified", "chronological", "recommenders"]
By = Literal["user", "item", "all"]
EngineName = Literal["native", "spark"]

File = Annotated[
    Path,
    typer.Option(
        "--ratings",
        help="Ratings: MovieLens (u.data, ratings.dat, ratings.csv), CSV with a header, or Parquet.",
        parser=files.readable,
        metavar=files.METAVAR,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns of a CSV or Parquet file, as user=...,item=...,rating=...,ts=..."),
]
Rows = Annotated[
    int | None,
    typer.Option(help="How many ratings there must be; 0: any number, also under a name of MovieLens.", min=0),
]
Items = Annotated[
    Path | None,
    typer.Option(
        help="Titles and genres: u.item, movies.dat, movies.csv, or CSV with item,title,genres.",
        show_default="beside the ratings, where they are a file here",
        parser=files.readable,
        metavar=files.METAVAR,
    ),
]
Split = Annotated[
    Kind,
    typer.Option(help="How the test part is chosen; `recommenders` is the protocol of the benchmark of that name."),
]
SplitBy = Annotated[
    By | None,
    typer.Option("--by", help="Split within each user or item, or (chronological) over all.", show_default="user"),
]
Ratio = Annotated[float, typer.Option(help="Share of the training part.")]
Seed = Annotated[int, typer.Option(help="Seed of the split.", min=0)]
K = Annotated[int, typer.Option("--k", "-k", help="Length of the lists.")]
Engine = Annotated[EngineName, typer.Option(help="native: this machine, no Java; spark: pyspark.")]
Master = Annotated[
    str | None,
    typer.Option(help="Spark's master, as spark://host:port.", show_default="all cores of this machine"),
]
Report = Annotated[
    Path | None, typer.Option(help="Write the figures to this .json, and Markdown and plots beside it.")
]
Study = Annotated[Path, typer.Option(help="SQLite file that holds studies; a study in it is resumed.")]
StudyName = Annotated[str, typer.Option(help="Name of the study in that file.")]
Trials = Annotated[int, typer.Option(help="Trials that the study shall have in the end.", min=1)]


def metric_table(by_model: "Mapping[str, Mapping[str, float]]") -> "Table":
    """For a terminal: a row per metric, a column per model."""
    from training.recommend.report import metric_rows

    columns, lines = metric_rows(by_model)
    header, *rows = ([name, *(line[place] for line in lines)] for place, name in enumerate(columns))
    shown = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    return output.table([str(cell) for cell in header], shown)


def load_items(path: Path | None, ratings: Path) -> "dict[str, ItemInfo]":
    """Titles and genres from `path`, or from where MovieLens has them beside `ratings`; none if there is neither."""
    from training.recommend.items import items_beside, read_items

    found = path or items_beside(ratings)
    return read_items(found) if found else {}


def load(path: Path, columns: str | None, rows: int | None, *, histories: bool = False) -> "Ratings":
    """The ratings of a file, checked; `histories`: also whether users can have them. Raises BadInput."""
    from training.recommend.checks import check_histories, check_ratings
    from training.recommend.readers import RatingColumns, read_ratings

    ratings = read_ratings(path, columns=RatingColumns.parse(columns) if columns else None)
    check_ratings(ratings, path.name, rows=rows)
    if histories:
        check_histories(ratings, path.name, time.time())
    return ratings

"""`penstock evaluate`: models beside popularity, on several splits, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from infra.cli import files, output, ratings_options, train_als

if TYPE_CHECKING:
    from models.recommend.ratings import Ratings
    from training.recommend.als import AlsOptions
    from training.recommend.splits import Split

_Part = Annotated[Path | None, typer.Option(parser=files.readable, metavar=files.METAVAR)]


def evaluate(
    ratings: Annotated[
        Path | None,
        typer.Option(
            help="Ratings to split; or give --train and --test.", parser=files.readable, metavar=files.METAVAR
        ),
    ] = None,
    train: _Part = None,
    test: _Part = None,
    columns: ratings_options.Columns = None,
    rows: ratings_options.Rows = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="random, stratified, chronological or recommenders; may be repeated.",
            show_default="recommenders and, if there are times, chronological",
        ),
    ] = None,
    by: ratings_options.SplitBy = None,
    ratio: ratings_options.Ratio = 0.75,
    seed: Annotated[
        list[int] | None, typer.Option(help="May be repeated: means are shown.", show_default="42")
    ] = None,
    k: ratings_options.K = 10,
    engine: ratings_options.Engine = "native",
    master: ratings_options.Master = None,
    objective: Annotated[train_als.ObjectiveName, typer.Option()] = "implicit",
    report: ratings_options.Report = None,
    as_json: output.AsJson = False,
) -> None:
    """Compare ALS, with its default options, with popularity: on several splits, or on two given parts.

    A test part that shares a (user, item) pair with the training part is refused. With several seeds, figures are
    means over them. Needs no running Penstock.
    """
    from training.recommend.als import default_options
    from training.recommend.report import compared, metric_rows, prepare, write_report
    from training.recommend.report import table as markdown_table

    if (ratings is None) == (train is None) or (train is None) != (test is None):
        raise typer.BadParameter("give either --ratings FILE, or --train FILE and --test FILE")
    if report is not None:
        prepare(report)
    if ratings is not None:
        splits = _made(ratings_options.load(ratings, columns, rows), split, by, ratio, seed or [42])
    else:
        assert train is not None
        assert test is not None
        splits = {"given": [_given(train, test, columns, rows)]}
    found = _evaluated(splits, default_options(engine, objective), engine, master, k, quiet=as_json)
    document = {"k": k, "engine": engine, "objective": objective, "seeds": seed or [42], "models": found}
    if report is not None:
        text = f"# Evaluation at k = {k}\n\n{markdown_table(*metric_rows(found))}"
        write_report(report, document, text, {"metrics": compared(found, f"k = {k}")})
    if as_json:
        output.print_json(document)
    else:
        output.stdout.print(ratings_options.metric_table(found))


def _made(
    ratings: "Ratings",
    kinds: list[str] | None,
    by: ratings_options.By | None,
    ratio: float,
    seeds: list[int],
) -> "dict[str, list[Split]]":
    from training.recommend.splits import Split, split

    chosen = kinds or ["recommenders"]
    if kinds is None and ratings.time_s.any():
        chosen = [*chosen, "chronological"]
    made: dict[str, list[Split]] = {}
    for kind in dict.fromkeys(chosen):
        within = None if kind == "recommenders" else by
        # A chronological split is the same for all seeds, but for ties.
        used = seeds[:1] if kind == "chronological" else seeds
        made[kind] = [
            split(ratings, cast(ratings_options.Kind, kind), ratio=ratio, seed=seed, by=within) for seed in used
        ]
    return made


def _given(train: Path, test: Path, columns: str | None, rows: int | None) -> "Split":
    """Two files as one split, under common ids."""
    from training.recommend.checks import check_disjoint
    from training.recommend.splits import joined

    parts = ratings_options.load(train, columns, rows), ratings_options.load(test, columns, rows)
    check_disjoint(*parts)
    return joined(*parts)


def _evaluated(
    splits: "dict[str, list[Split]]",
    options: "AlsOptions",
    engine: ratings_options.EngineName,
    master: str | None,
    k: int,
    *,
    quiet: bool,
) -> dict[str, dict[str, float]]:
    from training.recommend.engines import engine as started_engine
    from training.recommend.ranking import check_k
    from training.recommend.ranking import evaluate as evaluated

    for made in splits.values():
        check_k(k, made[0].train)
    found: dict[str, dict[str, float]] = {}
    with output.progress_bar(shown=not quiet) as bar, started_engine(engine, master=master) as started:
        task = bar.add_task("splits", total=sum(map(len, splits.values())))
        for kind, made in splits.items():
            each = []
            for part in made:
                each.append(evaluated(started.fit(part.train, options), part, k))
                bar.advance(task)
            found[f"ALS, {kind}"] = _mean([one.metrics for one in each])
            found[f"popularity, {kind}"] = _mean([one.popularity for one in each])
    return found


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}

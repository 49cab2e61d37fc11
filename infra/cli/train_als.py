"""`penstock train als`: fit a recommender on one part of the ratings and measure it on the other."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from infra.cli import context, output, ratings_options
from infra.cli.publish import print_version, publish_als, without_deleted
from infra.cli.ratings_options import metric_table

if TYPE_CHECKING:
    from models.recommend.ratings import Ratings
    from training.recommend.als import AlsModel, AlsOptions
    from training.recommend.engines import Started
    from training.recommend.ranking import Evaluation
    from training.recommend.splits import Split

ObjectiveName = Literal["implicit", "explicit"]
ConfidenceName = Literal["ones", "ratings"]
_DEFAULT = "of the engine"


def als(
    ratings: ratings_options.File,
    columns: ratings_options.Columns = None,
    rows: ratings_options.Rows = None,
    split: ratings_options.Split = "recommenders",
    by: ratings_options.SplitBy = None,
    ratio: ratings_options.Ratio = 0.75,
    seed: ratings_options.Seed = 42,
    k: ratings_options.K = 10,
    engine: ratings_options.Engine = "native",
    master: ratings_options.Master = None,
    objective: Annotated[
        ObjectiveName, typer.Option(help="implicit: rank items; explicit: predict ratings.")
    ] = "implicit",
    factors: Annotated[
        int | None, typer.Option("--factors", "--rank", help="Length of a vector.", show_default=_DEFAULT)
    ] = None,
    regularization: Annotated[
        float | None,
        typer.Option("--regularization", "--reg", help="Penalty on large factors.", show_default=_DEFAULT),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Extra weight of rated pairs.", show_default=_DEFAULT)] = None,
    confidence: Annotated[
        ConfidenceName | None,
        typer.Option(help="Weigh all ratings alike, or by their value.", show_default=_DEFAULT),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", "--max-iter", help="Rounds over users and items.", show_default=_DEFAULT),
    ] = None,
    model_seed: Annotated[int, typer.Option(help="Seed of the first factors.", min=0)] = 0,
    items: ratings_options.Items = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Register the fit; make it live if it is not worse than the live one.")
    ] = False,
    chronological: Annotated[
        bool | None,
        typer.Option(
            help="Measure on each user's latest ratings too: what use after training is like.",
            show_default="native only",
        ),
    ] = None,
    report: ratings_options.Report = None,
    as_json: output.AsJson = False,
) -> None:
    """Fit ALS on a part of the ratings, and measure its lists on the rest, beside popularity.

    Needs a running Penstock with --promote only. What goes live is what was measured: fitted on the training part.
    """
    given = {
        "factors": factors,
        "regularization": regularization,
        "alpha": alpha,
        "confidence": confidence,
        "iterations": iterations,
        "seed": model_seed,
    }
    options = _options(engine, objective, {name: value for name, value in given.items() if value is not None})
    from training.recommend.register import Trained, fingerprint
    from training.recommend.report import SHOWN

    settings = context.load_settings() if promote else None
    titles = ratings_options.load_items(items, ratings) if promote else {}
    if report is not None:
        from training.recommend.report import prepare

        prepare(report)
    loaded = ratings_options.load(ratings, columns, rows, histories=promote)
    left_out = None
    if settings is not None:
        loaded, left_out = without_deleted(settings, loaded)
    with_times = bool(loaded.time_s.any())
    wanted = (engine == "native" if chronological is None else chronological) and split != "chronological"
    parts = _split_of(loaded, split, by, ratio, seed, k)
    model, document = _trained(
        loaded,
        options,
        parts,
        engine=engine,
        master=master,
        k=k,
        chronological=_split_of(loaded, "chronological", None, ratio, seed, k) if wanted and with_times else None,
        quiet=as_json,
    )
    document |= {
        "k": k,
        "split": {"kind": split, "by": by, "ratio": ratio, "seed": seed},
        "ratings": {"file": ratings.name, "rows": len(loaded), "sha256": fingerprint(loaded)},
        **({} if left_out is None else {"left_out": asdict(left_out)}),
    }
    if settings is not None:
        metrics = {name: document[name] for name in SHOWN if name in document}
        chosen = {"split": split, "ratio": ratio, "split_seed": seed, "k": k}
        fitted = Trained(model=model, train=parts.train, items=titles, metrics=metrics, split=chosen)
        document |= publish_als(settings, ratings.name, fitted, parts, loaded, promote=True, quiet=as_json)
    _show(document, report, as_json=as_json)


def _options(engine: ratings_options.EngineName, objective: ObjectiveName, given: dict[str, Any]) -> "AlsOptions":
    import msgspec

    from training.recommend.als import default_options

    try:
        return msgspec.structs.replace(default_options(engine, objective), **given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _split_of(
    ratings: "Ratings",
    kind: ratings_options.Kind,
    by: ratings_options.By | None,
    ratio: float,
    seed: int,
    k: int,
) -> "Split":
    from training.recommend.ranking import check_k
    from training.recommend.splits import split

    # Before a fit that may take minutes.
    check_k(k, ratings)
    return split(ratings, kind, ratio=ratio, seed=seed, by=by)


def _trained(
    ratings: "Ratings",
    options: "AlsOptions",
    split: "Split",
    *,
    engine: ratings_options.EngineName,
    master: str | None,
    k: int,
    chronological: "Split | None",
    quiet: bool,
) -> "tuple[AlsModel, dict[str, Any]]":
    from training.recommend.engines import engine as started_engine

    with output.progress_bar(shown=not quiet) as bar:
        task = bar.add_task("fitting", total=options.iterations)
        with started_engine(engine, master=master, progress=lambda done: bar.update(task, completed=done)) as started:
            model, found, fit_s = _measured(started, split, options, k)
            document: dict[str, Any] = {
                **found.metrics,
                "fit_seconds": round(fit_s, 3),
                "start_seconds": round(started.start_s, 3),
                **model.parameters(),
                "train_ratings": found.train_ratings,
                "test_ratings": found.test_ratings,
                "users": len(ratings.users),
                "items": len(ratings.items),
                "users_evaluated": found.users,
                "popularity": found.popularity,
            }
            if chronological is not None:
                _, later, _ = _measured(started, chronological, options, k)
                document["chronological"] = later.metrics
                document["chronological_popularity"] = later.popularity
    return model, document


def _measured(
    started: "Started", split: "Split", options: "AlsOptions", k: int
) -> "tuple[AlsModel, Evaluation, float]":
    from training.recommend.ranking import evaluate

    begun = time.perf_counter()
    model = started.fit(split.train, options)
    fit_s = time.perf_counter() - begun
    return model, evaluate(model, split, k), fit_s


def _show(document: dict[str, Any], report: Path | None, *, as_json: bool) -> None:
    from training.recommend.report import compared, metric_rows, write_report
    from training.recommend.report import table as markdown_table

    by_model = {"ALS": document, "popularity": document["popularity"]}
    if "chronological" in document:
        by_model["ALS, chronological"] = document["chronological"]
        by_model["popularity, chronological"] = document["chronological_popularity"]
    columns, lines = metric_rows(by_model)
    if report is not None:
        name = f"ALS, {document['objective']}, {document['engine']}"
        text = f"# {name}\n\n{_conditions(document)}\n\n{markdown_table(columns, lines)}"
        written = write_report(report, document, text, {"metrics": compared(by_model, f"k = {document['k']}")})
    if as_json:
        output.print_json(document)
        return
    output.stdout.print(metric_table(by_model))
    output.stdout.print(f"\nfitted on {document['train_ratings']:,} ratings in {document['fit_seconds']:.2f} s")
    print_version(document)
    if report is not None:
        output.stdout.print("report: " + ", ".join(str(path) for path in written), soft_wrap=True)


def _conditions(document: dict[str, Any]) -> str:
    """On what, how and how long: one paragraph."""
    ratings, split = document["ratings"], document["split"]
    return (
        f"{ratings['file']}: {ratings['rows']:,} ratings, {document['users']:,} users, {document['items']:,} items. "
        f"Split {split['kind']}, ratio {split['ratio']}, seed {split['seed']}: {document['train_ratings']:,} to "
        f"train, {document['test_ratings']:,} to test, {document['users_evaluated']:,} users evaluated at k = "
        f"{document['k']}. Fitted in {document['fit_seconds']:.2f} s: {document['factors']} factors, regularization "
        f"{document['regularization']:g}, alpha {document['alpha']:g}, confidence {document['confidence']}, "
        f"{document['iterations']} iterations."
    )

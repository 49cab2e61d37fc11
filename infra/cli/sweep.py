"""`penstock sweep`: search the options of a model, on training data alone."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli import context, output, ratings_options, sweep_fm, train_als
from infra.cli.publish import print_version, publish_als, without_deleted
from infra.cli.sweep_report import best_trials, print_trials, write_sweep
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.settings import Settings
    from training.recommend.als import AlsModel
    from training.recommend.splits import Split
    from training.recommend.sweep import Plan, Sweep

app = typer.Typer(help="Search the options of a model with Optuna, on training data alone.", no_args_is_help=True)
app.command("fm")(sweep_fm.fm)


@app.callback()
def sweep() -> None:
    """Search the options of a model with Optuna, on training data alone."""


@app.command("als")
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
        train_als.ObjectiveName, typer.Option(help="implicit: best nDCG; explicit: least RMSE.")
    ] = "implicit",
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation inside the training part.")] = 10,
    trials: ratings_options.Trials = 50,
    jobs: Annotated[int, typer.Option(help="Trials at once; 0: one per core (native).", min=0)] = 0,
    study: ratings_options.Study = Path("sweeps.db"),
    name: ratings_options.StudyName = "als",
    items: ratings_options.Items = None,
    register: Annotated[
        bool | None,
        typer.Option(help="Register the winner as a candidate for promotion.", show_default="if Penstock runs"),
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the winner live if it is not worse than the live version.")
    ] = False,
    report: ratings_options.Report = None,
    as_json: output.AsJson = False,
) -> None:
    """Search the options of ALS by cross-validation inside the training part; measure the winner once, on the rest.

    The study is stored after each trial: the same command again goes on where it stopped.
    """
    from training.recommend.ranking import check_k
    from training.recommend.report import prepare
    from training.recommend.splits import split as split_ratings
    from training.recommend.sweep import Plan

    if report is not None:
        prepare(report)
    settings = _settings(True if promote else register)
    loaded = ratings_options.load(ratings, columns, rows)
    left_out = None
    if settings is not None:
        loaded, left_out = without_deleted(settings, loaded)
    check_k(k, loaded)
    made = split_ratings(loaded, split, ratio=ratio, seed=seed, by=by)
    plan = Plan(engine=engine, objective=objective, n_folds=folds, k=k)
    model, document, found = _searched(made, plan, study, name, trials, jobs, master, quiet=as_json)
    if settings is not None and left_out is not None:
        from training.recommend.register import Trained
        from training.recommend.report import SHOWN

        fitted = Trained(
            model=model,
            train=made.train,
            items=ratings_options.load_items(items, ratings),
            metrics={metric: document[metric] for metric in SHOWN if metric in document},
            split={"split": split, "ratio": ratio, "split_seed": seed, "k": k},
        )
        document["left_out"] = asdict(left_out)
        document |= publish_als(settings, ratings.name, fitted, made, loaded, promote=promote, quiet=as_json)
    _show(document, found, plan, report, as_json=as_json)


def _settings(register: bool | None) -> "Settings | None":
    """Those of the Penstock to register with; None if there shall be, or need be, none."""
    if register is False:
        return None
    try:
        return context.load_settings()
    except ConfigurationError:
        if register:
            raise
        return None


def _searched(
    split: "Split", plan: "Plan", study: Path, name: str, trials: int, jobs: int, master: str | None, *, quiet: bool
) -> "tuple[AlsModel, dict[str, Any], Sweep]":
    import msgspec

    from training.recommend.engines import engine as started_engine
    from training.recommend.ranking import evaluate
    from training.recommend.sweep import sweep_als

    # Parallel native trials take one core each; Spark has all cores already, and one session.
    jobs = 1 if plan.engine == "spark" else jobs or os.cpu_count() or 1
    with (
        output.progress_bar(shown=not quiet) as bar,
        started_engine(plan.engine, master=master, threads=1 if jobs > 1 else 0) as started,
    ):
        task = bar.add_task("trials", total=trials)
        found = sweep_als(
            split.train,
            started.fit,
            plan,
            study=study,
            name=name,
            trials=trials,
            jobs=jobs,
            progress=lambda done: bar.update(task, completed=done),
        )
        model = started.fit(split.train, found.best)
        evaluation = evaluate(model, split, plan.k)
    document = {
        **evaluation.metrics,
        "metric": found.metric,
        "best_score": found.best_score,
        "best": msgspec.structs.asdict(found.best),
        "popularity": evaluation.popularity,
        "folds": plan.n_folds,
        "k": plan.k,
        "engine": plan.engine,
        "trials": found.trials,
    }
    return model, document, found


def _show(document: dict[str, Any], found: "Sweep", plan: "Plan", report: Path | None, *, as_json: bool) -> None:
    from training.recommend.report import metric_rows
    from training.recommend.report import table as markdown_table

    by_model = {"winner": document, "popularity": document["popularity"]}
    columns, rows = best_trials(found)
    written: list[Path] = []
    if report is not None:
        text = (
            f"# Sweep of ALS, {plan.objective}, {plan.engine}\n\nMean {found.metric} over {plan.n_folds} folds of "
            f"the training part, {len(found.trials)} trials; a trial that fell behind the median was stopped.\n\n"
            f"{markdown_table(columns, rows)}\nThe winner, fitted on the whole training part, on the test part:\n\n"
            f"{markdown_table(*metric_rows(by_model))}"
        )
        written = write_sweep(report, document, text, found)
    if as_json:
        output.print_json(document)
        return
    print_trials(columns, rows)
    output.stdout.print("\nthe winner on the test part:")
    output.stdout.print(ratings_options.metric_table(by_model))
    print_version(document)
    if written:
        output.stdout.print("report: " + ", ".join(map(str, written)), soft_wrap=True)

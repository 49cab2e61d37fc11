"""`penstock sweep fm`: search the options of a factorization machine."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from infra.cli import output, train_fm

_SHOWN = 10


def fm(
    train: Annotated[Path, typer.Option(help="Ratings to search on.", exists=True, dir_okay=False)],
    test: Annotated[
        Path | None,
        typer.Option(help="Ratings to measure the winner on, once, at the end.", exists=True, dir_okay=False),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of a CSV or Parquet file, as user=...,item=...,rating=...,ts=...")
    ] = None,
    objective: Annotated[
        Literal["classification", "regression"], typer.Option(help="Predict likes or ratings.")
    ] = "classification",
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation inside the training ratings.")] = 5,
    trials: Annotated[int, typer.Option(help="Trials that the study shall have in the end.", min=1)] = 20,
    study: Annotated[Path, typer.Option(help="SQLite file that holds studies; a study in it is resumed.")] = Path(
        "sweeps.db"
    ),
    name: Annotated[str, typer.Option(help="Name of the study in that file.")] = "fm",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    register: Annotated[
        bool, typer.Option("--register", help="Store the winner as a version; needs --test.")
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Register, and make it live unless it is worse than the live version.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write trials and the winner's test figures to this .json, plots beside it.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Search the options of a factorization machine by cross-validation inside the training ratings.

    Trials are compared by log-loss. The study is stored after each trial: the same command again goes on where it
    stopped.
    """
    from training.recommend.fm.experiment import run_fm
    from training.recommend.fm.sweep import FmPlan, sweep_fm
    from training.recommend.report import prepare

    if (register or promote) and test is None:
        raise typer.BadParameter("--register and --promote need --test: versions are compared on it")
    if report is not None:
        prepare(report)
    ratings, held_out = train_fm.checked(train, test, columns)
    plan = FmPlan(objective=objective, n_folds=folds)
    with output.progress_bar(shown=not as_json) as bar:
        task = bar.add_task("trials", total=trials)
        found = sweep_fm(
            ratings,
            plan,
            study=study,
            name=name,
            trials=trials,
            device=device,
            progress=lambda done: bar.update(task, completed=done),
        )
    document: dict[str, Any] = {
        "metric": found.metric,
        "best_score": found.best_score,
        "best": found.best,
        "folds": folds,
        "trials": found.trials,
    }
    if held_out is not None:
        measured, fits = run_fm(ratings, held_out, found.best, 1, device=device)
        document["test"] = measured
        if register or promote:
            document |= train_fm.registered(measured, fits, (ratings, held_out), None, promote=promote)
    scored = sorted(
        (trial for trial in found.trials if trial.score is not None), key=lambda trial: trial.score or 0.0
    )
    header = ["trial", found.metric, *scored[0].options]
    rows: list[list[object]] = [[trial.number, trial.score, *trial.options.values()] for trial in scored[:_SHOWN]]
    if report is not None:
        from training.recommend.report import table, write_report
        from training.recommend.sweep_plots import by_option, by_trial

        mean = f"Mean {found.metric} over {folds} folds of the training ratings."
        text = f"# Sweep of the factorization machine\n\n{mean}\n\n{table(header, rows)}"
        write_report(report, document, text, {"trials": by_trial(found), "options": by_option(found)})
    if as_json:
        output.print_json(document)
        return
    shown = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    output.stdout.print(output.table(header, shown))
    if held_out is not None:
        test_report = document["test"]
        output.stdout.print(
            f"\nthe winner on the test part: accuracy {test_report.accuracy:.4f}, F1 {test_report.f1:.4f}, "
            f"log-loss {test_report.log_loss:.4f}, AUC {test_report.auc:.4f}"
        )
    train_fm.print_version(document)

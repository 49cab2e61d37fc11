"""`penstock sweep fm`: search the options of a factorization machine."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from infra.cli import context, files, output, ratings_options, train_fm
from infra.cli.publish import print_version, publish_fm, without_deleted
from infra.cli.sweep_report import best_trials, print_trials, write_sweep


def fm(
    train: Annotated[Path, typer.Option(help="Ratings to search on.", parser=files.readable, metavar=files.METAVAR)],
    test: Annotated[
        Path | None,
        typer.Option(
            help="Ratings to measure the winner on, once, at the end.", parser=files.readable, metavar=files.METAVAR
        ),
    ] = None,
    columns: ratings_options.Columns = None,
    objective: Annotated[
        Literal["classification", "regression"], typer.Option(help="Predict likes or ratings.")
    ] = "classification",
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation inside the training ratings.")] = 5,
    trials: ratings_options.Trials = 20,
    study: ratings_options.Study = Path("sweeps.db"),
    name: ratings_options.StudyName = "fm",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    register: Annotated[
        bool, typer.Option("--register", help="Store the winner as a version; needs --test.")
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Register, and make it live unless it is worse than the live version.")
    ] = False,
    report: ratings_options.Report = None,
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
    if held_out is not None and (register or promote):
        ratings, held_out = (without_deleted(context.load_settings(), part)[0] for part in (ratings, held_out))
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
            document |= publish_fm(measured, fits, (ratings, held_out), None, promote=promote)
    header, rows = best_trials(found)
    if report is not None:
        from training.recommend.report import table

        mean = f"Mean {found.metric} over {folds} folds of the training ratings."
        text = f"# Sweep of the factorization machine\n\n{mean}\n\n{table(header, rows)}"
        write_sweep(report, document, text, found)
    if as_json:
        output.print_json(document)
        return
    print_trials(header, rows)
    if held_out is not None:
        test_report = document["test"]
        output.stdout.print(
            f"\nthe winner on the test part: accuracy {test_report.accuracy:.4f}, F1 {test_report.f1:.4f}, "
            f"log-loss {test_report.log_loss:.4f}, AUC {test_report.auc:.4f}"
        )
    print_version(document)

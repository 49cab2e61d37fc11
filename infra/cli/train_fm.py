"""`penstock train fm`: fit a factorization machine, and measure it on a test file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from infra.cli import context, files, output, ratings_options
from infra.cli.publish import print_version, publish_fm, without_deleted

if TYPE_CHECKING:
    from models.recommend.ratings import Ratings
    from training.recommend.fm.columns import Features
    from training.recommend.fm.experiment import FmReport
    from training.recommend.fm.fit import FmFit
    from training.recommend.fm.model import FmOptions

# The whole sets that MovieLens' pairs are parts of.
_WHOLE = {("ua.base", "ua.test"): "u.data", ("ub.base", "ub.test"): "u.data"}


def fm(
    train: Annotated[Path, typer.Option(help="Ratings to train on.", parser=files.readable, metavar=files.METAVAR)],
    test: Annotated[
        Path,
        typer.Option(
            help="Ratings to measure on; used after the last fit.", parser=files.readable, metavar=files.METAVAR
        ),
    ],
    seeds: Annotated[int, typer.Option(help="Fits, each with a seed of its own; the figures are means.", min=1)] = 3,
    report: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.", dir_okay=False)] = None,
    columns: ratings_options.Columns = None,
    users: Annotated[
        Path | None,
        typer.Option(help="Features of users: CSV with user,FIELD..., or u.user.", exists=True, dir_okay=False),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Genres of items: CSV with item,title,genres, or MovieLens' own.", exists=True),
    ] = None,
    objective: Annotated[
        Literal["classification", "regression"], typer.Option(help="Predict likes or ratings.")
    ] = "classification",
    targets: Annotated[
        Literal["soft", "hard"],
        typer.Option(help="Learn from where on its scale a rating lies, or from liked or not."),
    ] = "soft",
    liked_from: Annotated[float, typer.Option(help="Lowest rating that says that a user likes an item.")] = 4.0,
    factors: Annotated[int, typer.Option(help="Factors per column.")] = 32,
    members: Annotated[int, typer.Option(help="Machines whose mean score counts.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Step size of Adam.")] = 0.005,
    regularization: Annotated[float, typer.Option(help="Weight of the squared factors of active columns.")] = 0.01,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    register: Annotated[
        bool, typer.Option("--register", help="Store the fit that did best on its validation part as a version.")
    ] = False,
    promote: Annotated[
        bool,
        typer.Option("--promote", help="Register, and make the version live unless it is worse than the live one."),
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Fit a factorization machine on one file of ratings and measure it on another.

    When to stop, calibration and threshold come from a validation part of the training file. The pair of files is
    checked first: rows, duplicates, test ratings in the training file.
    """
    from training.recommend.fm.model import FmOptions

    try:
        options = FmOptions(
            objective=objective,
            targets=targets,
            liked_from=liked_from,
            factors=factors,
            members=members,
            learning_rate=learning_rate,
            regularization=regularization,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if seed + seeds > 2**31:
        raise typer.BadParameter(f"the last seed would be above {2**31 - 1}")
    ratings, held_out = checked(train, test, columns)
    assert held_out is not None, "a test file is given"
    if register or promote:
        ratings, held_out = (without_deleted(context.load_settings(), part)[0] for part in (ratings, held_out))
    found, fits = _run((ratings, held_out), options, seeds, _features(users, items), device, quiet=as_json)
    document = msgspec.to_builtins(found)
    if register or promote:
        document |= publish_fm(found, fits, (ratings, held_out), items, promote=promote)
    if report:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if as_json:
        output.print_json(document)
    else:
        _print(found)
        print_version(document)


def checked(train_path: Path, test_path: Path | None, columns: str | None) -> "tuple[Ratings, Ratings | None]":
    """Sound ratings of both files, of which the second has none of the first. Raises BadInput."""
    from training.recommend.checks import check_disjoint, check_ratings, check_union
    from training.recommend.readers import RatingColumns, read_ratings

    parsed = RatingColumns.parse(columns) if columns else None
    train = read_ratings(train_path, columns=parsed)
    check_ratings(train, train_path.name)
    if test_path is None:
        return train, None
    test = read_ratings(test_path, columns=parsed)
    check_ratings(test, test_path.name)
    check_disjoint(train, test)
    whole = _WHOLE.get((train_path.name, test_path.name))
    if whole and train_path.with_name(whole).is_file():
        check_union(read_ratings(train_path.with_name(whole)), train, test)
    return train, test


def _features(users: Path | None, items: Path | None) -> "tuple[Features | None, Features | None]":
    from training.recommend.fm.features import item_genres, user_features

    return user_features(users) if users else None, item_genres(items) if items else None


def _run(
    pair: "tuple[Ratings, Ratings]",
    options: "FmOptions",
    seeds: int,
    features: "tuple[Features | None, Features | None]",
    device: str,
    *,
    quiet: bool,
) -> "tuple[FmReport, list[FmFit]]":
    from models.errors import ConfigurationError

    try:
        from training.recommend.fm.experiment import run_fm
    except ImportError as error:
        raise ConfigurationError(f"{error}; install what this needs: pip install 'penstock[training]'") from error

    with output.progress_bar(shown=not quiet) as bar:
        task = bar.add_task("epochs", total=None)

        def progress(number: int, stage: str, epoch: int) -> None:
            bar.update(task, description=f"seed {number + 1} of {seeds}, {stage}: epoch", completed=epoch)

        user_features, item_features = features
        return run_fm(
            *pair,
            options,
            seeds,
            user_features=user_features,
            item_features=item_features,
            device=device,
            progress=progress,
        )


def _print(report: "FmReport") -> None:
    names = ("accuracy", "f1", "log_loss", "auc", *(("rmse", "mae") if report.rmse is not None else ()))
    rows: list[tuple[object, ...]] = [
        (
            seed.seed,
            seed.epochs,
            *(f"{seed.test[name]:.4f}" for name in names),
            f"{seed.threshold:.3f}",
            f"{seed.fit_seconds:.1f}",
        )
        for seed in report.seeds
    ]
    rows.append(("mean", "", *(f"{getattr(report, name):.4f}" for name in names), "", f"{report.fit_seconds:.1f}"))
    output.stdout.print(output.table(("seed", "epochs", *names, "threshold", "seconds"), rows))
    output.stdout.print(
        f"\ntrained on {report.train_rows:,} ratings, measured on {report.test_rows:,} ({report.positive_share:.1%} "
        f"likes, {report.unknown} with a user or item that training does not know); parity of ONNX with PyTorch "
        f"{max(seed.parity for seed in report.seeds):.1e}",
        soft_wrap=True,
    )
    for warning in report.warnings:
        output.stdout.print(f"warning: {warning}", soft_wrap=True)

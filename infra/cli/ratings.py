"""`penstock ratings`: look at ratings, and make some."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli import files, output, ratings_options

app = typer.Typer(help="Look at ratings, and make some.", no_args_is_help=True)


@app.command("profile")
def profile(
    file: Annotated[
        Path,
        typer.Argument(
            help="MovieLens' u.data, ratings.dat or ratings.csv, CSV, or Parquet.",
            parser=files.readable,
            metavar=files.METAVAR,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for profile.json, profile.md and plots.")] = Path("profile"),
    columns: ratings_options.Columns = None,
    rows: ratings_options.Rows = None,
    as_json: output.AsJson = False,
) -> None:
    """Sparsity, long tail, class balance and activity over time, as figures and plots."""
    import msgspec

    from training.recommend.profile import profile as profile_of
    from training.recommend.profile import profile_markdown, profile_plots
    from training.recommend.report import prepare, write_report

    report = out / "profile.json"
    prepare(report)
    ratings = ratings_options.load(file, columns, rows)
    found = profile_of(ratings)
    text = profile_markdown(found, file.name)
    written = write_report(report, msgspec.structs.asdict(found), text, profile_plots(ratings))
    if as_json:
        output.print_json(found)
        return
    output.stdout.print(text)
    output.stdout.print("written: " + ", ".join(map(str, written)), soft_wrap=True)


@app.command("generate")
def generate(
    out: Annotated[
        Path, typer.Option(help="The ratings, as CSV; titles and genres go to <name>.items.csv beside it.")
    ],
    users: Annotated[int, typer.Option(min=1)] = 1000,
    items: Annotated[int, typer.Option(min=10)] = 500,
    ratings: Annotated[int, typer.Option(help="About how many.", min=1)] = 50_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make ratings with a known structure: users who like a genre, items with a long tail."""
    from models.recommend.generator import generate as generated
    from training.recommend.writers import write_generated

    made = generated(users, items, ratings, seed=seed)
    described = write_generated(made, out)
    output.stdout.print(f"{len(made.ratings):,} ratings in {out}, titles and genres in {described}", soft_wrap=True)

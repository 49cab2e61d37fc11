"""`penstock runs`: start training or scoring with a file, and see how it went."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer

from infra.cli import context, output, ratings_options
from models.contracts.runs import Run, RunKind, Stage
from models.errors import BadInput, NotFound, PenstockError

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.runs import Runs

app = typer.Typer(help="Runs of the recommender: training on ratings, scoring of users.", no_args_is_help=True)

_LOOK_EVERY_S: Final = 0.2
_File = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]
_Wait = Annotated[bool, typer.Option("--wait", help="Return when the run has ended; exit code 1 if it failed.")]


class RunFailed(PenstockError):
    """A run that was waited for has failed; the message is its reason."""


@app.callback()
def _group() -> None:
    """Runs of the recommender: training on ratings, scoring of users."""


@app.command("list")
def list_runs(
    kind: Annotated[RunKind | None, typer.Option(help="Only runs of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 20,
    as_json: output.AsJson = False,
) -> None:
    """List runs, latest first."""
    found = [run for run in _runs(context.load_settings()).latest() if kind in (None, run.kind)][:limit]
    if as_json:
        output.print_json(found)
        return
    rows = [
        (run.id, run.kind, run.stage, output.moment(run.stages[-1].at), run.source or "schedule") for run in found
    ]
    table = output.table(("run", "kind", "stage", "since", "source"), rows)
    # A run's name is there to be copied: never shortened, however narrow the terminal.
    table.columns[0].min_width = max((len(run.id) for run in found), default=0)
    output.stdout.print(table)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run, or `latest`.")] = "latest",
    log: Annotated[bool, typer.Option("--log", help="Print the worker's log of it as well.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Show a run stage by stage."""
    settings = context.load_settings()
    runs = _runs(settings)
    found = next(iter(runs.latest(1)), None) if run == "latest" else runs.get(run)
    if found is None:
        raise NotFound("there are no runs yet: penstock runs train FILE")
    _show(found, as_json)
    if log and found.log:
        text = context.open_blobs(settings).get(found.log).data.decode(errors="replace")
        output.stderr.print(text, end="", soft_wrap=True) if as_json else output.stdout.print(text, soft_wrap=True)


@app.command()
def train(
    file: _File,
    items: ratings_options.Items = None,
    columns: ratings_options.Columns = None,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Upload ratings (MovieLens, CSV or Parquet): they are checked, trained on, compared and promoted."""
    from functions.runs.intake import UPLOADS
    from training.recommend.gather import COLUMNS, ITEMS
    from training.recommend.items import encode_items, items_beside, read_items

    settings = context.load_settings()
    described = items or items_beside(file)
    if described is not None:  # first, so that the run finds them
        context.open_blobs(settings).replace(f"{ITEMS}{file.name}.csv", encode_items(read_items(described)))
    metadata = {} if columns is None else {COLUMNS: quote(columns, safe="=,")}
    run = _upload(settings, f"{UPLOADS}{file.name}", file.read_bytes(), metadata, wait=wait)
    _show(run, as_json)
    _check(run)


@app.command()
def score(
    file: _File,
    out: Annotated[Path | None, typer.Option(help="Write the recommendations here (JSON lines); waits.")] = None,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Upload a list of users (JSON lines, CSV, or one per line): each gets recommendations."""
    from functions.runs.shards import USER_LISTS

    settings = context.load_settings()
    run = _upload(settings, f"{USER_LISTS}{file.name}", file.read_bytes(), {}, wait=wait or out is not None)
    if out is not None and run.stage == Stage.DONE:
        out.write_bytes(context.open_blobs(settings).get(run.result).data)
    _show(run, as_json)
    _check(run)


def _upload(settings: "Settings", name: str, data: bytes, metadata: Mapping[str, str], *, wait: bool) -> Run:
    """The run of the upload; it has ended if `wait`. The functions host opens it, within seconds."""
    from functions.runs.intake import upload_run

    runs, blobs = _runs(settings), context.open_blobs(settings)
    sent = blobs.replace(name, data, metadata=metadata)
    id = upload_run(sent)
    with output.stderr.status(f"run {id}") as spinner:
        deadline = time.monotonic() + 60
        while True:
            try:
                run = runs.get(id)
            except NotFound as error:
                latest = blobs.head(name)
                if latest is not None and latest.etag != sent.etag:
                    raise BadInput(f"{name} was replaced by a newer upload, which has a run of its own") from error
                if time.monotonic() > deadline:
                    raise BadInput(f"{name} is uploaded, but no run began: is the functions host up?") from error
            else:
                if run.stage.is_end or not wait:
                    return run
                spinner.update(f"run {id}: {run.stage}")
            time.sleep(_LOOK_EVERY_S)


def _check(run: Run) -> None:
    if run.stage == Stage.FAILED:
        raise RunFailed(f"run {run.id} failed: {run.reason}")


def _show(run: Run, as_json: bool) -> None:
    if as_json:
        output.print_json(run)
        return
    output.stdout.print(f"run {run.id} ({run.kind} {run.source or 'by schedule'})", soft_wrap=True)
    for stage in run.stages:
        output.stdout.print(
            f"  {output.moment(stage.at)}  {stage.stage:<10}  {stage.detail}".rstrip(), soft_wrap=True
        )
    for name, value in (("version", run.model_version), ("result", run.result), ("log", run.log)):
        if value:
            output.stdout.print(f"  {name:<8}  {value}", soft_wrap=True)


def _runs(settings: "Settings") -> "Runs":
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.runs import Runs

    return Runs(open_state(settings), SystemClock())

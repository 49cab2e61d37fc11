"""`penstock runs`: start training or scoring with a file, and see how it went."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import msgspec
import typer

from infra.cli import context, output, ratings_options
from models.contracts.runs import Run, RunKind, Stage
from models.errors import BadInput, NotFound, PenstockError

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.ports import BlobStore
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
    rows = [(run.id, run.kind, run.stage, output.moment(run.stages[-1].at), _origin(run)) for run in found]
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
    blobs = context.open_blobs(settings)
    _show(found, as_json, blobs)
    if log and found.log:
        text = blobs.get(found.log).data.decode(errors="replace")
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
    from models.names import UPLOADS
    from training.recommend.gather import ITEMS
    from training.recommend.items import encode_items, items_beside, read_items
    from training.recommend.uploads import COLUMNS

    settings = context.load_settings()
    described = items or items_beside(file)
    if described is not None:  # first, so that the run finds them
        context.open_blobs(settings).replace(f"{ITEMS}{file.name}.csv", encode_items(read_items(described)))
    metadata = {} if columns is None else {COLUMNS: quote(columns, safe="=,")}
    run = _upload(settings, f"{UPLOADS}{file.name}", file.read_bytes(), metadata, wait=wait)
    _show(run, as_json)
    _check(run)


@app.command()
def retry(
    runs: Annotated[list[str], typer.Argument(help="Runs that were refused, failed or withdrawn.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go live even if worse than the live version; popularity must be beaten.")
    ] = False,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Train on the uploads of runs again, such as after better data came; of several runs on all together."""
    from functions.runs.intake import Intake
    from infra.azure.queues import AzureQueue
    from models.names import RECOMMEND_QUEUE

    settings = context.load_settings()
    records = _runs(settings)
    queue = AzureQueue(settings.data_storage.get_secret_value(), RECOMMEND_QUEUE)
    intake = Intake(context.open_blobs(settings), records, queue, model=settings.recommender)
    id = intake.retry(runs, time.time(), anyway=anyway)
    with output.stderr.status(f"run {id}") as spinner:
        while wait and not (run := records.get(id)).stage.is_end:
            spinner.update(f"run {id}: {run.stage}")
            time.sleep(_LOOK_EVERY_S)
    run = records.get(id)
    _show(run, as_json)
    _check(run)


@app.command()
def withdraw(
    run: Annotated[str, typer.Argument(help="A run that was promoted.")], as_json: output.AsJson = False
) -> None:
    """Take the uploads of a run out of later training, and out of the histories of users. What is live stays.

    An earlier upload under the same name counts again.
    """
    from infra.wiring.state import open_state
    from training.recommend.gather import gather
    from training.recommend.uploads import withdraw as withdraw_uploads
    from training.recommend.users import take_back

    settings = context.load_settings()
    blobs, state = context.open_blobs(settings), open_state(settings)
    taken = withdraw_uploads(blobs, _runs(settings), run)
    rest = gather(blobs, state, settings.ratings_hub, {}).ratings
    for ratings in taken:
        take_back(state, ratings, rest)
    _show(_runs(settings).get(run), as_json)


@app.command()
def score(
    file: _File,
    out: Annotated[Path | None, typer.Option(help="Write the recommendations here (JSON lines); waits.")] = None,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Upload a list of users (JSON lines, CSV, or one per line): each gets recommendations."""
    from models.names import USER_LISTS

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


def _origin(run: Run) -> str:
    """Where a run comes from: its upload, or what was said when it was opened."""
    return run.source or run.stages[0].detail or "by schedule"


def _show(run: Run, as_json: bool, blobs: "BlobStore | None" = None) -> None:
    """With `blobs` also whether later runs train on what the run brought."""
    upload = ""
    if blobs is not None and run.kind == RunKind.TRAIN:
        from training.recommend.uploads import standing

        upload = standing(blobs, run)
    if as_json:
        output.print_json({**msgspec.to_builtins(run), **({"upload": upload} if upload else {})})
        return
    output.stdout.print(f"run {run.id} ({run.kind} {_origin(run)})", soft_wrap=True)
    for stage in run.stages:
        output.stdout.print(
            f"  {output.moment(stage.at)}  {stage.stage:<10}  {stage.detail}".rstrip(), soft_wrap=True
        )
    facts = (("version", run.model_version), ("result", run.result), ("upload", upload), ("log", run.log))
    for name, value in facts:
        if value:
            output.stdout.print(f"  {name:<8}  {value}", soft_wrap=True)


def _runs(settings: "Settings") -> "Runs":
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.runs import Runs

    return Runs(open_state(settings), SystemClock())

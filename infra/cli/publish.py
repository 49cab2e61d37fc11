"""Registers what a command has fitted, and makes it live if it may."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.cli import context, output

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.ports import BlobStore, Clock, StateStore
    from models.recommend.ratings import Ratings
    from training.recommend.fm.experiment import FmReport
    from training.recommend.fm.fit import FmFit
    from training.recommend.gather import LeftOut
    from training.recommend.promote import Outcome
    from training.recommend.register import Trained
    from training.recommend.splits import Split


def publish_als(
    settings: "Settings",
    name: str,
    trained: "Trained",
    parts: "Split",
    ratings: "Ratings",
    *,
    promote: bool,
    quiet: bool,
) -> dict[str, Any]:
    """`version`, `promoted` and `reason`, for a report.

    The version is registered in any case. With `promote` it goes live if it beats popularity and is not worse than
    the live version on `parts`, and then the histories of all users of `ratings` are written, the ratings kept under
    `name`, so that later runs train on them too, and a run recorded, all as after an upload. Raises BadInput if they
    lie outside the scale of the API or in the future.
    """
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.registry import Registry
    from training.recommend.checks import check_histories
    from training.recommend.gate import Rule
    from training.recommend.promote import promote as promote_version
    from training.recommend.register import register

    blobs, clock, state = context.open_blobs(settings), SystemClock(), open_state(settings)
    if promote:
        check_histories(ratings, name, clock.now())
    registry = Registry(blobs, settings.recommender)
    version = register(registry, trained, clock).version
    if not promote:
        return {"version": version, "promoted": False, "reason": "a candidate, not promoted"}
    rule = Rule(metric=settings.gate_metric, k=settings.gate_k, tolerance=settings.gate_tolerance)
    with output.progress_bar(shown=not quiet) as bar:
        task = bar.add_task("users", total=len(ratings.users))
        outcome = promote_version(
            registry,
            state,
            rule,
            version,
            parts,
            ratings,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    found = {"version": version, "promoted": outcome.promoted, "reason": outcome.reason}
    return (
        {**found, "run": _record(state, clock, blobs, registry.model, name, ratings, outcome)}
        if outcome.promoted
        else found
    )


def _record(
    state: "StateStore",
    clock: "Clock",
    blobs: "BlobStore",
    model: str,
    name: str,
    ratings: "Ratings",
    outcome: "Outcome",
) -> str:
    """The run that stands for a command: shown beside those of uploads, and withdrawn like them."""
    from models.contracts.runs import RunKind, Stage
    from models.runs import Runs, run_id
    from training.recommend.uploads import keep

    id = run_id(clock.now(), "command", outcome.version)
    keep(blobs, {name: ratings}, id)
    runs = Runs(state, clock)
    runs.open(RunKind.TRAIN, id, model=model, detail=f"by command: {name}")
    runs.advance(id, Stage.PROMOTED, outcome.reason, model_version=outcome.version)
    return id


def without_deleted(settings: "Settings", ratings: "Ratings") -> "tuple[Ratings, LeftOut]":
    """The ratings without those that deletions of users cover, as a run of training leaves them out."""
    from infra.wiring.state import open_state
    from training.recommend.gather import forgotten_users, without

    found, left_out = without(ratings, forgotten_users(open_state(settings)))
    if left_out.ratings:
        output.stderr.print(str(left_out), soft_wrap=True)
    return found, left_out


def publish_fm(
    report: "FmReport",
    fits: "list[FmFit]",
    pair: "tuple[Ratings, Ratings]",
    items: Path | None,
    *,
    promote: bool,
) -> dict[str, str | bool]:
    """What became of the fit that did best on its own validation part: the test part must not choose among them."""
    from infra.clock import SystemClock
    from models.registry import Registry
    from training.recommend.fm.register import promote_fm, register_fm
    from training.recommend.items import read_items

    settings = context.load_settings()
    registry = Registry(context.open_blobs(settings), settings.fm)
    best = min(range(len(fits)), key=lambda number: fits[number].validation["log_loss"])
    manifest = register_fm(
        registry,
        fits[best],
        pair[0],
        SystemClock(),
        measured=report.seeds[best].test,
        items=read_items(items) if items else {},
    )
    if not promote:
        reason = f"penstock models promote {manifest.version} --model {settings.fm}"
        return {"version": manifest.version, "promoted": False, "reason": reason}
    outcome = promote_fm(registry, manifest.version, *pair)
    return {"version": manifest.version, "promoted": outcome.promoted, "reason": outcome.reason}


def print_version(document: dict[str, Any]) -> None:
    """What became of the fit, if it was registered."""
    if "version" in document:
        state = "live" if document["promoted"] else "not live"
        output.stdout.print(f"version {document['version']} ({state}): {document['reason']}", soft_wrap=True)

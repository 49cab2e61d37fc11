"""Registers a recommender that a command has fitted, and makes it live if it may."""

from typing import TYPE_CHECKING, Any

from infra.cli import output

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.recommend.ratings import Ratings
    from training.recommend.register import Trained
    from training.recommend.splits import Split


def publish(
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
    the live version on `parts`, and the histories of all users of `ratings` are written, as after an upload. Like
    one, the ratings are kept under `name`, so that later runs train on them too. Raises BadInput if they lie outside
    the scale of the API or in the future.
    """
    from infra.azure.blobs import AzureBlobs
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.registry import Registry
    from models.runs import run_id
    from training.recommend.gate import Rule
    from training.recommend.gather import keep
    from training.recommend.promote import promote as promote_version
    from training.recommend.register import register

    blobs, clock = AzureBlobs(settings.data_storage.get_secret_value()), SystemClock()
    registry = Registry(blobs, settings.recommender)
    version = register(registry, trained, clock).version
    if not promote:
        return {"version": version, "promoted": False, "reason": "a candidate, not promoted"}
    now_s = clock.now()
    keep(blobs, name, ratings, run_id(now_s, "train", version), now_s)
    rule = Rule(metric=settings.gate_metric, k=settings.gate_k, tolerance=settings.gate_tolerance)
    with output.progress_bar(shown=not quiet) as bar:
        task = bar.add_task("users", total=len(ratings.users))
        outcome = promote_version(
            registry,
            open_state(settings),
            rule,
            version,
            parts,
            ratings,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return {"version": version, "promoted": outcome.promoted, "reason": outcome.reason}

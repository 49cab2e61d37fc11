"""A run of training: from an upload, or from the schedule, to a live version or to the reason why there is none.

Every stage may be repeated: a run whose worker died is done again from its beginning, but for a version that was
registered, which is taken up again, and users that were written, which are passed over.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import msgspec

from models.contracts.runs import Run, Stage
from models.errors import BadInput, NotFound
from models.names import run_log_blob
from models.ports import BlobStore, Clock, StateStore
from models.recommend.ratings import Ratings
from models.registry import Registry
from models.runlog import RunLog
from models.runs import Runs
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.gate import Rule, Served
from training.recommend.gather import Gathered, gather
from training.recommend.items import ItemInfo
from training.recommend.native import fit_native
from training.recommend.promote import promote
from training.recommend.ranking import rank, ranking_metrics, scorer_of
from training.recommend.register import Trained, register
from training.recommend.splits import Split, split
from training.recommend.uploads import check_upload, checked_before, keep, name_of

log = logging.getLogger(__name__)

Fit = Callable[[Ratings, AlsOptions], AlsModel]


class HoldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Which ratings are held out: by the hash of row and seed, so that two versions hold the same ones out."""

    ratio: float = 0.9
    """Share of the ratings that are trained on."""
    seed: int = 42

    def of(self, ratings: Ratings) -> Split:
        """The two parts."""
        return split(ratings, "random", ratio=self.ratio, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Training:
    """Does training runs of one model."""

    blobs: BlobStore
    state: StateStore
    registry: Registry
    clock: Clock
    hub: str
    """Whose archive of feedback is taken in."""
    rule: Rule
    hold_out: HoldOut
    fit: Fit = fit_native

    def do(self, id: str) -> str:
        """Do run `id` and say how it ended. A run that has ended is left alone.

        What is wrong with the data ends the run as failed; other errors are raised, and the run may be tried again.
        """
        runs = Runs(self.state, self.clock)
        run = runs.get(id)
        if run.stage.is_end:
            return f"run {id} has ended before: {run.stage}"
        with RunLog(self.blobs, run_log_blob(id)) as kept:
            steps = _Steps(self, runs, id, kept)
            runs.change(id, lambda now: msgspec.structs.replace(now, log=run_log_blob(id)))
            try:
                steps.all(run)
            except (BadInput, NotFound) as error:
                steps.reach(Stage.FAILED, str(error))
        ended = runs.get(id)
        return f"run {id}: {ended.stage} ({ended.reason})"

    def options(self) -> AlsOptions:
        """Those of the live version, as a sweep or a person chose them; the defaults where there is none."""
        live = self.registry.aliases().aliases.live
        if live is None:
            return AlsOptions()
        try:
            parameters = self.registry.manifest(live).parameters
            if parameters.get("engine") != "native":  # other engines scale them differently
                return AlsOptions()
            # A number that followed from the ratings follows from the new ones again.
            left = {"regularization"} if parameters.get("regularization_by") == "rule" else set()
            return msgspec.convert(
                {
                    name: parameters[name]
                    for name in AlsOptions.__struct_fields__
                    if name in parameters and name not in left
                },
                AlsOptions,
            )
        except (BadInput, NotFound, msgspec.ValidationError) as error:
            log.warning("parameters of live version %s are not taken over: %s", live, error)
            return AlsOptions()

    def live_items(self) -> dict[str, ItemInfo]:
        """Titles and genres that the live version knows: they need not be uploaded with every file of ratings."""
        live = self.registry.aliases().aliases.live
        if live is None:
            return {}
        try:
            known = Served.load(self.registry, live).bundle.catalogue
        except (BadInput, NotFound) as error:
            log.warning("titles of live version %s are not taken over: %s", live, error)
            return {}
        facts = zip(known.items, known.titles, known.genres, strict=True)
        return {item: ItemInfo(title, tuple(genres)) for item, title, genres in facts if title or genres}


class _Steps:
    """The stages of one run, one after the other."""

    def __init__(self, training: Training, runs: Runs, id: str, kept: RunLog) -> None:
        self._training = training
        self._runs = runs
        self._id = id
        self._kept = kept

    def reach(self, stage: Stage, detail: str, **facts: object) -> None:
        """Record a stage, in the run and in its log."""
        log.info("%s: %s", stage, detail)
        self._runs.advance(self._id, stage, detail, **facts)
        self._kept.save()

    def all(self, run: Run) -> None:
        """From what was received to the end."""
        training = self._training
        uploads = self._validate(run)
        gathered = gather(training.blobs, training.state, training.hub, uploads)
        parts = training.hold_out.of(gathered.ratings)
        version = run.model_version or self._train(gathered, parts)
        rule = msgspec.structs.replace(training.rule, tolerance=math.inf) if run.anyway else training.rule
        self._promote(version, gathered, parts, uploads, rule)

    def _validate(self, run: Run) -> dict[str, Ratings]:
        """The uploads of the run, by name, each found sound."""
        # Of two with one name the later counts, as it would have if both had been promoted.
        brought = [self._runs.get(id) for id in sorted(run.retries)] or [run]
        uploads = {name_of(each.source): self._checked(each) for each in brought if each.source}
        if uploads:
            sizes = [
                f"{len(each)} ratings of {len(each.users)} users, {len(each.items)} items"
                for each in uploads.values()
            ]
            self.reach(Stage.VALIDATED, "; ".join(sizes))
        else:
            self.reach(Stage.VALIDATED, "no upload: those of promoted runs, and the archive")
        return uploads

    def _checked(self, run: Run) -> Ratings:
        """The ratings that `run` brought."""
        blobs = self._training.blobs
        before = checked_before(blobs, run.source, run.id)
        if before is not None:
            return before
        upload = blobs.get(run.source)
        if upload.info.etag != run.etag:
            raise BadInput("was replaced by a newer upload before it was read; that one has a run of its own")
        return check_upload(blobs, upload, run.id, self._training.clock.now())

    def _train(self, gathered: Gathered, parts: Split) -> str:
        """Fit, evaluate and register; the version."""
        training, options = self._training, self._training.options()
        left_out = gathered.left_out
        self.reach(
            Stage.TRAINING,
            f"{len(parts.train)} of {len(gathered.ratings)} ratings, {options.factors} factors"
            + (f"; {left_out}" if left_out.ratings else ""),
            feedback=dict(gathered.feedback),
            left_out=asdict(left_out),
        )
        model = training.fit(parts.train, options)
        metrics = ranking_metrics(rank(scorer_of(model), parts, min(training.rule.k, len(parts.train.items))), parts)
        self.reach(
            Stage.EVALUATED,
            ", ".join(f"{name} {metrics[name]:.4f}" for name in (training.rule.metric, "precision_at_k", "map")),
            metrics=metrics,
        )
        hold_out = training.hold_out
        trained = Trained(
            model=model,
            train=parts.train,
            items={**training.live_items(), **gathered.items},
            metrics=metrics,
            split={"split": "random", "ratio": hold_out.ratio, "split_seed": hold_out.seed, "k": training.rule.k},
        )
        version = register(training.registry, trained, training.clock).version
        self.reach(Stage.REGISTERED, f"version {version}", model_version=version)
        return version

    def _promote(
        self, version: str, gathered: Gathered, parts: Split, uploads: Mapping[str, Ratings], rule: Rule
    ) -> None:
        training = self._training
        outcome = promote(
            training.registry,
            training.state,
            rule,
            version,
            parts,
            gathered.ratings,
            written=lambda done: self.reach(Stage.WRITTEN, f"{done.users} users, {done.changed} changed"),
        )
        if outcome.promoted:
            keep(training.blobs, uploads, self._id)
        self.reach(Stage.PROMOTED if outcome.promoted else Stage.REFUSED, outcome.reason)

"""A run of training: from an upload, or from the schedule, to a live version or to the reason why there is none.

Every stage may be repeated: a run whose worker died is done again from its beginning, but for a version that was
registered, which is taken up again, and users that were written, which are passed over.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from models.contracts.runs import Run, Stage
from models.errors import BadInput, NotFound, Superseded
from models.ports import BlobStore, Clock, StateStore
from models.recommend.ratings import Ratings
from models.registry import Registry
from models.runs import Runs
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.gate import Rule, Served, judge, judged_users, live_metric, metric_of, served_scorer
from training.recommend.gather import Gathered, accept, accepted_blob, gather
from training.recommend.native import fit_native
from training.recommend.ranking import popularity, rank, ranking_metrics, scorer_of
from training.recommend.register import Trained, register
from training.recommend.runlog import RunLog, log_blob
from training.recommend.splits import Split, split
from training.recommend.users import Vectors, write_users

log = logging.getLogger(__name__)

Fit = Callable[[Ratings, AlsOptions], AlsModel]
_ATTEMPTS: Final = 5


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
        with RunLog(self.blobs, id) as kept:
            steps = _Steps(self, runs, id, kept)
            runs.change(id, lambda now: msgspec.structs.replace(now, log=log_blob(id)))
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
            return msgspec.convert(
                {name: parameters[name] for name in AlsOptions.__struct_fields__ if name in parameters}, AlsOptions
            )
        except (BadInput, NotFound, msgspec.ValidationError) as error:
            log.warning("parameters of live version %s are not taken over: %s", live, error)
            return AlsOptions()


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
        self._validate(run)
        gathered = gather(training.blobs, training.state, training.hub)
        parts = training.hold_out.of(gathered.ratings)
        version = run.model_version or self._train(gathered, parts)
        served = Served.load(training.registry, version)
        self._publish(served, gathered, judged_users(parts))

    def _validate(self, run: Run) -> None:
        if not run.source:
            self.reach(Stage.VALIDATED, "no upload: what was accepted before, and the archive")
            return
        blobs = self._training.blobs
        if blobs.head(accepted_blob(run.source, run.id)) is not None:
            self.reach(Stage.VALIDATED, "accepted in an earlier try")
            return
        upload = blobs.get(run.source)
        if upload.info.etag != run.etag:
            raise BadInput("was replaced by a newer upload before it was read; that one has a run of its own")
        found = accept(blobs, upload, run.id)
        self.reach(Stage.VALIDATED, f"{len(found)} ratings of {len(found.users)} users, {len(found.items)} items")

    def _train(self, gathered: Gathered, parts: Split) -> str:
        """Fit, evaluate and register; the version."""
        training, options = self._training, self._training.options()
        self.reach(
            Stage.TRAINING,
            f"{len(parts.train)} of {len(gathered.ratings)} ratings, {options.factors} factors",
            feedback=dict(gathered.feedback),
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
            items=gathered.items,
            metrics=metrics,
            split={"split": "random", "ratio": hold_out.ratio, "split_seed": hold_out.seed, "k": training.rule.k},
        )
        version = register(training.registry, trained, training.clock).version
        self.reach(Stage.REGISTERED, f"version {version}", model_version=version)
        return version

    def _publish(self, served: Served, gathered: Gathered, parts: Split) -> None:
        """Promote the version unless it is worse than the live one; histories are written in either case, before."""
        training, version = self._training, served.manifest.version
        candidate = metric_of(training.rule, served_scorer(served, parts.train), parts)
        baseline = metric_of(training.rule, popularity(parts.train), parts)
        for _ in range(_ATTEMPTS):
            state = training.registry.aliases()
            live = state.aliases.live
            other = live_metric(training.rule, training.registry, live, parts) if live != version else None
            verdict = judge(training.rule, candidate, baseline, other)
            self._write(served if verdict.passed else None, gathered)
            if not verdict.passed:
                self.reach(Stage.REFUSED, verdict.reason)
                return
            try:
                training.registry.promote(version, based_on=state)
            except Superseded:
                log.info("another version was promoted meanwhile: comparing with that one")
                continue
            self.reach(Stage.PROMOTED, verdict.reason)
            return
        raise Superseded(f"{_ATTEMPTS} other promotions came in between")

    def _write(self, served: Served | None, gathered: Gathered) -> None:
        vectors = None
        if served is not None:
            places = {item: place for place, item in enumerate(served.bundle.catalogue.items)}
            vectors = Vectors(served.manifest.model, served.manifest.version, served.fold(), places)
        written = write_users(self._training.state, gathered.ratings, vectors)
        self.reach(Stage.WRITTEN, f"{written.users} users, {written.changed} changed")

"""Registration: graphs that answer as the model does, indexes, and the comparison with what is live."""

import itertools
import math

import numpy as np
import pytest

from models.errors import BadInput, ModelRefused, Superseded
from models.inference.fm import load_machine
from models.inference.recommender import load_recommender
from models.recommend.ratings import Ratings
from models.registry import Registry
from tests.fakes import FakeBlobs, FakeClock
from tests.unit import tastes
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.fm.fit import FmFit, fit_fm
from training.recommend.fm.model import FmOptions
from training.recommend.fm.register import promote_fm, register_fm
from training.recommend.gate import (
    Rule,
    Served,
    Verdict,
    judge,
    judged_users,
    metric_of,
    served_scorer,
    served_versus,
    versus_live,
)
from training.recommend.items import ItemInfo
from training.recommend.native import fit_native
from training.recommend.promote import promote_if
from training.recommend.ranking import scorer_of
from training.recommend.register import Trained, register
from training.recommend.splits import Split, split

OPTIONS = AlsOptions(factors=4, regularization=1.0, iterations=8)


@pytest.fixture
def registry() -> Registry:
    return Registry(FakeBlobs(), "m")


def trained(train: Ratings, model: AlsModel | None = None, **metrics: float) -> Trained:
    fitted = model or fit_native(train, OPTIONS, threads=1)
    return Trained(fitted, train, {"1": ItemInfo("One", ("Odd",))}, metrics or {"map": 0.1}, {"split": "random"})


def test_a_version_holds_rated_items_with_their_titles_and_serves_the_trained_vectors(registry: Registry) -> None:
    found = tastes.ratings()
    part = found.rows(found.item != found.items.index("40"))
    manifest = register(registry, trained(part), FakeClock())
    served = load_recommender(registry, manifest.version)
    assert "40" not in served.catalogue.items
    assert (served.catalogue.titles[0], served.catalogue.genres[0]) == ("One", ["Odd"])
    assert served.catalogue.ratings.sum() == len(part)
    assert manifest.metrics["user_error"] < 1e-3
    assert manifest.parameters["search"] == "exact"
    assert register(registry, trained(part), FakeClock()) == manifest


def test_a_model_whose_vectors_folding_in_does_not_give_is_refused(registry: Registry) -> None:
    found = tastes.ratings()
    good = fit_native(found, OPTIONS, threads=1)
    other = AlsModel(good.user_factors + np.float32(0.1), good.item_factors, good.options, good.engine)
    with pytest.raises(ModelRefused, match="user_error"):
        register(registry, trained(found, other), FakeClock())
    assert registry.versions() == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_number_is_refused(registry: Registry, value: float) -> None:
    with pytest.raises(BadInput, match="map_at_k"):
        register(registry, trained(tastes.ratings(), map_at_k=value), FakeClock())
    assert registry.versions() == []


def test_a_large_catalogue_gets_an_index_that_finds_what_is_best(registry: Registry) -> None:
    pytest.importorskip("faiss")
    found = tastes.ratings(users=150, items=300, each=30)
    manifest = register(registry, trained(found), FakeClock(), large=200)
    assert manifest.parameters["search"] == "faiss-ivf"
    assert float(manifest.parameters["index_recall"]) > 0.99
    served = load_recommender(registry, manifest.version)
    assert len(served.top(served.fold.user(np.array([0]), np.ones(1, np.float32)), np.array([0]), 5).places) == 5


def test_versions_are_compared_by_what_they_would_serve(registry: Registry) -> None:
    parts = split(tastes.ratings(), "random", ratio=0.8)
    model = fit_native(parts.train, OPTIONS, threads=1)
    version = register(registry, trained(parts.train, model), FakeClock()).version
    rule = Rule(k=5)
    served = metric_of(rule, served_scorer(Served.load(registry, version), parts.train), parts)
    assert served == pytest.approx(metric_of(rule, scorer_of(model), parts), abs=0.01)


def test_a_version_is_measured_on_a_catalogue_of_which_it_knows_a_part(registry: Registry) -> None:
    parts = split(tastes.ratings(), "random", ratio=0.8)
    known = parts.train.item < 20
    version = register(registry, trained(parts.train.rows(known)), FakeClock()).version
    scores = served_scorer(Served.load(registry, version), parts.train)
    table = scores(np.arange(len(parts.train.users)))
    assert np.isneginf(table[:, 20:]).all()
    assert np.isfinite(table[:, :20]).all()
    whole = register(registry, trained(parts.train), FakeClock(1.0)).version
    rule = Rule(k=5)
    assert metric_of(rule, scores, parts) < metric_of(
        rule, served_scorer(Served.load(registry, whole), parts.train), parts
    )


def test_what_the_live_version_was_trained_on_does_not_speak_for_it(registry: Registry) -> None:
    found = tastes.ratings(users=120)
    parts = split(found, "random", ratio=0.8)
    rule, clock = Rule(k=5), FakeClock()
    candidate = Served.load(registry, register(registry, trained(parts.train), clock).version)
    clock.advance(5)
    other = split(found, "random", ratio=0.8, seed=7)
    live = register(registry, trained(other.train), clock).version
    leaked = metric_of(rule, served_scorer(Served.load(registry, live), parts.train), parts)

    def versus(version: str | None) -> tuple[float, float] | None:
        return versus_live(
            registry,
            version,
            parts.test,
            Served.load,
            lambda other, seen: served_versus(rule, candidate, other, parts, seen),
        )

    found_versus = versus(live)
    assert found_versus is not None
    assert found_versus[1] < leaked
    assert versus(None) is None
    clock.advance(5)
    everything = register(registry, trained(found), clock).version
    with pytest.raises(BadInput, match="nothing is left"):
        versus(everything)


def test_at_most_five_thousand_users_are_judged_and_always_the_same() -> None:
    users = [str(i) for i in range(6000)]
    every = Ratings.of(users, ["1"] * 6000, np.ones(6000))
    judged = judged_users(Split(every, every))
    assert len(np.unique(judged.test.user)) == len(judged.test) == 5000
    assert judged.test.user.tolist() == judged_users(Split(every, every)).test.user.tolist()


@pytest.mark.parametrize(
    ("candidate", "baseline", "live", "tolerance", "passed"),
    [
        (0.3, 0.2, None, 0.0, True),
        (0.2, 0.2, None, 0.0, False),
        (math.nan, 0.2, None, 0.0, False),
        (0.3, 0.2, 0.3, 0.0, True),
        (0.3, 0.2, 0.31, 0.0, False),
        (0.3, 0.2, 0.31, 0.02, True),
        (0.1, 0.2, 0.05, 0.0, False),
    ],
)
def test_a_candidate_must_beat_popularity_and_not_be_worse_than_what_is_live(
    candidate: float, baseline: float, live: float | None, tolerance: float, passed: bool
) -> None:
    versus = None if live is None else (candidate, live)
    assert judge(Rule(tolerance=tolerance), candidate, baseline, versus).passed is passed


def three_versions(registry: Registry) -> list[str]:
    found, clock = tastes.ratings(), FakeClock()
    versions = []
    for _ in range(3):
        versions.append(register(registry, trained(found), clock).version)
        clock.advance(5)
    return versions


def test_a_promotion_in_between_means_another_verdict(registry: Registry) -> None:
    ours, *others = three_versions(registry)
    rivals = iter(others)
    asked: list[str | None] = []

    def verdict(live: str | None) -> Verdict:
        asked.append(live)
        for rival in rivals:
            registry.promote(rival)
            break
        return Verdict(True, f"better than {live}")

    outcome = promote_if(registry, ours, verdict)
    assert asked == [None, *others]
    assert (outcome.promoted, outcome.reason) == (True, f"better than {others[-1]}")
    assert registry.aliases().aliases.live == ours


def test_five_promotions_in_between_are_superseded_and_a_refusal_promotes_nothing(registry: Registry) -> None:
    ours, *others = three_versions(registry)
    rivals = itertools.cycle(others)
    allowed: list[bool] = []

    def contested(_live: str | None) -> Verdict:
        registry.promote(next(rivals))
        return Verdict(True, "")

    with pytest.raises(Superseded, match="5 other promotions"):
        promote_if(registry, ours, contested, before=lambda: allowed.append(True))
    assert len(allowed) == 5

    def unfair(_live: str | None) -> Verdict:
        raise BadInput("nothing is left")

    assert promote_if(registry, ours, unfair, before=lambda: allowed.append(True)).reason == "nothing is left"
    assert len(allowed) == 5
    assert registry.aliases().aliases.live in others


def machine(train: Ratings, learning_rate: float) -> FmFit:
    return fit_fm(train, FmOptions(factors=4, members=1, epochs=5, learning_rate=learning_rate), device="cpu")


def test_a_factorization_machine_is_promoted_if_its_log_loss_is_not_above_that_of_the_live_one(
    registry: Registry,
) -> None:
    parts = split(tastes.ratings(), "random", ratio=0.8)
    clock = FakeClock()
    good = register_fm(registry, machine(parts.train, 0.05), parts.train, clock, measured={"auc": 0.9}, items={})
    first = promote_fm(registry, good.version, parts.train, parts.test)
    assert (first.promoted, registry.aliases().aliases.live) == (True, good.version)
    assert "a constant" in first.reason
    loaded = load_machine(registry, good.version)
    assert loaded.catalogue.ratings.sum() == len(parts.train)
    assert promote_fm(registry, good.version, parts.train, parts.test).promoted

    clock.advance(5)
    poor = register_fm(registry, machine(parts.train, 1e-7), parts.train, clock, measured={"auc": 0.6}, items={})
    second = promote_fm(registry, poor.version, parts.train, parts.test)
    assert not second.promoted
    assert registry.aliases().aliases.live == good.version
    with pytest.raises(BadInput, match="auc"):
        register_fm(registry, machine(parts.train, 1e-7), parts.train, clock, measured={"auc": math.nan}, items={})

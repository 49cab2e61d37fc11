"""A run of training from an upload to a live version, or to the reason why there is none."""

import itertools

import msgspec
import numpy as np
import pytest

from functions.runs.intake import upload_run
from models.contracts.feedback import FeedbackEvent, ForgetEvent, RatingsEvent
from models.contracts.runs import RunKind, Stage
from models.errors import TryLater
from models.inference.recommender import load_recommender
from models.names import feedback_blob
from models.ports import Put
from models.recommend.feedback import Feedback, encode_feedback
from models.recommend.profile import (
    CONTAINER,
    TOMBSTONES,
    Profile,
    Tombstone,
    decode_profile,
    user_partition,
    vector_of,
)
from models.recommend.ratings import Ratings
from models.registry import Registry
from models.runs import Runs, run_id
from tests.fakes import FakeBlobs, FakeClock, FakeState
from tests.unit import tastes
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.gate import Rule
from training.recommend.native import fit_native
from training.recommend.run import HoldOut, Training

MODEL = "recommender"
OPTIONS = AlsOptions(factors=4, regularization=1.0, iterations=8)


class Workshop:
    """A worker on fakes, whose fits are small."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.blobs, self.state = FakeBlobs(self.clock), FakeState()
        self.runs = Runs(self.state, self.clock)
        self.registry = Registry(self.blobs, MODEL)
        self.fits: list[AlsOptions] = []
        self.training = Training(
            blobs=self.blobs,
            state=self.state,
            registry=self.registry,
            clock=self.clock,
            hub="ratings",
            rule=Rule(k=5),
            hold_out=HoldOut(ratio=0.8),
            fit=self.fit,
        )

    def fit(self, train: Ratings, options: AlsOptions) -> AlsModel:
        self.fits.append(options)
        return fit_native(train, OPTIONS, threads=1)

    def upload(self, data: bytes, name: str = "ratings.csv", columns: str = "") -> str:
        """The run of an upload, received."""
        self.clock.advance(10)
        info = self.blobs.replace(f"ratings-in/{name}", data, metadata={"columns": columns} if columns else {})
        id = upload_run(info)
        self.runs.open(RunKind.TRAIN, id, model=MODEL, source=info.name, etag=info.etag)
        return id

    def done(self, data: bytes, name: str = "ratings.csv") -> str:
        """The run of an upload, done."""
        id = self.upload(data, name)
        self.training.do(id)
        return id

    def stages(self, id: str) -> list[Stage]:
        return [each.stage for each in self.runs.get(id).stages]

    @property
    def live(self) -> str | None:
        return self.registry.aliases().aliases.live

    def profile(self, user: str) -> Profile:
        document = self.state.get(CONTAINER, user_partition(user), "profile")
        return decode_profile(document.body) if document else Profile()


WHOLE = [
    Stage.RECEIVED, Stage.VALIDATED, Stage.TRAINING, Stage.EVALUATED, Stage.REGISTERED, Stage.WRITTEN, Stage.PROMOTED,
]  # fmt: skip


@pytest.fixture
def shop(caplog: pytest.LogCaptureFixture) -> Workshop:
    caplog.set_level("INFO")  # as the worker's process has it
    return Workshop()


def test_an_upload_becomes_a_live_version_and_profiles(shop: Workshop) -> None:
    found = tastes.ratings()
    shop.blobs.create("items/movies.csv", b"item,title,genres\n1,First,Odd|Short\n")
    id = shop.done(tastes.csv(found))
    run = shop.runs.get(id)
    assert shop.stages(id) == WHOLE
    assert run.model_version == shop.live
    assert run.metrics["ndcg_at_k"] > 0.4
    assert run.log == f"run-logs/{id}.txt"
    assert b"promoted" in shop.blobs.get(run.log).data
    manifest = shop.registry.manifest(shop.live or "")
    assert manifest.kind == "als"
    assert manifest.parameters["split"] == "random"
    assert manifest.metrics["user_error"] < 1e-3

    profile = shop.profile("1")
    assert len(profile.ratings) == 17
    vector = vector_of(profile, MODEL, shop.live or "", 4)
    assert vector is not None
    assert np.isfinite(vector).all()


def test_a_run_that_has_ended_is_left_alone(shop: Workshop) -> None:
    id = shop.done(tastes.csv(tastes.ratings()))
    before = dict(shop.blobs.blobs), dict(shop.state.documents)
    assert "ended before" in shop.training.do(id)
    assert (shop.blobs.blobs, shop.state.documents) == before


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("ratings.csv", b"", "empty"),
        ("ratings.csv", b"\x89PNG\r\n\x1a\n\x00\x01", "text or Parquet"),
        ("ratings.csv", b"PAR1 and no more", "ratings.csv"),
        ("ratings.csv", b"device,sensor,value\na,b,1\n", "'user'"),
        ("ratings.csv", b"user,item,rating\na,b,nan\n", "finite"),
        ("ratings.csv", b"user,item,rating\na,b,11\n", "0.5..5"),
        ("ratings.csv", b"user,item,rating\na,b,3\na,b,4\n", "come again"),
        ("ratings.csv", b"user,item,rating,ts\na,b,3,4000000000\n", "future"),
        ("ratings.csv", b"user,item,rating\na,b,3\n", "split"),
        ("u.data", b"1\t2\t3\t4\n", "100,000"),
    ],
)
def test_a_file_that_is_not_ratings_fails_with_the_reason_and_the_live_version_stays(
    shop: Workshop, name: str, data: bytes, reason: str
) -> None:
    shop.done(tastes.csv(tastes.ratings()), "good.csv")
    live, profiles = shop.live, len(shop.state.documents)
    if reason == "split":  # too few ratings to hold any out
        shop = Workshop()
        live, profiles = None, 0
    id = shop.done(data, name)
    run = shop.runs.get(id)
    assert run.stage == Stage.FAILED
    assert reason in run.reason
    assert reason.encode() in shop.blobs.get(run.log).data
    assert shop.live == live
    assert len(shop.state.documents) == profiles + 1  # the run's own record


def test_a_version_that_is_worse_on_the_same_ratings_is_refused_and_its_histories_are_kept(shop: Workshop) -> None:
    shop.done(tastes.csv(tastes.ratings()))
    live = shop.live
    shop.training = Training(
        **{name: getattr(shop.training, name) for name in ("blobs", "state", "registry", "clock", "hub", "rule")},
        hold_out=HoldOut(ratio=0.8),
        fit=lambda train, _: fit_native(train, AlsOptions(factors=1, regularization=500.0, iterations=1)),
    )
    id = shop.done(b"user,item,rating,ts\n1,40,1,1700000000\n", "more.csv")
    run = shop.runs.get(id)
    assert shop.stages(id)[-2:] == [Stage.WRITTEN, Stage.REFUSED]
    assert "ndcg_at_k" in run.reason
    assert shop.live == live
    assert run.model_version in shop.registry.versions()
    assert "40" in shop.profile("1").ratings


def test_what_does_not_beat_popularity_is_refused_even_as_the_first(shop: Workshop) -> None:
    users, items = zip(*itertools.product(map(str, range(20)), map(str, range(14))), strict=True)
    id = shop.done(tastes.csv(Ratings.of(users, items, [5.0] * len(users))))  # everybody rates everything
    assert shop.stages(id)[-1] == Stage.REFUSED
    assert "popularity" in shop.runs.get(id).reason
    assert shop.live is None


def test_uploads_add_up_and_a_second_one_under_a_name_replaces_the_first(shop: Workshop) -> None:
    found = tastes.ratings()
    odd = found.rows(found.user % 2 == 0)
    shop.done(tastes.csv(odd), "a.csv")
    id = shop.done(tastes.csv(found.rows(found.user % 2 == 1)), "b.csv")
    training = next(each for each in shop.runs.get(id).stages if each.stage == Stage.TRAINING)
    assert f"of {len(found)} ratings" in training.detail
    id = shop.done(tastes.csv(odd.rows(np.arange(len(odd) // 2))), "a.csv")
    training = next(each for each in shop.runs.get(id).stages if each.stage == Stage.TRAINING)
    assert f"of {len(found) - len(odd) + len(odd) // 2} ratings" in training.detail


def test_an_upload_may_name_its_columns(shop: Workshop) -> None:
    data = tastes.csv(tastes.ratings()).replace(b"user,item,rating,ts", b"who,caf\xc3\xa9,stars,at")
    id = shop.upload(data, columns="user=who,item=caf%C3%A9,rating=stars,ts=at")
    shop.training.do(id)
    assert shop.runs.get(id).stage == Stage.PROMOTED


def test_two_uploads_at_once_are_both_handled(shop: Workshop) -> None:
    found = tastes.ratings()
    first = shop.upload(tastes.csv(found.rows(found.user % 2 == 0)), "a.csv")
    second = shop.upload(tastes.csv(found.rows(found.user % 2 == 1)), "b.csv")
    for id in (second, first):
        shop.training.do(id)
    assert {shop.runs.get(first).stage, shop.runs.get(second).stage} <= {Stage.PROMOTED, Stage.REFUSED}
    assert len(shop.profile("1").ratings) == len(shop.profile("2").ratings) == 17


def test_an_upload_replaced_before_it_was_read_says_so(shop: Workshop) -> None:
    first = shop.upload(tastes.csv(tastes.ratings()))
    second = shop.upload(tastes.csv(tastes.ratings(seed=1)))
    for id in (first, second):
        shop.training.do(id)
    assert "newer upload" in shop.runs.get(first).reason
    assert shop.runs.get(second).stage == Stage.PROMOTED


def test_a_worker_that_died_after_registering_goes_on_from_there(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = shop.upload(tastes.csv(tastes.ratings()))
    with monkeypatch.context() as broken:
        broken.setattr("training.recommend.promote.write_users", _fail)
        with pytest.raises(TryLater):
            shop.training.do(id)
    assert b"Traceback" in shop.blobs.get(f"run-logs/{id}.txt").data
    version = shop.runs.get(id).model_version
    shop.clock.advance(30)
    shop.training.do(id)
    assert (shop.live, shop.registry.versions(), len(shop.fits)) == (version, [version], 1)
    assert shop.runs.get(id).stage == Stage.PROMOTED
    assert b"next try" in shop.blobs.get(f"run-logs/{id}.txt").data


def _fail(*_: object, **__: object) -> None:
    raise TryLater("the state store does not answer")


def test_a_run_by_schedule_trains_on_what_was_accepted_before(shop: Workshop) -> None:
    shop.blobs.create("items/movies.csv", b"item,title,genres\n1,First,Odd|Short\n")
    shop.done(tastes.csv(tastes.ratings()))
    shop.blobs.delete("items/movies.csv")
    shop.clock.advance(3600)
    id = run_id(shop.clock.time, "schedule")
    shop.runs.open(RunKind.TRAIN, id, model=MODEL)
    shop.training.do(id)
    assert shop.runs.get(id).stage == Stage.PROMOTED
    # The titles and the parameters of the live version are taken over.
    assert load_recommender(shop.registry, shop.live or "").catalogue.titles[0] == "First"
    assert shop.fits == [AlsOptions(), OPTIONS]


def test_feedback_is_taken_in_and_the_record_says_how_far(shop: Workshop) -> None:
    now_us = int(shop.clock.time * 1e6)
    events: list[tuple[int, RatingsEvent]] = [
        (7, FeedbackEvent(user="1", item="new", rating=5.0, time_us=now_us, key="k1")),
        (8, FeedbackEvent(user="1", item="1", rating=1.0, time_us=now_us, key="k2")),
        (9, ForgetEvent(user="2", time_us=now_us)),
        (10, FeedbackEvent(user="2", item="again", rating=5.0, time_us=now_us + 1, key="k3")),
    ]
    data = encode_feedback(Feedback.of(events))
    shop.blobs.create(feedback_blob("ratings", 3, 7), data, metadata={"through": "10"})
    found = tastes.ratings()
    id = shop.done(tastes.csv(found))
    run = shop.runs.get(id)
    assert run.stage == Stage.PROMOTED
    assert run.feedback == {"3": 10}
    assert f"of {len(found) + 1 - 17 + 1} ratings" in run.stages[2].detail
    assert shop.profile("1").ratings["1"].rating == 1.0
    assert set(shop.profile("2").ratings) == {"again"}


def test_a_deleted_user_is_in_no_later_training_and_gets_no_profile(shop: Workshop) -> None:
    mark = Tombstone(user="1", time_us=int(shop.clock.time * 1e6))
    shop.state.transact(CONTAINER, TOMBSTONES, [Put("1", msgspec.json.encode(mark))])
    found = tastes.ratings()
    id = shop.done(tastes.csv(found))
    assert f"of {len(found) - 17} ratings" in shop.runs.get(id).stages[2].detail
    assert shop.profile("1") == Profile()
    assert len(shop.profile("2").ratings) == 17

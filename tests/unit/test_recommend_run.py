"""A run of training from an upload to a live version, or to the reason why there is none."""

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from functions.runs.intake import Intake, upload_run
from models.contracts.feedback import FeedbackEvent, ForgetEvent, RatingsEvent
from models.contracts.runs import RunKind, Stage
from models.errors import BadInput, TryLater
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
from tests.fakes import FakeBlobs, FakeClock, FakeQueue, FakeState
from tests.unit import tastes
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.gate import Rule
from training.recommend.gather import combine, gather
from training.recommend.native import fit_native
from training.recommend.run import HoldOut, Training
from training.recommend.uploads import standing, withdraw
from training.recommend.users import take_back

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

    def lenient(self) -> None:
        """Let chance refuse nothing from here on: the sets are small."""
        self.training = replace(self.training, rule=Rule(k=5, tolerance=1.0))

    def retry(self, *ids: str, anyway: bool = False) -> str:
        """The run that trains on the uploads of these again, done."""
        self.clock.advance(10)
        intake = Intake(self.blobs, self.runs, FakeQueue(self.clock), model=MODEL)
        id = intake.retry(ids, self.clock.time, anyway=anyway)
        self.training.do(id)
        return id

    def by_schedule(self) -> str:
        """A run without an upload, done."""
        self.clock.advance(3600)
        id = run_id(self.clock.time, "schedule")
        self.runs.open(RunKind.TRAIN, id, model=MODEL)
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


NOISE = 3


def noise(seed: int) -> bytes:
    """Ratings of the same users that say the opposite, each of an item of the other taste, later than the others."""
    dice = np.random.default_rng(seed)
    lines = [f"{user + 1},{place + 1},5,1690000000\n" for user in range(60)
             for place in dice.choice(np.arange(1 - user % 2, 40, 2), NOISE, replace=False)]  # fmt: skip
    return ("user,item,rating,ts\n" + "".join(lines)).encode()


def worse(train: Ratings, _: AlsOptions) -> AlsModel:
    return fit_native(train, AlsOptions(factors=1, regularization=500.0, iterations=1))


def trained_on(shop: Workshop, id: str) -> int:
    """How many ratings the run had before some were held out."""
    training = next(each for each in shop.runs.get(id).stages if each.stage == Stage.TRAINING)
    return int(training.detail.split(" of ")[1].split()[0])


def test_a_version_that_is_worse_on_the_same_ratings_is_refused_and_leaves_no_trace_in_histories(
    shop: Workshop,
) -> None:
    shop.done(tastes.csv(tastes.ratings()))
    live = shop.live
    shop.training = replace(shop.training, fit=worse)
    id = shop.done(b"user,item,rating,ts\n1,40,1,1700000000\n", "more.csv")
    run = shop.runs.get(id)
    assert shop.stages(id)[-2:] == [Stage.REGISTERED, Stage.REFUSED]
    assert "ndcg_at_k" in run.reason
    assert shop.live == live
    assert run.model_version in shop.registry.versions()
    assert "40" not in shop.profile("1").ratings
    assert f"penstock runs retry {id}" in standing(shop.blobs, run)


def test_a_refused_upload_takes_part_in_no_later_run_until_it_is_retried(shop: Workshop) -> None:
    found = tastes.ratings()
    good = shop.done(tastes.csv(found), "good.csv")
    shop.training = replace(shop.training, fit=worse)
    noisy = shop.done(noise(1), "noisy.csv")
    assert shop.runs.get(noisy).stage == Stage.REFUSED
    assert trained_on(shop, noisy) > len(found)
    shop.training = replace(shop.training, fit=shop.fit)
    more = tastes.ratings(seed=1).rows(np.arange(200))
    id = shop.done(tastes.csv(more), "more.csv")
    alone = Workshop()
    alone.done(tastes.csv(found), "good.csv")
    assert trained_on(shop, id) == trained_on(alone, alone.done(tastes.csv(more), "more.csv"))
    assert standing(shop.blobs, shop.runs.get(good)) == "good.csv: trained on by later runs"

    again = shop.retry(noisy)
    assert trained_on(shop, again) > trained_on(shop, id)


def test_a_refused_run_that_is_retried_anyway_goes_live_with_its_histories(shop: Workshop) -> None:
    shop.done(tastes.csv(tastes.ratings()))
    shop.training = replace(shop.training, rule=Rule(k=5, tolerance=-1.0))  # nothing is good enough
    refused = shop.done(b"user,item,rating,ts\n1,40,1,1700000000\n", "more.csv")
    assert shop.runs.get(refused).stage == Stage.REFUSED
    with pytest.raises(BadInput, match="refused"):
        withdraw(shop.blobs, shop.runs, refused)
    id = shop.retry(refused, anyway=True)
    assert shop.runs.get(id).stage == Stage.PROMOTED
    assert shop.runs.get(id).model_version == shop.live
    assert "40" in shop.profile("1").ratings


def test_parts_that_are_refused_alone_are_promoted_when_they_are_retried_together(shop: Workshop) -> None:
    found = tastes.ratings()
    halves = [found.rows(found.user % 2 == taste) for taste in range(2)]  # all of one taste: popularity is as good
    refused = [shop.done(tastes.csv(half), f"{taste}.csv") for taste, half in enumerate(halves)]
    assert {shop.runs.get(id).stage for id in refused} == {Stage.REFUSED}
    id = shop.retry(*refused)
    assert shop.runs.get(id).stage == Stage.PROMOTED
    assert trained_on(shop, id) == len(found)
    assert len(shop.profile("1").ratings) == len(shop.profile("2").ratings) == 17
    assert trained_on(shop, shop.by_schedule()) == len(found)


def test_an_upload_that_never_came_to_be_read_is_read_by_its_retry_unless_another_one_replaced_it(
    shop: Workshop,
) -> None:
    first = shop.upload(tastes.csv(tastes.ratings()))
    shop.runs.advance(first, Stage.FAILED, "no memory, five times")
    again = shop.retry(first)
    assert shop.runs.get(again).stage == Stage.PROMOTED

    second = shop.upload(tastes.csv(tastes.ratings(seed=1)))
    shop.runs.advance(second, Stage.FAILED, "no memory, five times")
    shop.upload(tastes.csv(tastes.ratings(seed=2)))
    assert "newer upload" in shop.runs.get(shop.retry(second)).reason


def test_a_refused_upload_under_a_name_leaves_the_one_before_it_in_use(shop: Workshop) -> None:
    found = tastes.ratings()
    first = shop.done(tastes.csv(found))
    shop.training = replace(shop.training, fit=worse)
    second = shop.done(noise(1))
    assert trained_on(shop, second) == 60 * NOISE  # in its own run it stands in for the other
    assert shop.runs.get(second).stage == Stage.REFUSED
    assert trained_on(shop, shop.by_schedule()) == len(found)
    assert "trained on" in standing(shop.blobs, shop.runs.get(first))


def test_a_withdrawn_upload_is_out_of_training_and_histories_and_the_one_before_it_counts_again(
    shop: Workshop,
) -> None:
    shop.lenient()
    found = tastes.ratings()
    first = shop.done(tastes.csv(found))
    before = shop.profile("1").ratings
    longer = combine([found, Ratings.of(["1", "1"], ["new", next(iter(before))], [5, 1], [1_650_000_000] * 2)])
    second = shop.done(tastes.csv(longer))
    assert shop.runs.get(second).stage == Stage.PROMOTED
    assert f"replaced by that of run {second}" in standing(shop.blobs, shop.runs.get(first))
    assert len(shop.profile("1").ratings) == len(before) + 1

    for _ in range(2):
        taken = withdraw(shop.blobs, shop.runs, second)
        for each in taken:
            take_back(shop.state, each, gather(shop.blobs, shop.state, "ratings", {}).ratings)
        assert shop.runs.get(second).stage == Stage.WITHDRAWN
        assert shop.profile("1").ratings == before
        assert sum(map(len, taken)) == len(longer)
    assert trained_on(shop, shop.by_schedule()) == len(found)

    again = shop.retry(second)
    assert trained_on(shop, again) == len(longer)


def test_an_upload_is_not_withdrawn_while_a_run_trains_that_may_have_read_it(shop: Workshop) -> None:
    first = shop.done(tastes.csv(tastes.ratings()))
    training = shop.upload(noise(1), name="other.csv")
    with pytest.raises(TryLater, match=f"run {training} is training"):
        withdraw(shop.blobs, shop.runs, first)
    assert shop.runs.get(first).stage == Stage.PROMOTED


def test_a_run_that_brought_no_upload_cannot_be_withdrawn(shop: Workshop) -> None:
    shop.done(tastes.csv(tastes.ratings()))
    with pytest.raises(BadInput, match="no upload"):
        withdraw(shop.blobs, shop.runs, shop.by_schedule())


def test_a_worker_that_died_between_promotion_and_its_record_keeps_the_upload_in_the_next_try(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = shop.upload(tastes.csv(tastes.ratings()))
    with monkeypatch.context() as broken:
        broken.setattr("training.recommend.run.keep", _fail)
        with pytest.raises(TryLater):
            shop.training.do(id)
    shop.training.do(id)
    assert shop.runs.get(id).stage == Stage.PROMOTED
    assert "trained on" in standing(shop.blobs, shop.runs.get(id))


def test_what_does_not_beat_popularity_is_refused_even_as_the_first(shop: Workshop) -> None:
    users, items = zip(*itertools.product(map(str, range(20)), map(str, range(14))), strict=True)
    id = shop.done(tastes.csv(Ratings.of(users, items, [5.0] * len(users))))  # everybody rates everything
    assert shop.stages(id)[-1] == Stage.REFUSED
    assert "popularity" in shop.runs.get(id).reason
    assert shop.live is None


def test_uploads_add_up_and_a_second_one_under_a_name_replaces_the_first(shop: Workshop) -> None:
    found = tastes.ratings()
    first = found.rows(found.user < 30)
    shop.done(tastes.csv(first), "a.csv")
    id = shop.done(tastes.csv(found.rows(found.user >= 30)), "b.csv")
    assert trained_on(shop, id) == len(found)
    id = shop.done(tastes.csv(first.rows(np.arange(len(first) // 2))), "a.csv")
    assert trained_on(shop, id) == len(found) - len(first) + len(first) // 2


def test_an_upload_may_name_its_columns(shop: Workshop) -> None:
    data = tastes.csv(tastes.ratings()).replace(b"user,item,rating,ts", b"who,caf\xc3\xa9,stars,at")
    id = shop.upload(data, columns="user=who,item=caf%C3%A9,rating=stars,ts=at")
    shop.training.do(id)
    assert shop.runs.get(id).stage == Stage.PROMOTED


def test_two_uploads_at_once_are_both_handled(shop: Workshop) -> None:
    found = tastes.ratings()
    shop.lenient()
    first = shop.upload(tastes.csv(found.rows(found.user < 30)), "a.csv")
    second = shop.upload(tastes.csv(found.rows(found.user >= 30)), "b.csv")
    for id in (second, first):
        shop.training.do(id)
    assert {shop.runs.get(first).stage, shop.runs.get(second).stage} == {Stage.PROMOTED}
    assert trained_on(shop, first) == len(found)
    assert len(shop.profile("1").ratings) == len(shop.profile("40").ratings) == 17


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
    id = shop.by_schedule()
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
    assert shop.runs.get(id).left_out == {"users": 1, "ratings": 17, "untimed": 0}


def test_the_record_says_how_many_ratings_of_deleted_users_stay_out_for_want_of_a_time(shop: Workshop) -> None:
    mark = Tombstone(user="1", time_us=int(shop.clock.time * 1e6))
    shop.state.transact(CONTAINER, TOMBSTONES, [Put("1", msgspec.json.encode(mark))])
    timed = tastes.csv(tastes.ratings()).decode().splitlines()
    untimed = "\n".join(line.rpartition(",")[0] for line in timed).encode()
    shop.clock.advance(3600)  # after the deletion, as the file cannot say
    run = shop.runs.get(shop.done(untimed))
    assert run.left_out == {"users": 1, "ratings": 17, "untimed": 17}
    assert "17 ratings of 1 deleted users left out, 17 of them for want of a time" in run.stages[2].detail

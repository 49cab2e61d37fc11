"""Run records, what starts training runs, and the sweep over them."""

import json

import azure.functions as func
import msgspec
import pytest

from functions.pipeline import pipeline
from functions.runs.intake import upload_run
from functions.runs.queries import list_runs
from functions.runs.schedule import retrain_on_feedback
from functions.runs.sweep import Swept
from models.contracts.runs import RunKind, RunRequest, Stage
from models.errors import BadInput, Damaged, NotFound, TryLater
from models.ports import Put
from models.runs import Runs, run_id
from tests.fakes import FakeClock, FakeState
from tests.unit.runs import Office

UPLOAD = "ratings-in/ratings.csv"


@pytest.fixture
def office() -> Office:
    return Office()


def stages(office: Office, id: str) -> list[Stage]:
    return [each.stage for each in office.runs.get(id).stages]


def uploaded(office: Office, data: bytes = b"user,item,rating\n") -> str:
    return upload_run(office.blobs.replace(UPLOAD, data))


def requested(office: Office) -> list[str]:
    return [msgspec.json.decode(body, type=RunRequest).run for body in office.requests.bodies]


def test_a_run_id_depends_on_what_was_uploaded_and_sorts_by_time() -> None:
    first = run_id(1_769_853_600.9, "a", "etag")
    assert first == run_id(1_769_853_600.0, "a", "etag")
    assert first.startswith("20260131T100000Z-")
    assert len({first, run_id(1_769_853_600, "a", "other"), run_id(1_769_853_600, "aetag", "")}) == 3
    assert first < run_id(1_769_853_601, "a", "etag")


def test_a_run_goes_through_its_stages_and_stays_at_its_end() -> None:
    clock = FakeClock()
    runs = Runs(FakeState(), clock)
    assert runs.open(RunKind.TRAIN, "r1", model="m")
    assert not runs.open(RunKind.TRAIN, "r1", model="m")
    clock.advance(2)
    runs.advance("r1", Stage.VALIDATED, "100 ratings")
    runs.advance("r1", Stage.FAILED, "no reason", log="run-logs/r1.txt")
    ended = runs.get("r1")
    assert runs.advance("r1", Stage.PROMOTED) == ended
    assert [(each.stage, each.at - clock.time) for each in ended.stages] == [
        ("received", -2), ("validated", 0), ("failed", 0),
    ]  # fmt: skip
    assert (ended.stage, ended.reason, ended.log) == (Stage.FAILED, "no reason", "run-logs/r1.txt")
    with pytest.raises(NotFound, match="r2"):
        runs.advance("r2", Stage.DONE)


def test_two_processes_that_advance_a_run_at_once_both_count(monkeypatch: pytest.MonkeyPatch) -> None:
    state = FakeState()
    runs = Runs(state, FakeClock())
    runs.open(RunKind.TRAIN, "r1", model="m")
    real, rivals = state.get, iter([Stage.TRAINING])

    def get(container: str, partition: str, id: str):  # type: ignore[no-untyped-def]  # as the fake's
        found = real(container, partition, id)
        for stage in rivals:
            runs.advance("r1", stage)
        return found

    monkeypatch.setattr(state, "get", get)
    runs.advance("r1", Stage.EVALUATED)
    assert [each.stage for each in runs.get("r1").stages] == [Stage.RECEIVED, Stage.TRAINING, Stage.EVALUATED]


def test_the_latest_runs_come_first_and_by_kind(office: Office) -> None:
    for minute in range(3):
        kind = RunKind.SCORE if minute == 1 else RunKind.TRAIN
        office.runs.open(kind, run_id(office.clock.time + 60 * minute, str(minute)), model="m")
    found = list_runs({"limit": "2"}, office.runs).runs
    assert [run.kind for run in found] == [RunKind.TRAIN, RunKind.SCORE]
    assert found[0].id > found[1].id
    assert len(list_runs({"kind": "train"}, office.runs).runs) == 2
    for wrong in ({"limit": "0"}, {"limit": "9" * 30}, {"limit": "x"}, {"kind": "nonsense"}):
        with pytest.raises(BadInput):
            list_runs(wrong, office.runs)


def test_an_upload_starts_one_run_however_often_its_event_comes(office: Office) -> None:
    id = uploaded(office)
    for _ in range(3):
        office.intake.receive(UPLOAD)
    assert requested(office) == [id]
    run = office.runs.get(id)
    assert (run.kind, run.source, run.model, run.stage) == (RunKind.TRAIN, UPLOAD, "recommender", Stage.RECEIVED)
    office.clock.advance(1)
    second = uploaded(office, b"other")
    office.intake.receive(UPLOAD)
    assert requested(office) == [id, second]


def test_an_upload_that_is_gone_again_starts_nothing(office: Office) -> None:
    office.intake.receive(UPLOAD)
    assert office.runs.latest() == []


def test_the_sweep_starts_the_run_of_an_upload_whose_event_was_lost(office: Office) -> None:
    id = uploaded(office)
    assert office.sweeper.sweep().started == 0  # the event may still come
    office.clock.advance(6)
    assert office.sweeper.sweep().started == 1
    assert office.sweeper.sweep().started == 0
    assert requested(office) == [id]


def test_an_upload_whose_run_could_not_be_looked_up_is_swept_the_next_time(office: Office, monkeypatch) -> None:
    id = uploaded(office)
    office.clock.advance(6)
    with monkeypatch.context() as away:
        away.setattr(office.state, "get", unreachable)
        assert office.sweeper.sweep() == Swept(failed=1)
    assert office.sweeper.sweep() == Swept(started=1)
    assert requested(office) == [id]


def test_uploads_that_cannot_be_listed_hold_up_no_run(office: Office, monkeypatch, caplog) -> None:
    id = uploaded(office)
    office.intake.receive(UPLOAD)
    office.requests._items.clear()
    office.clock.advance(60)
    with monkeypatch.context() as broken:
        broken.setattr(office.blobs, "list", lambda prefix: unreachable() if prefix == "ratings-in/" else iter(()))
        assert office.sweeper.sweep() == Swept(asked=1, failed=1)
    assert requested(office) == [id]
    assert "ratings-in/ cannot be listed" in caplog.text


def test_a_run_that_cannot_be_read_does_not_hold_up_the_others(office: Office) -> None:
    first, second = (run_id(office.clock.time, name) for name in "ab")
    for id in (first, second):
        office.runs.open(RunKind.TRAIN, id, model="m")
    marks = office.state.query("runs", id_prefix="unfinished:")
    complement = str.maketrans("0123456789", "9876543210")
    names = {id: f"{id[:16].translate(complement)}{id[16:]}" for id in (first, second)}
    for mark in marks:
        with pytest.raises(NotFound):
            office.runs.get(f"unfinished:{names[mark.id.removeprefix('unfinished:')]}")
    office.state.transact("runs", "runs", [Put(names[first], b"{}")])
    with pytest.raises(Damaged, match=first):
        office.runs.get(first)
    assert [run.id for run in office.runs.unfinished()] == [second]
    assert [run.id for run in office.runs.latest()] == [second]
    office.clock.advance(60)
    assert office.sweeper.sweep().asked == 1


def unreachable(*_: object) -> None:
    raise TryLater("the state store is away")


def test_the_sweep_asks_again_for_a_run_of_which_no_message_speaks(office: Office) -> None:
    id = uploaded(office)
    office.intake.receive(UPLOAD)
    office.clock.advance(60)
    assert office.sweeper.sweep().asked == 0  # its message is there
    office.requests._items.clear()
    assert office.sweeper.sweep().asked == 1
    office.requests._items.clear()
    assert office.sweeper.sweep().asked == 0  # the second message is on its way
    office.clock.advance(60)
    assert office.sweeper.sweep().asked == 1
    office.requests._items.clear()
    office.runs.advance(id, Stage.PROMOTED)
    office.clock.advance(60)
    assert office.sweeper.sweep().asked == 0


def test_an_unfinished_run_is_found_however_many_came_after_it(office: Office) -> None:
    id = uploaded(office)
    office.intake.receive(UPLOAD)
    office.requests._items.clear()
    for n in range(250):
        office.clock.advance(60)
        later = run_id(office.clock.time, str(n))
        office.runs.open(RunKind.SCORE, later, model="m")
        office.runs.advance(later, Stage.DONE)
    assert [run.id for run in office.runs.unfinished()] == [id]
    assert office.sweeper.sweep().asked == 1
    archived(office, 0, 0, 19)
    assert by_schedule(office) is None
    assert len(office.runs.latest()) == 251
    office.runs.advance(id, Stage.REFUSED, feedback={"0": 19})
    for n in range(250):
        office.clock.advance(60)
        office.runs.open(RunKind.SCORE, run_id(office.clock.time, str(n)), model="m")
    assert by_schedule(office) is None  # nothing is new since that run
    assert len(office.runs.latest(3)) == 3


def test_runs_whose_uploads_stayed_out_are_retried_as_one_new_run(office: Office) -> None:
    office.runs.open(RunKind.TRAIN, "a", model="m", source="ratings-in/a")
    with pytest.raises(BadInput, match="in work"):
        office.intake.retry(["a"], office.clock.time)
    office.runs.advance("a", Stage.REFUSED)
    office.runs.open(RunKind.TRAIN, "b", model="m", source="ratings-in/b")
    office.runs.advance("b", Stage.FAILED)
    id = office.intake.retry(["a", "b", "a"], office.clock.time)
    assert office.intake.retry(["a", "b"], office.clock.time) == id
    assert requested(office) == [id]
    office.runs.advance(id, Stage.REFUSED)
    office.clock.advance(1)
    again = office.runs.get(office.intake.retry([id], office.clock.time, anyway=True))
    assert (again.retries, again.anyway) == (["a", "b"], True)
    office.runs.advance(again.id, Stage.PROMOTED)
    with pytest.raises(BadInput, match="trained on anyway"):
        office.intake.retry([again.id], office.clock.time)
    office.runs.open(RunKind.TRAIN, "c", model="m")
    with pytest.raises(BadInput, match="upload"):
        office.intake.retry(["c"], office.clock.time)


def archived(office: Office, partition: int, first: int, through: int) -> None:
    name = f"feedback/ratings/{partition}/{first:020d}.parquet"
    office.blobs.create(name, b"", metadata={"through": str(through)})


def by_schedule(office: Office, min_events: int = 10) -> str | None:
    return retrain_on_feedback(
        office.blobs, office.runs, office.intake, office.clock,
        model="recommender", hub="ratings", min_events=min_events,
    )  # fmt: skip


def test_the_schedule_trains_when_enough_feedback_is_new(office: Office) -> None:
    archived(office, 0, 0, 4)
    assert by_schedule(office) is None
    archived(office, 1, 0, 4)
    id = by_schedule(office)
    assert id is not None
    assert requested(office) == [id]
    assert "10 new events" in office.runs.get(id).reason
    assert by_schedule(office) is None  # one is unfinished

    office.runs.advance(id, Stage.REFUSED, feedback={"0": 4, "1": 4})
    office.clock.advance(3600)
    archived(office, 1, 5, 13)
    assert by_schedule(office) is None
    archived(office, 0, 5, 5)
    assert by_schedule(office) is not None


def test_a_failed_run_does_not_count_as_having_taken_feedback_in(office: Office) -> None:
    archived(office, 0, 0, 19)
    first = by_schedule(office)
    assert first is not None
    office.runs.advance(first, Stage.FAILED, "no memory")
    office.clock.advance(3600)
    assert by_schedule(office) is not None


def triggers(office: Office):  # type: ignore[no-untyped-def]  # azure.functions has no public type for them
    app = func.FunctionApp()
    app.register_functions(
        pipeline(lambda: office.services, sweep_schedule="*/10 * * * * *", retrain_schedule="0 0 3 * * *")
    )
    return {each.get_function_name(): each for each in app.get_functions()}


def test_each_function_of_the_pipeline_has_its_trigger(office: Office) -> None:
    found = {name: each.get_trigger().get_dict_repr() for name, each in triggers(office).items()}
    assert found["receive_ratings"]["path"] == "ratings-in/{name}"
    assert found["receive_users"]["path"] == "recommend-in/{name}"
    assert found["receive_ratings"]["source"] == "EventGrid"
    assert found["recommend_shard"]["queueName"] == "recommend-shards"
    assert found["sweep_runs"]["runOnStartup"] is True
    assert found["retrain"]["schedule"] == "0 0 3 * * *"
    assert {found[name]["route"] for name in ("runs", "run")} == {"runs", "runs/{id}"}
    stored = ("receive_ratings", "receive_users", "recommend_shard")
    assert {found[name]["connection"] for name in stored} == {"DataStorage"}


def test_the_triggers_hand_over_to_the_handlers_and_answer_over_http(office: Office) -> None:
    found = triggers(office)
    id = uploaded(office)
    found["receive_ratings"].get_user_function()(func.blob.InputStream(data=b"", name=UPLOAD))  # type: ignore[attr-defined]
    assert requested(office) == [id]

    def get(name: str, **route: str) -> tuple[int, dict]:  # type: ignore[type-arg]  # any JSON object
        request = func.HttpRequest(method="GET", url="/api/x", params={}, route_params=route, body=b"")
        answer = found[name].get_user_function()(request)
        return answer.status_code, json.loads(answer.get_body())

    assert get("runs")[1]["runs"][0]["id"] == id
    assert get("run", id=id)[1]["source"] == UPLOAD
    assert get("run", id="\U0001f4a9'; --")[0] == 404
    archived(office, 0, 0, 19)
    found["sweep_runs"].get_user_function()(None)
    found["retrain"].get_user_function()(None)
    assert len(requested(office)) == 1  # the upload's run is unfinished


def test_a_shard_while_storage_is_away_comes_again(office: Office) -> None:
    office.blobs.create("recommend-in/u.csv", b"user\n1\n")
    office.batches.receive("recommend-in/u.csv")
    office.recommender.error = TryLater("the state store does not answer")
    message = func.QueueMessage(id="m", body=office.shards.bodies[0])
    with pytest.raises(TryLater):
        triggers(office)["recommend_shard"].get_user_function()(message)

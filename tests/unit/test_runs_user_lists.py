"""Lists of users: parsed, cut into shards, scored from a queue, joined; twice, at once, after crashes."""

import json

import pytest

from functions.runs.intake import upload_run
from functions.runs.userlists import MOST_USERS, parse_users
from models.contracts.runs import Stage
from models.errors import AlreadyExists, BadInput, ConfigurationError, Damaged, TryLater
from tests.unit.runs import Office

LIST = "recommend-in/users.jsonl"


@pytest.fixture
def office() -> Office:
    return Office()


def put(office: Office, data: bytes, name: str = LIST) -> str:
    return upload_run(office.blobs.create(name, data))


def output(office: Office, id: str) -> list[dict[str, object]]:
    run = office.runs.get(id)
    assert run.stage == Stage.DONE, run
    return [json.loads(line) for line in office.blobs.get(run.result).data.splitlines()]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "u.jsonl",
            '{"user": "a", "k": 3}\n\n"b"\n{"user": 17}\n8\n',
            [("a", 3), ("b", 10), ("17", 10), ("8", 10)],
        ),
        ("u", '{"user": "a"}', [("a", 10)]),
        ("u.csv", 'user,k\r\na,3\r\n"b, c",\r\n', [("a", 3), ("b, c", 10)]),
        ("u.csv", "name,user\nx,a\n", [("a", 10)]),
        ("u.txt", "a\n\n b \nπ\n", [("a", 10), ("b", 10), ("π", 10)]),
        ("u", "\ufeffuser\n1\n", [("1", 10)]),
    ],
)
def test_a_list_is_read_in_each_of_its_forms(name: str, text: str, expected: list[tuple[str, int]]) -> None:
    assert [(entry.user, entry.k) for entry in parse_users(name, text.encode())] == expected


def test_a_wrong_line_costs_itself_alone() -> None:
    text = '"good"\n{"k": 1}\n[]\n{"user": "a", "k": 0}\n{"user": "a", "k": 1000000}\n"a\\u0007"\n""\n{\n'
    entries = parse_users("u.jsonl", text.encode())
    assert [bool(entry.error) for entry in entries] == [False] + [True] * 7
    assert [entry.line for entry in entries] == list(range(1, 9))
    assert "between 1 and 1000" in entries[3].error
    csv = parse_users("u.csv", b"user,k\na,1\nb\n,3\nc,nan\nd,-1\n" + b"x" * 300 + b",1\n")
    assert [bool(entry.error) for entry in csv] == [False] + [True] * 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"<svg>\n<g>\n", "`user`"),
        (b"\x89PNG\r\n\x1a\n\x00", "UTF-8"),
        (b"item,rating\n1,2\n", "`user`"),
        (b"{]\n", "not one line"),
        (b"user\n" + b"1\n" * (MOST_USERS + 1), "at most"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_the_reason(office: Office, data: bytes, reason: str) -> None:
    id = put(office, data, "recommend-in/a/users")
    office.batches.receive("recommend-in/a/users")
    run = office.runs.get(id)
    assert run.stage == Stage.FAILED
    assert reason in run.reason
    assert run.result == f"recommend-out/a/users-{id}.error.json"
    assert reason in json.loads(office.blobs.get(run.result).data)["error"]
    assert office.shards.bodies == []


def test_every_user_gets_a_list_in_the_order_of_the_file(office: Office) -> None:
    office.recommender.refused = {"d"}
    id = put(office, b'"a"\n"b"\n{"user": "c", "k": 2}\n"d"\n{"user": "e", "k": 0}\n')
    office.batches.receive(LIST)
    assert [each.detail for each in office.runs.get(id).stages][-1] == "5 users in 3 shards"
    office.score_all()
    lines = output(office, id)
    assert [line["user"] for line in lines] == ["a", "b", "c", "d", "e"]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert [len(line.get("items", [])) for line in lines] == [10, 10, 2, 0, 0]  # type: ignore[arg-type]
    assert lines[0]["model_version"] == "v1"
    assert ["error" in line for line in lines] == [False, False, False, True, True]
    assert office.runs.get(id).reason == "5 users, 2 without an answer"
    assert list(office.blobs.list("recommend-work/")) == []


def test_what_is_wrong_with_one_user_costs_that_user_alone(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.recommender.faults = {"a": Damaged("profile of 'a' cannot be read"), "b": ValueError("a bug")}
    id = put(office, b'"a"\n"b"\n"c"\n')
    office.batches.receive(LIST)
    office.score_all()
    first, second, third = output(office, id)
    assert first["error"] == "profile of 'a' cannot be read"
    assert "internal" in str(second["error"])
    assert "a bug" in caplog.text
    assert len(third["items"]) == 10  # type: ignore[arg-type]  # a list
    assert office.runs.get(id).reason == "3 users, 2 without an answer"


def test_a_wrong_setting_is_no_fault_of_a_user(office: Office) -> None:
    put(office, b'"a"\n')
    office.batches.receive(LIST)
    office.recommender.error = ConfigurationError("settings: ...")
    with pytest.raises(ConfigurationError):
        office.score_all()


def test_double_delivery_of_everything_changes_nothing(office: Office) -> None:
    id = put(office, b'"a"\n"b"\n"c"\n')
    for _ in range(2):
        office.batches.receive(LIST)
    assert len(office.shards.bodies) == 2
    for _ in range(2):
        office.score_all()
    before = dict(office.blobs.blobs)
    assert len(output(office, id)) == 3
    office.score_all()
    office.batches.receive(LIST)
    assert office.blobs.blobs == before
    assert office.recommender.asked == ["a", "a", "b", "c"]  # the first to see whether a model is live


def test_a_second_upload_under_the_name_has_a_result_of_its_own(office: Office) -> None:
    first = put(office, b'"a"\n')
    office.batches.receive(LIST)
    office.score_all()
    office.clock.advance(1)
    second = upload_run(office.blobs.replace(LIST, b'"b"\n'))
    office.batches.receive(LIST)
    office.score_all()
    assert output(office, first)[0]["user"] == "a"
    assert output(office, second)[0]["user"] == "b"


def test_a_list_replaced_before_it_was_cut_says_so(office: Office) -> None:
    id = put(office, b'"a"\n')
    info = office.blobs.head(LIST)
    assert info is not None
    office.clock.advance(1)
    office.blobs.replace(LIST, b'"b"\n')
    office.batches.start(info)
    assert "newer upload" in office.runs.get(id).reason


def test_a_list_waits_until_a_recommender_is_live(office: Office) -> None:
    id = put(office, b'"a"\n')
    office.recommender.error = TryLater("no model is live")
    office.batches.receive(LIST)
    office.clock.advance(10)
    office.sweeper.sweep()
    assert (office.runs.get(id).stage, office.shards.bodies) == (Stage.RECEIVED, [])
    office.recommender.error = None
    office.sweeper.sweep()
    office.score_all()
    assert len(output(office, id)) == 1


def test_a_message_that_names_no_run_is_bad_input(office: Office) -> None:
    for body in (b"", b"{}", b'{"run": "x", "shard": 0}'):
        with pytest.raises(BadInput):
            office.batches.score(body)


def test_the_sweep_cuts_a_list_whose_event_or_process_was_lost(office: Office) -> None:
    id = put(office, b'"a"\n"b"\n"c"\n')
    office.clock.advance(6)
    assert office.sweeper.sweep().started == 1
    office.score_all()
    assert len(output(office, id)) == 3


def test_a_process_that_died_while_cutting_is_made_good(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    id = put(office, b'"a"\n"b"\n"c"\n')
    with monkeypatch.context() as broken:
        broken.setattr(office.shards, "send", lambda body: (_ for _ in ()).throw(TryLater("storage is away")))
        with pytest.raises(TryLater):
            office.batches.receive(LIST)
    assert office.runs.get(id).stage == Stage.SCORING
    sweeps = 0
    while not office.shards.bodies:
        office.clock.advance(10)
        office.sweeper.sweep()
        sweeps += 1
        assert sweeps < 10
    office.score_all()
    assert len(output(office, id)) == 3


def test_a_lost_shard_message_is_sent_again_and_only_that_one(office: Office) -> None:
    id = put(office, b'"a"\n"b"\n"c"\n')
    office.batches.receive(LIST)
    first, _lost = office.shards.bodies
    office.shards._items.clear()
    office.batches.score(first)
    for _ in range(2):
        assert office.sweeper.sweep().asked == 0
        office.clock.advance(25)
    assert office.sweeper.sweep().asked == 1
    office.score_all()
    assert len(output(office, id)) == 3


def test_a_process_that_died_before_joining_is_made_good(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    id = put(office, b'"a"\n')
    office.batches.receive(LIST)
    with monkeypatch.context() as broken:
        broken.setattr(office.batches, "join", lambda run: False)
        office.score_all()
    office.clock.advance(6)
    office.sweeper.sweep()
    assert len(output(office, id)) == 1


def test_what_a_finished_run_left_is_removed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    put(office, b'"a"\n')
    office.batches.receive(LIST)
    with monkeypatch.context() as broken:
        broken.setattr(office.batches, "clear", lambda id: None)
        office.score_all()
    assert list(office.blobs.list("recommend-work/"))
    office.sweeper.sweep()
    assert list(office.blobs.list("recommend-work/")) == []


def test_the_same_result_by_another_process_stands(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    id = put(office, b'"a"\n')
    office.batches.receive(LIST)
    real = office.blobs.create

    def create(name: str, data: bytes, **more: object):  # type: ignore[no-untyped-def]  # as the fake's
        real(name, data)
        raise AlreadyExists(name)

    monkeypatch.setattr(office.blobs, "create", create)
    office.score_all()
    assert len(output(office, id)) == 1

"""The triggers: what they bind to, and how they turn messages and errors into answers."""

import json

import azure.functions as func
import pytest

from functions.services import Services
from functions.telemetry import telemetry
from models.errors import BadInput, ConfigurationError, TryLater
from models.names import SCORE_QUEUE
from tests.fakes import FakeQueue, FakeSender
from tests.unit.telemetry import MINUTE_US, NoBank, Plant, ValueBank, Window, message_bytes


@pytest.fixture
def plant() -> Plant:
    return Plant()


def build(plant: Plant, model=None):
    """The app's functions by name, on fakes."""
    services = Services(
        blobs=plant.blobs,
        state=plant.state,
        train_queue=FakeQueue(plant.clock),
        clock=plant.clock,
        model=model or ValueBank(),
        folder=plant.folder,
        sweeper=plant.sweeper,
        train_min_windows=2,
        ratings=FakeSender(),
    )
    return services, functions_of(lambda: services)


def functions_of(services):
    app = func.FunctionApp()
    app.register_functions(telemetry(services, sweep_schedule="*/10 * * * * *", learn_schedule="0 * * * * *"))
    return {each.get_function_name(): each for each in app.get_functions()}


def message(body: bytes) -> func.QueueMessage:
    return func.QueueMessage(id="m1", body=body)


def get(function, **parameters: str) -> tuple[int, dict]:
    request = func.HttpRequest(method="GET", url="/api/x", params=parameters, body=b"")
    answer = function.get_user_function()(request)
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.get_body())


def score(plant: Plant, functions, seq: int, *windows: Window) -> None:
    plant.write_batch(seq, windows)
    functions["score_batch"].get_user_function()(message(message_bytes(seq)))


def test_each_function_has_its_trigger_and_all_storage_goes_by_one_connection(plant: Plant) -> None:
    _, functions = build(plant)
    triggers = {name: each.get_trigger().get_dict_repr() for name, each in functions.items()}
    assert set(triggers) == {"score_batch", "sweep_telemetry", "request_models", "alerts", "devices", "health"}
    assert triggers["score_batch"]["queueName"] == SCORE_QUEUE
    assert triggers["score_batch"]["connection"] == "DataStorage"
    assert triggers["sweep_telemetry"]["runOnStartup"] is True
    assert triggers["request_models"]["schedule"] == "0 * * * * *"
    assert str(triggers["health"]["authLevel"].value) == "anonymous"
    assert {triggers[name]["route"] for name in ("alerts", "devices", "health")} == {"alerts", "devices", "health"}


def test_a_message_is_scored_and_its_alert_can_be_asked_for(plant: Plant) -> None:
    _, functions = build(plant)
    score(plant, functions, 0, Window(0, "a", 2.0), Window(0, "b", 0.5))
    status, body = get(functions["alerts"])
    assert status == 200
    assert [(alert["device"], alert["start_us"], alert["status"]) for alert in body["alerts"]] == [("a", 0, "raised")]


def test_a_message_that_is_none_fails_with_a_clear_log_and_is_left_to_the_poison_queue(plant: Plant, caplog) -> None:
    _, functions = build(plant)
    with pytest.raises(BadInput):
        functions["score_batch"].get_user_function()(message(b"hello"))
    assert "bound for the poison queue: expected a BatchMessage, got b'hello'" in caplog.text


def test_a_message_that_came_too_early_fails_to_come_again(plant: Plant, caplog) -> None:
    _, functions = build(plant)
    with pytest.raises(TryLater):
        functions["score_batch"].get_user_function()(message(message_bytes(0)))
    assert "comes again" in caplog.text


def test_the_timers_sweep_and_ask_for_models(plant: Plant) -> None:
    services, functions = build(plant, NoBank())
    score(plant, functions, 0, Window(0, "a", 0.0), Window(1, "a", 0.0))
    plant.write_batch(1, [Window(2, "a", 0.0)])
    plant.clock.advance(60)
    functions["sweep_telemetry"].get_user_function()(None)
    functions["request_models"].get_user_function()(None)
    assert plant.queue.length() == 1
    assert services.train_queue.length() == 1


def test_timers_pass_over_a_storage_that_is_away(plant: Plant, caplog) -> None:
    services, functions = build(plant, NoBank())
    score(plant, functions, 0, Window(0, "a", 0.0), Window(1, "a", 0.0))

    def away(*_args) -> None:
        raise TryLater("nobody at the address")

    plant.blobs.list = services.train_queue.length = away
    functions["sweep_telemetry"].get_user_function()(None)
    functions["request_models"].get_user_function()(None)
    assert caplog.text.count("the next time: nobody at the address") == 2


class TestAlerts:
    @pytest.fixture
    def functions(self, plant: Plant):
        _, functions = build(plant)
        score(plant, functions, 0, *(Window(minute, "a", float(minute % 2) * 2) for minute in range(6)))
        score(plant, functions, 1, Window(8, "a", 0.0), Window(9, "a", 2.0), Window(9, "a/b", 2.0))
        return functions

    def test_come_newest_first_and_limited(self, functions) -> None:
        _, body = get(functions["alerts"], limit="3")
        assert [alert["start_us"] // MINUTE_US for alert in body["alerts"]] == [9, 9, 5]

    def test_are_found_by_device_sensor_and_status(self, functions) -> None:
        _, of_device = get(functions["alerts"], device="a")
        assert {alert["device"] for alert in of_device["alerts"]} == {"a"}
        _, raised = get(functions["alerts"], status="raised")
        assert {alert["device"] for alert in raised["alerts"]} == {"a", "a/b"}
        assert get(functions["alerts"], device="a/b", sensor="temp")[1]["alerts"] != []
        assert get(functions["alerts"], sensor="power")[1]["alerts"] == []

    @pytest.mark.parametrize(
        "bad",
        [
            *(
                {"limit": text}
                for text in ("0", "x", "", "-1", "1.5", "10001", "1000000", "9" * 5000, "٣", "²", "1\0")
            ),
            *({"status": text} for text in ("open", "", "RAISED", "raised\0", "raised " * 1000)),
            *({"device": text} for text in ("", "d" * 257)),
            *({"sensor": text} for text in ("", "s" * 100_000)),
        ],
        ids=lambda bad: f"{bad}"[:40].encode("unicode_escape").decode(),
    )
    def test_refuse_a_value_that_makes_no_sense_in_one_short_sentence(self, functions, bad) -> None:
        status, body = get(functions["alerts"], **bad)
        assert status == 400
        assert body["error"].startswith(f"{next(iter(bad))}: expected ")
        assert len(body["error"]) < 200

    @pytest.mark.parametrize("name", ["٣", "\0", "%", "'; --", "d" * 256, "\U0010ffff" * 256, "\udc80"])
    def test_of_a_name_that_no_device_has_are_none(self, functions, name) -> None:
        assert get(functions["alerts"], device=name) == (200, {"alerts": []})
        assert get(functions["alerts"], sensor=name) == (200, {"alerts": []})
        assert get(functions["devices"], device=name) == (200, {"total": 0, "series": []})


def test_devices_are_listed_with_their_last_window(plant: Plant) -> None:
    _, functions = build(plant)
    score(plant, functions, 0, Window(0, "b", 2.0), Window(0, "new", 0.0), Window(1, "b", 3.0))
    status, body = get(functions["devices"])
    assert status == 200
    assert body["total"] == 2
    b, new = body["series"]
    assert b == {
        "device": "b",
        "sensor": "temp",
        "last_us": MINUTE_US,
        "windows": 2,
        "status": "scored",
        "score": 3.0,
        "alerting": True,
    }
    assert (new["status"], new["score"], new["alerting"]) == ("learning", None, False)
    assert get(functions["devices"], device="new", limit="1")[1]["total"] == 1
    assert get(functions["devices"], limit="9" * 5000)[0] == 400
    assert get(functions["devices"], device="d" * 257)[0] == 400


def test_health_names_the_live_model(plant: Plant) -> None:
    _, functions = build(plant)
    assert get(functions["health"]) == (
        200,
        {"ok": True, "checks": {"storage": "ok", "state": "ok", "model": "ok"}, "model": "v1"},
    )
    _, functions = build(plant, NoBank())
    assert get(functions["health"])[1]["model"] is None


def test_health_says_what_does_not_answer(plant: Plant) -> None:
    _, functions = build(plant)

    def away(_name: str) -> None:
        raise TryLater("nobody at the address")

    plant.blobs.head = away
    status, body = get(functions["health"])
    assert status == 503
    assert body["checks"] == {"storage": "nobody at the address", "state": "ok", "model": "ok"}


@pytest.mark.parametrize(
    ("error", "status"), [(TryLater("busy", retry_after_s=3), 503), (ConfigurationError("set DataStorage"), 500)]
)
def test_our_errors_become_the_status_that_tells_what_to_do(error: Exception, status: int) -> None:
    def failing():
        raise error

    functions = functions_of(failing)
    for name in ("alerts", "devices", "health"):
        assert get(functions[name]) == (status, {"error": str(error)})

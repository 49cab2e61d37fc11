"""Running one function: arguments, outputs, and the failures that come only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest
from azure.functions.meta import Datum

from infra.local.functions_host import timer_listener
from infra.local.functions_host.bindings import Binding, Parameter
from infra.local.functions_host.http_front import http_response
from infra.local.functions_host.invocation import Invoker, Outcome, Trigger
from infra.local.functions_host.queue_trigger import by_hand
from infra.local.functions_host.retries import invoke_with_retries
from tests.unit.functions_host.conftest import Index


class RecordingBindings:
    """Stands for storage: remembers writes, refuses them on demand, serves one blob."""

    def __init__(self) -> None:
        self.written: list[tuple[str, object]] = []
        self.failure: Exception | None = None

    async def read(self, parameter: Parameter, values: Mapping[str, str]) -> Datum | None:
        return Datum(b"content", "bytes") if values.get("id") != "none" else None

    async def write(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        if self.failure:
            raise self.failure
        self.written.append((binding.name, datum.value))


@pytest.fixture
def storage() -> RecordingBindings:
    return RecordingBindings()


@pytest.fixture
async def invoker(storage: RecordingBindings) -> AsyncIterator[Invoker]:
    ended: list[str] = []
    runner = Invoker(storage, "/app", threads=2, timeout=timedelta(seconds=5), on_timeout=ended.append)
    yield runner
    runner.close()
    assert ended == []


QUEUE = '@app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")\n'
OUTPUT = '@app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")\n'


async def _run(invoker: Invoker, index: Index, body: str, text: str = "hello") -> Outcome:
    (function,) = index(body)
    trigger = by_hand(function, text) if function.trigger.binding.type == "queueTrigger" else http_request()
    return await invoker.invoke(function, trigger)


def http_request() -> Trigger:
    empty: dict[str, Datum] = {}
    return Trigger(
        Datum(
            {
                "method": Datum("GET", "string"),
                "url": Datum("http://x/api", "string"),
                "headers": empty,
                "query": empty,
                "params": {"id": Datum("7", "string")},
                "body": Datum(b"", "bytes"),
            },
            "http",
        )
    )


async def test_a_value_returned_without_a_return_binding_fails_the_invocation(invoker: Invoker, index: Index) -> None:
    outcome = await _run(invoker, index, QUEUE + "def f(m: func.QueueMessage): return 'x'\n")
    assert isinstance(outcome.error, RuntimeError)
    assert "without a $return binding" in str(outcome.error)


async def test_a_dict_for_an_http_response_fails_the_invocation(invoker: Invoker, index: Index) -> None:
    outcome = await _run(
        invoker,
        index,
        '@app.route(route="x")\ndef f(req: func.HttpRequest) -> func.HttpResponse: return {"a": 1}\n',
    )
    assert isinstance(outcome.error, TypeError)
    assert "unable to encode outgoing TypedData" in str(outcome.error)


@pytest.mark.parametrize("raised", ["SystemExit(1)", "StopIteration", "KeyError('x')"])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_whatever_a_function_raises_only_its_invocation_fails(
    invoker: Invoker, index: Index, raised: str, kind: str
) -> None:
    outcome = await _run(invoker, index, QUEUE + f"{kind} f(m: str) -> None: raise {raised}\n")
    assert not outcome.ok


async def test_outputs_are_written_after_the_function_returned(
    invoker: Invoker, index: Index, storage: RecordingBindings
) -> None:
    body = QUEUE + OUTPUT + "def f(m: func.QueueMessage, o: func.Out[str]) -> None: o.set(m.get_body().decode())\n"
    assert (await _run(invoker, index, body)).ok
    assert storage.written == [("o", "hello")]


async def test_a_function_that_fails_writes_no_output(
    invoker: Invoker, index: Index, storage: RecordingBindings
) -> None:
    body = QUEUE + OUTPUT + "def f(m: str, o: func.Out[str]) -> None:\n    o.set(m)\n    raise ValueError('no')\n"
    outcome = await _run(invoker, index, body)
    assert isinstance(outcome.error, ValueError)
    assert storage.written == []


async def test_an_output_that_cannot_be_written_fails_the_invocation(
    invoker: Invoker, index: Index, storage: RecordingBindings
) -> None:
    storage.failure = OSError("storage is away")
    body = QUEUE + OUTPUT + "def f(m: str, o: func.Out[str]) -> None: o.set(m)\n"
    assert (await _run(invoker, index, body)).error is storage.failure


async def test_queue_metadata_reaches_the_function_with_the_types_of_the_library(
    invoker: Invoker, index: Index, storage: RecordingBindings
) -> None:
    body = (
        QUEUE + OUTPUT + "def f(m: func.QueueMessage, o: func.Out[str]) -> None:\n"
        "    o.set(f'{m.dequeue_count + 1} {m.insertion_time.year > 2000} {m.get_json()[\"a\"]}')\n"
    )
    assert (await _run(invoker, index, body, '{"a": 5}')).ok
    assert storage.written == [("o", "2 True 5")]


async def test_an_async_function_gets_its_context(invoker: Invoker, index: Index, storage: RecordingBindings) -> None:
    body = (
        QUEUE + OUTPUT + "async def f(m: str, o: func.Out[str], context: func.Context) -> None:\n"
        "    o.set(f'{context.function_name} {len(context.invocation_id)} {context.retry_context.retry_count}')\n"
    )
    assert (await _run(invoker, index, body)).ok
    assert storage.written == [("o", "f 36 0")]


async def test_a_text_returned_over_http_is_a_200(invoker: Invoker, index: Index) -> None:
    body = '@app.route(route="x")\ndef f(req: func.HttpRequest) -> str: return req.route_params["id"]\n'
    outcome = await _run(invoker, index, body)
    response = http_response(outcome.http)
    assert (response.status_code, response.body) == (200, b"7")


async def test_a_response_keeps_status_headers_and_cookies(invoker: Invoker, index: Index) -> None:
    body = (
        '@app.route(route="x")\ndef f(req: func.HttpRequest) -> func.HttpResponse:\n'
        '    r = func.HttpResponse(b"{}", status_code=418, mimetype="application/json", headers={"X-A": "1"})\n'
        '    r.headers.add("Set-Cookie", "k=v; Path=/")\n'
        '    r.headers.add("Set-Cookie", "l=w")\n'
        "    return r\n"
    )
    outcome = await _run(invoker, index, body)
    response = http_response(outcome.http)
    assert response.status_code == 418
    assert response.headers["x-a"] == "1"
    assert response.headers["content-type"] == "application/json"
    assert response.headers.getlist("set-cookie") == ["k=v; Path=/", "l=w"]


async def test_a_retry_policy_runs_the_function_again_and_counts(invoker: Invoker, index: Index) -> None:
    (function,) = index(
        """
        seen = []
        @app.timer_trigger(arg_name="t", schedule="0 0 0 * * *")
        @app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:00.01")
        def f(t: func.TimerRequest, context: func.Context) -> None:
            seen.append((context.retry_context.retry_count, context.retry_context.exception.message))
            if len(seen) < 3:
                raise ValueError(f"try {len(seen)}")
        """
    )
    outcome = await invoke_with_retries(invoker, function, timer_listener.by_hand(), asyncio.Event())
    assert outcome.ok
    assert function.call.__globals__["seen"] == [(0, ""), (1, "ValueError: try 1"), (2, "ValueError: try 2")]

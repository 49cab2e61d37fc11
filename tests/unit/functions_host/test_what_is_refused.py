"""Row by row: what the real Python worker refuses, and what it accepts."""

from __future__ import annotations

import pytest

from infra.local.functions_host.errors import AppRefused
from tests.unit.functions_host.conftest import PRELUDE, Index

GOOD_QUEUE = """
@app.queue_trigger(arg_name="good", queue_name="q", connection="AzureWebJobsStorage")
def good_one(good: func.QueueMessage) -> None: ...
"""

REFUSED = {
    "a PEP 585 list of events": (
        """
        @app.blob_trigger(arg_name="b", path="c/{name}", connection="AzureWebJobsStorage")
        def f(b: list[func.InputStream]) -> None: ...
        """,
        "invalid non-type annotation",
    ),
    "a PEP 585 list inside Out": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, o: func.Out[list[str]]) -> None: ...
        """,
        "invalid non-type annotation",
    ),
    "a union": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage | None) -> None: ...
        """,
        "invalid non-type annotation",
    ),
    "an arg_name that is no parameter": (
        """
        @app.queue_trigger(arg_name="message", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage) -> None: ...
        """,
        "parameters in no binding: m",
    ),
    "a parameter in no binding": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, extra: str) -> None: ...
        """,
        "parameters in no binding: extra",
    ),
    "a binding without a parameter": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage) -> None: ...
        """,
        "bindings whose arg_name is no parameter: o",
    ),
    "an output that is not Out": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, o: str) -> None: ...
        """,
        "has to be annotated func.Out",
    ),
    "a trigger that is Out": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.Out[str]) -> None: ...
        """,
        "must not be annotated func.Out",
    ),
    "a type of another trigger": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.HttpRequest) -> None: ...
        """,
        "does not match its binding",
    ),
    "a response type that HTTP cannot carry": (
        """
        @app.route(route="x")
        def f(req: func.HttpRequest) -> dict: ...
        """,
        "does not match its binding",
    ),
    "a context of another type": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, context: str) -> None: ...
        """,
        "azure.functions.Context",
    ),
    "an annotation that does not exist": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: "func.NoSuchType") -> None: ...
        """,
        "annotations cannot be read",
    ),
    "two functions of one name": (
        """
        @app.function_name("twin")
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage) -> None: ...
        @app.function_name("twin")
        @app.queue_trigger(arg_name="m", queue_name="p", connection="AzureWebJobsStorage")
        def g(m: func.QueueMessage) -> None: ...
        """,
        "twin is the name of 2 functions",
    ),
    "two function apps": ("other = func.FunctionApp()\n", "more than one top-level function app: app, other"),
    "an import error": ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
    "a module that exits": ("raise SystemExit(1)\n", "cannot be imported"),
    "a syntax error": ("def broken(:\n", "SyntaxError"),
    "a trigger this host does not run": (
        """
        @app.event_hub_message_trigger(arg_name="e", event_hub_name="h", connection="EventHub")
        def f(e: func.EventHubEvent) -> None: ...
        """,
        "eventHubTrigger (in), which this host does not run",
    ),
    "an output this host does not write": (
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.generic_output_binding(arg_name="o", type="sendGrid")
        def f(m: func.QueueMessage, o: func.Out[str]) -> None: ...
        """,
        "sendGrid (out), which this host does not run",
    ),
    "no function at all": ("", "defines no function"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_app_is_refused_for(index: Index, body: str, reason: str) -> None:
    with pytest.raises(AppRefused, match="refused") as caught:
        index(body)
    assert reason in str(caught.value)


def test_a_folder_without_an_app_object_is_refused(index: Index) -> None:
    with pytest.raises(AppRefused, match="no top-level function app"):
        index("", prelude="")


def test_one_bad_function_takes_the_good_ones_down_and_is_named_with_its_place(index: Index) -> None:
    with pytest.raises(AppRefused) as caught:
        index(
            GOOD_QUEUE
            + """
@app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
def bad_one(n: func.QueueMessage) -> None: ...
@app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
def bad_two(m: list[str]) -> None: ...
"""
        )
    assert [problem.split(" ")[0] for problem in caught.value.problems] == ["bad_one", "bad_two"]
    assert "(function_app.py:" in caught.value.problems[0]


def test_a_name_doubled_across_a_blueprint_is_refused_together_with_other_faults(index: Index) -> None:
    with pytest.raises(AppRefused) as caught:
        index(
            """
            from pages_of_test import bp
            app.register_functions(bp)
            @app.route(route="one")
            def page(req: func.HttpRequest) -> func.HttpResponse: ...
            @app.route(route="two")
            def wrong(request: func.HttpRequest) -> func.HttpResponse: ...
            """,
            pages_of_test="""
            import azure.functions as func
            bp = func.Blueprint()
            @bp.route(route="three")
            def page(req: func.HttpRequest) -> func.HttpResponse: ...
            """,
        )
    text = str(caught.value)
    assert "page is the name of 2 functions: pages_of_test.py:" in text
    assert "wrong (function_app.py:" in text


def test_an_import_error_in_a_blueprint_shows_the_line_that_failed(index: Index) -> None:
    with pytest.raises(AppRefused, match="cannot be imported") as caught:
        index("from blue_of_test import bp\n", blue_of_test="import no_such_module_anywhere\n")
    assert "blue_of_test.py" in str(caught.value)


ACCEPTED = {
    "postponed annotations": (
        "from __future__ import annotations\n" + PRELUDE,
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, o: func.Out[typing.List[str]], context: func.Context) -> None: ...
        """,
    ),
    "no annotations": (
        None,
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m, context): ...
        """,
    ),
    "str for a queue message": (
        None,
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        def f(m: str) -> None: ...
        """,
    ),
    "bytes for a blob": (
        None,
        """
        @app.blob_trigger(arg_name="b", path="c/{name}", connection="AzureWebJobsStorage")
        def f(b: bytes) -> None: ...
        """,
    ),
    "an async timer with retries": (
        None,
        """
        @app.timer_trigger(arg_name="t", schedule="0 */5 * * * *")
        @app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:01")
        async def f(t: func.TimerRequest) -> None: ...
        """,
    ),
}


@pytest.mark.parametrize(("prelude", "body"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_app_is_accepted_with(index: Index, prelude: str | None, body: str) -> None:
    functions = index(body, **({"prelude": prelude} if prelude else {}))
    assert [function.name for function in functions] == ["f"]


def test_the_trigger_is_found_among_outputs_and_inputs(index: Index) -> None:
    (function,) = index(
        """
        @app.queue_trigger(arg_name="m", queue_name="q", connection="AzureWebJobsStorage")
        @app.queue_output(arg_name="o", queue_name="p", connection="AzureWebJobsStorage")
        @app.blob_input(arg_name="i", path="c/x", connection="AzureWebJobsStorage")
        def f(m: func.QueueMessage, o: func.Out[str], i: func.InputStream) -> None: ...
        """
    )
    assert function.trigger.binding.name == "m"
    assert [parameter.binding.name for parameter in function.outputs] == ["o"]
    assert [parameter.binding.name for parameter in function.inputs] == ["i"]

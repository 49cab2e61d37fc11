"""HTTP functions and the admin endpoints of a running host."""

from __future__ import annotations

import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from infra.local.azurite import RunningAzurite
from tests.integration.functions_host.conftest import StartHost, eventually

pytestmark = pytest.mark.integration

APP = """
@app.route(route="items/{id:int}/{part?}", methods=["GET", "POST"])
def items(req: func.HttpRequest) -> func.HttpResponse:
    import json
    return func.HttpResponse(json.dumps({
        "route": dict(req.route_params), "query": dict(req.params), "headers": dict(req.headers),
        "body": req.get_body().decode(), "method": req.method,
    }), mimetype="application/json")

@app.route(route="open", auth_level=func.AuthLevel.ANONYMOUS)
def open_page(req: func.HttpRequest) -> str:
    return "welcome"

@app.route(route="locked", auth_level=func.AuthLevel.ADMIN)
def locked(req: func.HttpRequest) -> str:
    return "in"

@app.route(route="fails", auth_level=func.AuthLevel.ANONYMOUS)
def fails(req: func.HttpRequest) -> str:
    raise ValueError("a secret detail")

@app.route(route="slow", auth_level=func.AuthLevel.ANONYMOUS)
async def slow(req: func.HttpRequest) -> str:
    await asyncio.sleep(1)
    return "done"

@app.timer_trigger(arg_name="t", schedule="0 0 0 1 1 *")
def yearly(t: func.TimerRequest) -> None:
    note(f"yearly {t.past_due}")
"""


def test_routes_keys_limits_and_admin(azurite: RunningAzurite, start_host: StartHost) -> None:
    host = start_host(
        azurite.connection_string,
        APP,
        {
            "version": "2.0",
            "extensions": {"http": {"maxConcurrentRequests": 1, "maxOutstandingRequests": 2}},
        },
    )
    keys = host.keys
    key = keys["functions"]["items"]["default"]
    with httpx.Client(base_url=host.url) as web:
        answer = web.post("/api/items/7?a=1&empty=&code=" + key, content=b"zz", headers={"X-Mixed": "Case"})
        content = answer.json()
        assert content["route"] == {"id": "7"}
        assert content["query"] == {"a": "1", "code": key}
        assert (content["headers"]["x-mixed"], content["body"], content["method"]) == ("Case", "zz", "POST")
        assert web.get("/API/Items/7/wheel", headers={"x-functions-key": key}).json()["route"]["part"] == "wheel"

        # The header comes first: a wrong one is not saved by a good query.
        assert web.get(f"/api/items/7?code={key}", headers={"x-functions-key": "wrong"}).status_code == 401
        assert web.get("/api/items/7").status_code == 401
        other = keys["functions"]["locked"]["default"]
        assert web.get(f"/api/items/7?code={other}").status_code == 401
        assert web.get(f"/api/locked?code={keys['functionKeys']['default']}").status_code == 401
        assert web.get(f"/api/locked?code={keys['masterKey']}").text == "in"
        assert web.get("/api/open").text == "welcome"

        assert web.get("/api/items/seven").status_code == 404
        assert web.delete("/api/items/7").status_code == 404
        assert web.get("/api/nothing").status_code == 404

        failed = web.get("/api/fails")
        assert (failed.status_code, failed.content) == (500, b"")

        assert web.get("/admin/functions").status_code == 401
        assert web.get(f"/admin/functions?code={key}").status_code == 401
        assert web.get("/admin/host/ping").status_code == 200

    listed = host.admin("GET", "functions").json()
    assert [each["name"] for each in listed] == host.ready["functions"]
    assert listed[0]["config"]["bindings"][0]["type"] == "httpTrigger"
    assert host.admin("GET", "host/status").json()["state"] == "Running"
    assert host.admin("POST", "functions/yearly", json={"input": ""}).status_code == 202
    eventually(lambda: host.notes() == ["yearly False"])
    assert host.admin("POST", "functions/open_page", json={}).status_code == 400
    assert host.admin("POST", "functions/none", json={}).status_code == 404

    with ThreadPoolExecutor(5) as pool:
        codes = sorted(pool.map(lambda _: httpx.get(f"{host.url}/api/slow", timeout=9).status_code, range(5)))
    assert codes == [200, 200, 429, 429, 429]

    assert host.admin("GET", "host/drain/status").json()["state"] == "Disabled"
    assert host.admin("POST", "host/drain").status_code == 202
    assert host.admin("GET", "host/drain/status").json()["state"] == "Completed"
    assert httpx.get(f"{host.url}/api/open").text == "welcome"

    log = host.log()
    assert '"path": "/api/items/7"' in log
    for secret in (key, other, keys["masterKey"], "code="):
        assert secret not in log
    assert stat.S_IMODE((host.app_dir / ".functions_host" / "keys.json").stat().st_mode) == 0o600
    assert host.stop() == 0


def test_no_auth_opens_everything(azurite: RunningAzurite, start_host: StartHost) -> None:
    host = start_host(azurite.connection_string, APP, options=("--no-auth",))
    assert httpx.get(f"{host.url}/api/locked").text == "in"
    assert httpx.get(f"{host.url}/admin/host/status").status_code == 200
    assert not (host.app_dir / ".functions_host").exists()


def test_a_function_disabled_by_a_setting_is_listed_and_not_served(
    azurite: RunningAzurite, start_host: StartHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureWebJobs.open_page.Disabled", "true")
    host = start_host(azurite.connection_string, APP)
    assert httpx.get(f"{host.url}/api/open").status_code == 404
    assert httpx.get(f"{host.url}/api/fails").status_code == 500
    assert host.admin("GET", "functions/open_page").json()["isDisabled"] is True


def test_a_request_in_flight_is_answered_when_the_host_stops(azurite: RunningAzurite, start_host: StartHost) -> None:
    host = start_host(azurite.connection_string, APP)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, f"{host.url}/api/slow", timeout=9)
        eventually(lambda: host.admin("GET", "host/status").json()["inFlight"] == 1)
        assert host.stop() == 0
        assert answer.result().text == "done"


def test_an_app_that_azure_refuses_ends_the_host_with_every_problem_named(
    azurite: RunningAzurite, start_host: StartHost
) -> None:
    host = start_host(
        azurite.connection_string,
        """
        @app.route(route="a")
        def one(request: func.HttpRequest) -> str: return ""
        @app.route(route="b")
        def two(req: func.HttpRequest) -> list[str]: return []
        """,
    )
    assert host.ready == {}
    assert host.wait() == 3
    assert "one (function_app.py:" in host.log()
    assert "two (function_app.py:" in host.log()


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ('@app.timer_trigger(arg_name="t", schedule="* * *")', "f: expected six fields"),
        ('@app.queue_trigger(arg_name="t", queue_name="q", connection="Nope")', "f: the connection Nope is not set"),
        (
            '@app.queue_trigger(arg_name="t", queue_name="%NOPE%", connection="AzureWebJobsStorage")',
            "f: the app setting NOPE",
        ),
    ],
)
def test_an_app_whose_settings_are_wrong_ends_the_host_with_code_2(
    azurite: RunningAzurite, start_host: StartHost, trigger: str, reason: str
) -> None:
    host = start_host(azurite.connection_string, f"{trigger}\ndef f(t) -> None: ...\n")
    assert host.wait() == 2
    assert reason in host.log()


def test_a_port_in_use_ends_the_host_with_code_5(azurite: RunningAzurite, start_host: StartHost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        host = start_host(azurite.connection_string, APP, options=("--port", str(port)))
        assert host.wait() == 5
    assert f"cannot listen on 127.0.0.1:{port}" in host.log()

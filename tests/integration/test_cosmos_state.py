"""CosmosState on an account that throttles, refuses, or is away; the contract suite has the rest."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.state.cosmos import CosmosState, connect
from models.errors import ConfigurationError, TryLater
from models.ports import Put
from tests.cosmosdb import KEY

pytestmark = pytest.mark.integration


class Account(ThreadingHTTPServer):
    """Answers as an account does that takes no document requests: each gets `status`."""

    def __init__(self) -> None:
        self.status, self.refused = 429, 0
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Account

    def do_GET(self) -> None:
        places = [{"name": "here", "databaseAccountEndpoint": self.server.endpoint}]
        known = {
            "/": {"writableLocations": places, "readableLocations": places, "userConsistencyPolicy": {}},
            "/dbs/penstock": {"id": "penstock", "_rid": "AAAA"},
            "/dbs/penstock/colls/box": {
                "id": "box",
                "_rid": "AAAAAA==",
                "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2},
            },
        }
        path = self.path.rstrip("/") or "/"
        if path in known:
            self._answer(200, known[path])
        else:
            self._refuse()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._refuse()

    def _refuse(self) -> None:
        self.server.refused += 1
        self._answer(self.server.status, {"code": str(self.server.status), "message": "no"})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-ms-retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def account() -> Iterator[Account]:
    with Account() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def state(account: Account) -> Iterator[CosmosState]:
    store = CosmosState(connect(account.endpoint, KEY), "penstock")
    yield store
    store.close()


def test_a_throttled_request_is_repeated_as_often_as_the_sdk_does_and_then_try_later(
    account: Account, state: CosmosState
) -> None:
    for attempt in (lambda: state.get("box", "p", "a"), lambda: state.transact("box", "p", [Put("a", b"{}")])):
        account.refused = 0
        with pytest.raises(TryLater) as raised:
            attempt()
        assert account.refused == 10
        assert raised.value.retry_after_s == pytest.approx(0.1)


def test_a_write_whose_fate_is_unknown_is_not_repeated(account: Account, state: CosmosState) -> None:
    account.status = 500
    with pytest.raises(TryLater):
        state.transact("box", "p", [Put("a", b"{}", etag="")])
    assert account.refused == 1


def test_a_refused_key_is_a_configuration_error(account: Account, state: CosmosState) -> None:
    account.status = 401
    with pytest.raises(ConfigurationError, match="key"):
        state.get("box", "p", "a")


def test_an_account_that_is_away_is_try_later_again_and_again() -> None:
    nobody = CosmosState(connect("http://127.0.0.1:9", KEY), "penstock")
    for _ in range(2):
        with pytest.raises(TryLater):
            nobody.get("box", "p", "a")

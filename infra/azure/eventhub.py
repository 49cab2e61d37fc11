"""EventSender over AMQP with `azure-eventhub`: to the local hub and to Event Hubs.

The SDK is imported when the first event is sent: the function app must not pay for it at start.
"""

import contextlib
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from infra.azure.errors import first_line
from infra.azure.identity import identity
from models.errors import BadInput, ConfigurationError, PenstockError, TryLater

if TYPE_CHECKING:
    from azure.eventhub import EventHubProducerClient

# An acknowledgement takes as long as the hub's flush, and a connection waits for one at a time.
_LANES: Final = 4
_ATTEMPT_S: Final = 4.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
# Beyond its time a lane that still works says what is wrong; one that hangs says nothing.
_GRACE_S: Final = 1.0
_MOST_STUCK: Final = 8
# Conditions by the name that AMQP gives to them, without the part before the colon.
_TOO_LARGE: Final = "link:message-size-exceeded"
_MISSING: Final = "not-found"


def connect(hub: str, *, connection: str | None, namespace: str | None) -> Callable[[], "EventHubProducerClient"]:
    """What makes a client of `hub`, by connection string or by the process's identity in a namespace.

    `namespace` is a host such as `my-namespace.servicebus.windows.net` and wins over the connection string.
    """

    def client() -> "EventHubProducerClient":
        from azure.eventhub import EventHubProducerClient

        # No retries inside: the sender has one budget for all of them.
        if namespace:
            return EventHubProducerClient(
                namespace, eventhub_name=hub, credential=identity(), retry_total=0, auth_timeout=_ATTEMPT_S
            )
        try:
            return EventHubProducerClient.from_connection_string(
                connection or "", eventhub_name=hub, retry_total=0, auth_timeout=_ATTEMPT_S
            )
        except ValueError as error:
            raise ConfigurationError(f"hub {hub}: the AMQP connection string is wrong: {error}") from error

    return client


class EventHubSender:
    """An EventSender to one hub; the key is the partition key. Safe to share between threads.

    A send is tried for `timeout_s`, on new connections where one fails, so an event whose acknowledgement was lost
    may be stored twice; it returns a second later at the latest. Connections are opened on first use (some 0.5 s)
    and kept.
    """

    def __init__(self, hub: str, client: Callable[[], "EventHubProducerClient"], *, timeout_s: float = 5.0) -> None:
        self._hub = hub
        self._make_client = client
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}
        self._stuck: list[_Lane] = []

    def send(self, key: str, body: bytes) -> None:
        """Append an event; it is in the log for good when this returns. Raises BadInput if it is too large."""
        sending = _Sending(key, body, time.monotonic() + self._timeout_s)
        number = zlib.crc32(key.encode()) % _LANES
        lane = self._lane(number)
        lane.queue.put(sending)
        try:
            sending.done.result(self._timeout_s + _GRACE_S)
        except TimeoutError:
            # The SDK waits without end for a peer that accepts a connection and then says nothing.
            self._abandon(number, lane)
            raise TryLater(f"hub {self._hub}: no answer within {self._timeout_s + _GRACE_S:g} s") from None

    def close(self) -> None:
        """Close the connections when what was handed over is sent."""
        with self._lock:
            lanes, self._lanes = [*self._lanes.values(), *self._stuck], {}
        for lane in lanes:
            lane.queue.put(None)
            lane.join(self._timeout_s)

    def _lane(self, number: int) -> "_Lane":
        with self._lock:
            lane = self._lanes.get(number)
            if lane is None:
                self._stuck = [each for each in self._stuck if each.is_alive()]
                if len(self._stuck) >= _MOST_STUCK:
                    raise TryLater(f"hub {self._hub}: {len(self._stuck)} connections wait for an answer")
                # All that are missing: only the very first event waits for a connection.
                for each in set(range(_LANES)) - set(self._lanes):
                    self._lanes[each] = _Lane(self._hub, self._make_client)
                    self._lanes[each].start()
                lane = self._lanes[number]
            return lane

    def _abandon(self, number: int, lane: "_Lane") -> None:
        with self._lock:
            if self._lanes.get(number) is lane:
                del self._lanes[number]
                self._stuck.append(lane)
                lane.queue.put(None)


@dataclass(frozen=True, slots=True)
class _Sending:
    """An event on its way. `until`: when its sender has given up (monotonic seconds)."""

    key: str
    body: bytes
    until: float
    done: "Future[None]" = field(default_factory=Future)


class _Lane(threading.Thread):
    """One connection, and the thread that uses it; keys keep to their lane, so their events keep their order."""

    def __init__(self, hub: str, make_client: Callable[[], "EventHubProducerClient"]) -> None:
        super().__init__(name=f"hub {hub}", daemon=True)
        self.queue: SimpleQueue[_Sending | None] = SimpleQueue()
        self._hub = hub
        self._make_client = make_client
        self._client: EventHubProducerClient | None = None

    def run(self) -> None:
        """Connect, then send what is queued until None comes."""
        with contextlib.suppress(Exception):  # the first event will say what is wrong
            self._client = self._make_client()
            self._client.create_batch()
        while (sending := self.queue.get()) is not None:
            try:
                self._send(sending)
                sending.done.set_result(None)
            except Exception as error:  # passed on to whoever waits
                sending.done.set_exception(error)
        self._disconnect()

    def _send(self, sending: _Sending) -> None:
        from azure.eventhub import EventData
        from azure.eventhub.exceptions import EventHubError

        pause_s = _FIRST_PAUSE_S
        while (left_s := sending.until - time.monotonic()) > 0:
            try:
                if self._client is None:
                    self._client = self._make_client()
                self._client.send_event(
                    EventData(sending.body), partition_key=sending.key, timeout=min(left_s, _ATTEMPT_S)
                )
                return
            except (EventHubError, OSError) as error:
                ours = translate(error, self._hub, len(sending.body))
                if not isinstance(ours, TryLater) or time.monotonic() + pause_s > sending.until:
                    raise ours from error
                self._disconnect()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise TryLater(f"hub {self._hub}: events wait longer than their senders")

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # it is of no use any more, whatever it says
                client.close()


def translate(error: Exception, hub: str, size: int) -> PenstockError:
    """Our error for one of the SDK's; `size` is that of the event, in bytes. A class unknown to it is TryLater."""
    from azure.eventhub.exceptions import AuthenticationError, EventDataError

    condition = getattr(error, "error", None)
    if condition == _TOO_LARGE or isinstance(error, EventDataError):
        return BadInput(f"event: expected at most as many bytes as hub {hub} takes in one message, got {size}")
    if isinstance(error, AuthenticationError):
        return ConfigurationError(f"hub {hub}: the key or identity is refused: {first_line(error)}")
    if condition == _MISSING:
        return ConfigurationError(f"hub {hub} does not exist in this namespace: {first_line(error)}")
    return TryLater(f"hub {hub}: {first_line(error)} ({type(error).__name__})")

"""A load generator for one HTTP server: many users on connections of their own, each asking when it has its answer.

One thread and epoll, some 30 microseconds a request, so that it leaves a machine of two cores to the server.
"""

import re
import select
import socket
import time
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Outcome:
    """Latencies in seconds, and how often each status came; bodies of the first answers."""

    latency_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latency_s) / self.seconds


def get(path: str, key: str) -> bytes:
    """A GET request as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-functions-key: {key}\r\n\r\n".encode()


class _User:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.asked = 0.0

    def ask(self, request: bytes) -> None:
        self.asked = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body once they are whole."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self.buffer, 0, end)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self.buffer) < whole:
            return None
        status, body = int(self.buffer[9:12]), self.buffer[end + 4 : whole]
        self.buffer = self.buffer[whole:]
        return status, body


def load(port: int, requests: list[bytes], *, users: int, seconds: float, keep: int = 0) -> Outcome:
    """`users` at once go through `requests`, each from a place of its own, for `seconds`; `keep` bodies are kept."""
    outcome = Outcome()
    crowd = [_User(port) for _ in range(users)]
    poll = select.epoll()
    by_number = {}
    for user in crowd:
        poll.register(user.socket, select.EPOLLIN)
        by_number[user.socket.fileno()] = user
    turn = 0
    started = time.perf_counter()
    try:
        for user in crowd:
            user.ask(requests[turn % len(requests)])
            turn += 1
        waiting = users
        while waiting:
            for number, _ in poll.poll(10):
                user = by_number[number]
                found = user.answer()
                if found is None:
                    continue
                now = time.perf_counter()
                outcome.latency_s.append(now - user.asked)
                outcome.statuses[found[0]] = outcome.statuses.get(found[0], 0) + 1
                if len(outcome.bodies) < keep:
                    outcome.bodies.append(found[1])
                if now - started < seconds:
                    user.ask(requests[turn % len(requests)])
                    turn += 1
                else:
                    waiting -= 1
        outcome.seconds = time.perf_counter() - started
    finally:
        for user in crowd:
            user.socket.close()
        poll.close()
    return outcome

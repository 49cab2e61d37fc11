"""The TCP ports of a local runtime, all on 127.0.0.1."""

import contextlib
import socket
from dataclasses import asdict, dataclass

from models.errors import ConfigurationError

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class RuntimePorts:
    """One port per endpoint; the defaults are those of `func`, Kafka, Azurite, Faust, and the Event Hubs emulator."""

    functions: int = 7071
    kafka: int = 9092
    blob: int = 10000
    queue: int = 10001
    table: int = 10002
    stream_web: int = 6066
    amqp: int = 5672
    hub_web: int = 5300

    @classmethod
    def from_base(cls, base: int) -> "RuntimePorts":
        """Eight ports in a row from `base` on. Raises ConfigurationError outside 1024..65528."""
        if not 1024 <= base <= 65_528:
            raise ConfigurationError(f"port base: expected 1024 to 65528, got {base}")
        return cls(**{name: base + number for number, name in enumerate(cls.__dataclass_fields__)})

    @classmethod
    def free(cls) -> "RuntimePorts":
        """Ports that nothing listens on at this moment."""
        with contextlib.ExitStack() as stack:
            sockets = {name: stack.enter_context(socket.socket()) for name in cls.__dataclass_fields__}
            for each in sockets.values():
                each.bind((HOST, 0))
            return cls(**{name: each.getsockname()[1] for name, each in sockets.items()})

    def named(self) -> dict[str, int]:
        """Port by name."""
        return asdict(self)

    def taken(self) -> dict[str, int]:
        """Those that another program listens on."""
        return {name: port for name, port in self.named().items() if not _bindable(port)}

    def check(self) -> None:
        """Raise ConfigurationError, with the remedy, when another program holds one of them."""
        taken = self.taken()
        if taken:
            which = ", ".join(f"{port} ({name})" for name, port in taken.items())
            raise ConfigurationError(
                f"port {which} is in use by another program; stop that one, or start on eight other ports in a row: "
                "penstock up --port-base 17071"
            )


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of a past run in TIME_WAIT do not count as taken; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True

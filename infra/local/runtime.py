"""The supervisor's process: `python -m infra.local.runtime` runs one local runtime until SIGTERM or SIGINT.

`penstock up` starts it and reads its state file. Exit codes: 0 stopped in good order, 1 could not start,
3 another one runs in the same data folder.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

from infra.local import azurite
from infra.local.home import REPOSITORY, Home, RuntimeState
from infra.local.parts import FunctionsHost, endpoints, parts
from infra.local.runtime_ports import RuntimePorts
from infra.local.supervisor import Part, PartFailed, Supervisor
from models.errors import ConfigurationError, Conflict

_log = logging.getLogger(__name__)
EXIT_FAILED, EXIT_ALREADY_RUNNING = 1, 3
# What `up` may set for its parts and clients have to know too: names and windows depend on it.
SHARED_SETTINGS = (
    "PENSTOCK_WINDOW",
    "PENSTOCK_ALLOWED_LATENESS_S",
    "PENSTOCK_MODEL",
    "PENSTOCK_ALERT_THRESHOLD",
    # Not the key: it is for the environment of whoever may use it.
    "PENSTOCK_COSMOS_ENDPOINT",
    "PENSTOCK_COSMOS_DATABASE",
)


async def run(home: Home, ports: RuntimePorts, host: FunctionsHost) -> int:
    """Exit code, after a signal or a failed start; whatever was started is stopped by then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.time()
    phase, error = "starting", None
    shared = {name: os.environ[name] for name in SHARED_SETTINGS if name in os.environ}
    supervisor: Supervisor | None = None

    def publish() -> None:
        home.write_state(
            RuntimeState(
                state=phase,
                supervisor=os.getpid(),
                started=started,
                host=host,
                ports=ports.named(),
                environment={**endpoints(home, ports), **shared},
                parts=supervisor.states() if supervisor else [],
                error=error,
            )
        )

    def publish_if_possible() -> None:
        """Parts are kept, and stopped in good order, on a full disk too; the next change is written again."""
        try:
            publish()
        except OSError as failure:
            _log.warning("the state could not be written: %s", failure)

    try:
        publish()
        ports.check()
        supervisor = Supervisor(
            _parts(home, ports, host), logs=home.logs, cwd=REPOSITORY, changed=publish_if_possible
        )
        await _start(supervisor, stop)
        phase = "ready"
        publish()
        await stop.wait()
    except (ConfigurationError, PartFailed, azurite.AzuriteUnavailable) as failure:
        error = str(failure)
        _log.error("%s", error)
    phase = "stopping"
    publish_if_possible()
    if supervisor:
        await supervisor.stop()
    phase = "failed" if error else "stopped"
    publish_if_possible()
    return EXIT_FAILED if error else 0


async def _start(supervisor: Supervisor, stop: asyncio.Event) -> None:
    """Return when all is ready, or at once when `stop` is set meanwhile."""
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
    else:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


def _parts(home: Home, ports: RuntimePorts, host: FunctionsHost) -> list[Part]:
    for folder in (home.data / "azurite", home.data / "hub", home.run / "stream", home.logs):
        folder.mkdir(parents=True, exist_ok=True)
    return parts(
        home,
        ports,
        host=host,
        environment=os.environ,
        azurite_command=azurite.command(home.data / "azurite", azurite.Ports(ports.blob, ports.queue, ports.table)),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; the exit code says how it went."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.runtime", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", type=FunctionsHost, default=FunctionsHost.EMBEDDED)
    for name, port in RuntimePorts().named().items():
        parser.add_argument(f"--{name.replace('_', '-')}-port", type=int, default=port)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    home = Home(given.home.resolve())
    ports = RuntimePorts(**{name: getattr(given, f"{name}_port") for name in RuntimePorts().named()})
    try:
        with home.lock():
            return asyncio.run(run(home, ports, given.host))
    except Conflict as already:
        _log.error("%s", already)
        return EXIT_ALREADY_RUNNING


if __name__ == "__main__":
    raise SystemExit(main())

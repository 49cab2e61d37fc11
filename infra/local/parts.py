"""The parts of Penstock on a laptop: commands, environment, order and how each says that it is well."""

import shutil
import sys
from collections.abc import Mapping
from enum import StrEnum

from infra.local import azurite, probes
from infra.local.eventhubs.config_file import KEY_VARIABLE
from infra.local.eventhubs.namespace import EMULATOR_KEY, ROOT_KEY_NAME
from infra.local.home import REPOSITORY, Home
from infra.local.runtime_ports import HOST, RuntimePorts
from infra.local.supervisor import Part
from models.errors import ConfigurationError

HUB = "readings"
RATINGS_HUB = "ratings"
PARTITIONS = 4
STREAM_HEALTH_PATH = "/penstock/health/"


class FunctionsHost(StrEnum):
    """Who runs the function app."""

    EMBEDDED = "embedded"
    FUNC = "func"
    """Azure Functions Core Tools, where they are installed."""


def endpoints(home: Home, ports: RuntimePorts) -> dict[str, str]:
    """Environment by which parts and clients find this runtime."""
    storage = azurite.connection_string(azurite.Ports(ports.blob, ports.queue, ports.table))
    return {
        "DataStorage": storage,
        "AzureWebJobsStorage": storage,
        "PENSTOCK_HUB": HUB,
        "PENSTOCK_RATINGS_HUB": RATINGS_HUB,
        "PENSTOCK_AMQP_CONNECTION": devices_connection(ports),
        "PENSTOCK_KAFKA_BOOTSTRAP": f"{HOST}:{ports.kafka}",
        "PENSTOCK_STATE_PATH": str(home.data / "state.sqlite"),
        "PENSTOCK_STREAM_DIR": str(home.run / "stream"),
        "PENSTOCK_STREAM_WEB_PORT": str(ports.stream_web),
        "PENSTOCK_VIDEO_DIR": str(home.run / "video"),
    }


def devices_connection(ports: RuntimePorts) -> str:
    """Connection string for devices, of the form that the official emulator takes, with its public key."""
    return (
        f"Endpoint=sb://localhost:{ports.amqp};SharedAccessKeyName={ROOT_KEY_NAME};SharedAccessKey={EMULATOR_KEY};"
        f"UseDevelopmentEmulator=true;EntityPath={HUB}"
    )


def parts(
    home: Home,
    ports: RuntimePorts,
    *,
    host: FunctionsHost,
    environment: Mapping[str, str],
    azurite_command: list[str],
) -> list[Part]:
    """All parts in start order. `environment` is what they inherit; the endpoints of this runtime win over it.

    Raises ConfigurationError when `host` asks for a program that is not installed.
    """
    env = {**environment, **endpoints(home, ports), "PYTHONUNBUFFERED": "1"}
    azurite_ports = {"blob": ports.blob, "queue": ports.queue, "table": ports.table}
    hub_ports = {"kafka": ports.kafka, "amqp": ports.amqp, "http": ports.hub_web}
    return [
        Part(
            name="azurite",
            command=azurite_command,
            env=env,
            ports=azurite_ports,
            probe=probes.every(*(probes.http(port, any_status=True) for port in azurite_ports.values())),
        ),
        Part(
            name="hub",
            command=[
                *(sys.executable, "-m", "infra.local.eventhubs", "serve"),
                *("--data", str(home.data / "hub"), "--hub", f"{HUB}:{PARTITIONS}"),
                *("--hub", f"{RATINGS_HUB}:{PARTITIONS}"),
                *(text for name, port in hub_ports.items() for text in (f"--{name}-port", str(port))),
            ],
            # It listens on loopback and asks for no key; a real one has no business here.
            env={**env, KEY_VARIABLE: EMULATOR_KEY},
            ports=hub_ports,
            announces=True,
            probe=probes.http(ports.hub_web, "/health"),
        ),
        _functions(home, ports, host, env),
        Part(
            name="stream",
            command=[sys.executable, "-m", "infra.wiring.stream"],
            stage=1,
            env=env,
            ports={"web": ports.stream_web},
            probe=probes.http(ports.stream_web, STREAM_HEALTH_PATH),
        ),
        Part(name="trainer", command=[sys.executable, "-m", "infra.wiring.training"], stage=1, env=env),
        *_video(env),
    ]


def _video(env: Mapping[str, str]) -> list[Part]:
    """One part for all workers of films; none if there are to be none."""
    if env.get("PENSTOCK_VIDEO_WORKERS") == "0":
        return []
    return [Part(name="video", command=[sys.executable, "-m", "infra.wiring.video"], stage=1, env=env)]


def _functions(home: Home, ports: RuntimePorts, host: FunctionsHost, env: Mapping[str, str]) -> Part:
    number = str(ports.functions)
    if host is FunctionsHost.EMBEDDED:
        return Part(
            name="functions",
            command=[
                *(sys.executable, "-m", "infra.local.functions_host"),
                *("--app", str(REPOSITORY), "--port", number, "--host-id", "penstock"),
                *("--data-dir", str(home.functions)),
            ],
            stage=1,
            env=env,
            ports={"http": ports.functions},
            announces=True,
            probe=probes.http(ports.functions, "/admin/host/ping"),
        )
    func = shutil.which("func")
    if func is None:
        raise ConfigurationError(
            "`func` is not on PATH; install it (npm install -g azure-functions-core-tools@4), "
            "or leave out --host func for the embedded host"
        )
    return Part(
        name="functions",
        command=[func, "start", "--port", number],
        stage=1,
        env={**env, "FUNCTIONS_WORKER_RUNTIME": "python", "FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT": "1"},
        ports={"http": ports.functions},
        probe=probes.http(ports.functions, "/admin/host/status"),
    )

"""`penstock up`: the local runtime, with simulated devices in the foreground or alone with --detach."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import output
from infra.local.home import Home, RuntimeState
from infra.local.runtime_ports import RuntimePorts
from models.errors import Conflict

if TYPE_CHECKING:
    from infra.cli.launch import Launched
    from infra.local.parts import FunctionsHost

PortBase = Annotated[
    int | None,
    typer.Option(envvar="PENSTOCK_PORT_BASE", help="Eight ports in a row from here on, instead of the usual ones."),
]


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start the parts alone and return.")] = False,
    host: Annotated[
        str, typer.Option(help="Functions host: `embedded`, or `func` where it is installed.")
    ] = "embedded",
    port_base: PortBase = None,
    devices: Annotated[int, typer.Option(min=1, max=1000, help="Simulated devices, three sensors each.")] = 10,
    as_json: output.AsJson = False,
) -> None:
    """Start everything. In the foreground also train on, feed and watch simulated devices, until Ctrl-C."""
    from infra.local.parts import FunctionsHost

    if host not in set(FunctionsHost):
        raise typer.BadParameter(f"expected embedded or func, got {host!r}", param_hint="--host")
    home = Home.default()
    ports = RuntimePorts() if port_base is None else RuntimePorts.from_base(port_base)
    running = home.running()
    if running is not None and running.state == "stopping":
        from infra.cli.launch import await_stopped

        with output.working("waiting for the last runtime to stop"):
            await_stopped(home)
    elif running is not None:
        _already_running(home, running, ok=detach, as_json=as_json)
        return
    runtime = _start(home, ports, FunctionsHost(host), attached=not detach)
    if not detach:
        _watch(runtime, devices=devices)
        return
    state = home.read_state()
    assert state is not None
    if as_json:
        from infra.cli.status import document

        output.print_json(document(home, state, None))
        return
    _announce(home, state)
    output.stdout.print("Stop it with: penstock down")


def _start(home: Home, ports: RuntimePorts, host: "FunctionsHost", *, attached: bool) -> "Launched":
    from infra.cli.launch import install_azurite, launch

    with output.working("installing Azurite (first start only)") if _needs_azurite() else output.working("starting"):
        install_azurite()
    with output.stderr.status("starting") as spinner:

        def changed(state: RuntimeState) -> None:
            waiting = ", ".join(part.name for part in state.parts if part.state != "ready")
            spinner.update(f"starting {waiting}")

        return launch(home, ports, host=host, attached=attached, changed=changed)


def _needs_azurite() -> bool:
    from infra.local import azurite

    return azurite.installed_script() is None


def _watch(runtime: "Launched", *, devices: int) -> None:
    """Feed and show until Ctrl-C or SIGTERM; then stop everything."""
    from infra.cli.watch import watch

    try:
        state = runtime.home.read_state()
        assert state is not None
        _announce(runtime.home, state)
        watch(runtime, devices=devices)
    finally:
        with output.working("stopping"):
            runtime.stop()
        output.stdout.print(f"Penstock stopped; its data is kept in {runtime.home.root}")


def _already_running(home: Home, state: RuntimeState, *, ok: bool, as_json: bool) -> None:
    """With --detach what was asked for is there; without, the devices and the view were wanted."""
    if not ok:
        raise Conflict(f"Penstock is already running in {home.root} (penstock status; penstock down stops it)")
    if as_json:
        from infra.cli.status import document

        output.print_json(document(home, state, None))
    else:
        output.stdout.print(f"Penstock is already running in {home.root}")


def _announce(home: Home, state: RuntimeState) -> None:
    from infra.cli.status import api, devices_connection, hub_page

    output.stdout.print(f"Penstock is up in {home.root} ({time.time() - state.started:.1f} s to start)")
    output.stdout.print(f"  API     {api(state)}")
    if state.host == "embedded":
        output.stdout.print(
            f"  key     functionKeys.default in {home.functions / 'keys.json'}, as header x-functions-key"
        )
    output.stdout.print(f"  hub     readings, {hub_page(state)}")
    output.stdout.print(f"  AMQP    {devices_connection(state)}", soft_wrap=True)
    output.stdout.print(f"  Kafka   127.0.0.1:{state.ports['kafka']}")
    output.stdout.print("  look    penstock status | logs | alerts list")

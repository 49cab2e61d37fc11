"""`penstock status`."""

import json
import time
import urllib.request
from typing import Any

import typer

from infra.cli import output
from infra.local.home import Home, PartState, RuntimeState
from infra.local.supervisor import State

NOT_RUNNING = 3


def status(as_json: output.AsJson = False) -> None:
    """Show each part: state, process, restarts, ports. Exit code 0: all ready; 1: not all; 3: not running."""
    home = Home.default()
    state = home.running()
    if state is None:
        if as_json:
            output.print_json({"state": "stopped", "home": str(home.root), "parts": []})
        else:
            output.stdout.print(f"Penstock does not run in {home.root}; start it: penstock up --detach")
        raise typer.Exit(NOT_RUNNING)
    stream = stream_status(state.ports["stream_web"])
    if as_json:
        output.print_json(document(home, state, stream))
    else:
        _print(home, state, stream)
    well = state.state == "ready" and not _unwell(state)
    raise typer.Exit(0 if well else 1)


def document(home: Home, state: RuntimeState, stream: dict[str, Any] | None) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "state": state.state,
        "home": str(home.root),
        "supervisor": state.supervisor,
        "started": state.started,
        "api": api(state),
        "hub_page": hub_page(state),
        "devices_connection": devices_connection(state),
        "ports": state.ports,
        "parts": state.parts,
        "stream": stream,
    }


def api(state: RuntimeState) -> str:
    """Where the functions' HTTP API is."""
    return f"http://127.0.0.1:{state.ports['functions']}/api"


def hub_page(state: RuntimeState) -> str:
    """The hub's status page; `/health` and `/metrics` are beside it."""
    return f"http://127.0.0.1:{state.ports['hub_web']}"


def devices_connection(state: RuntimeState) -> str:
    """What a device connects with over AMQP. The key in it is the emulator's, which is public."""
    return state.environment["PENSTOCK_AMQP_CONNECTION"]


def stream_status(port: int) -> dict[str, Any] | None:
    """What the stream worker's web view says; None when it does not answer."""
    try:
        # A fixed http address on loopback.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/penstock/status/", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return None


def headline(state: RuntimeState) -> str:
    """In words: how the runtime is, and which parts are not ready though it was."""
    unwell = _unwell(state)
    if state.state != "ready" or not unwell:
        return f"Penstock is {state.state}"
    return "Penstock is up, but " + ", ".join(f"{part.name} is {_doing(part)}" for part in unwell)


def _unwell(state: RuntimeState) -> list[PartState]:
    return [part for part in state.parts if part.state != State.READY]


def _doing(part: PartState) -> str:
    restarting = (State.STARTING, State.BACKING_OFF)  # it was ready once, or the runtime were not
    return "restarting" if part.state in restarting else part.state


def _print(home: Home, state: RuntimeState, stream: dict[str, Any] | None) -> None:
    output.stdout.print(f"{headline(state)} in {home.root}", soft_wrap=True)
    output.stdout.print(f"API: {api(state)}, hub: {hub_page(state)}", soft_wrap=True)
    output.stdout.print(f"AMQP: {devices_connection(state)}", soft_wrap=True)
    now = time.time()
    rows = [
        (
            part.name,
            part.state,
            part.pid or "-",
            part.restarts,
            ", ".join(f"{name} {port}" for name, port in part.ports.items()) or "-",
            f"{now - part.started:.0f} s" if part.started else "-",
        )
        for part in state.parts
    ]
    output.stdout.print(output.table(("part", "state", "pid", "restarts", "ports", "up"), rows))
    if stream:
        counted = _counts(stream, "readings", "windows", "late", "duplicates", "dead_lettered", "lag")
        output.stdout.print("stream: " + counted)
    if stream and "ratings" in stream:
        output.stdout.print("ratings: " + _counts(stream["ratings"], "ratings", "forgets", "dead_lettered", "lag"))


def _counts(hub: dict[str, Any], *shown: str) -> str:
    totals = hub.get("totals", {})
    return ", ".join(f"{totals[name]} {name}" for name in shown if name in totals)

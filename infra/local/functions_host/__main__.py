"""`python -m infra.local.functions_host --app DIR`: run a function app until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path

from infra.local.functions_host.app_settings import AppSettings, merge_local_settings
from infra.local.functions_host.errors import HostError
from infra.local.functions_host.host import Host, HostOptions
from infra.local.functions_host.host_json import read_host_json
from infra.local.functions_host.indexing import index_app
from infra.local.functions_host.keys import open_keys
from infra.local.functions_host.listeners import Durations
from infra.local.functions_host.logs import configure_logging
from infra.local.functions_host.server import listen

DATA_FOLDER = ".functions_host"


def _absolute(text: str) -> Path:
    # At once: the host changes into the app's folder later.
    return Path(text).resolve()


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; each option but --app has a default."""
    environment = os.environ
    parser = argparse.ArgumentParser(prog="functions_host", description=__doc__)
    parser.add_argument("--app", type=_absolute, required=True, help="folder with function_app.py and host.json")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7071, help="0 picks a free one")
    parser.add_argument("--host-id", default=environment.get("AzureFunctionsWebHost__hostid"))
    parser.add_argument(
        "--settings", type=Path, help="settings file, from the app folder (default: local.settings.json)"
    )
    parser.add_argument(
        "--data-dir", type=_absolute, help=f"where the access keys are kept (default: {DATA_FOLDER} of the app)"
    )
    parser.add_argument("--no-auth", action="store_true", help="ask for no keys, as `func start` does")
    parser.add_argument(
        "--queue-lock-s",
        type=float,
        default=environment.get("FUNCTIONS_HOST_QUEUE_LOCK_S", "600"),
        help="seconds until the messages of a killed host are seen again (Azure: 600)",
    )
    parser.add_argument(
        "--blob-scan-s",
        type=float,
        default=environment.get("FUNCTIONS_HOST_BLOB_SCAN_S", "2"),
        help="seconds between two scans of a blob trigger's container (Azure: 10)",
    )
    parser.add_argument(
        "--drain-s", type=float, default=8.0, help="seconds that in-flight invocations get after SIGTERM"
    )
    options = parser.parse_args(arguments)
    if options.queue_lock_s < 1:
        parser.error("--queue-lock-s has to be at least 1")
    return options


def default_host_id(app_dir: Path) -> str:
    """A stable id for the app of a folder: its name and a digest of its path, at most 32 characters."""
    name = re.sub(r"[^a-z0-9]+", "-", app_dir.name.lower()).strip("-")[:20] or "app"
    return f"{name}-{hashlib.sha256(str(app_dir).encode()).hexdigest()[:8]}"


def main(arguments: list[str] | None = None) -> int:
    """Run the host; the exit code is 0 after a clean stop, else that of the HostError."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        ended = asyncio.run(_serve(options))
    except HostError as error:
        print(f"functions host: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    if not ended:
        # A thread still runs a function and would keep the process alive; its message was given back.
        sys.stderr.flush()
        os._exit(0)
    return 0


async def _serve(options: argparse.Namespace) -> bool:
    # Stdout is for the line that says "ready"; what the app prints goes with the log.
    ready_output, sys.stdout = sys.stdout, sys.stderr
    app_dir: Path = options.app
    host_json = read_host_json(app_dir / "host.json")
    configure_logging(host_json.log_levels)
    settings_file: Path = options.settings or Path("local.settings.json")
    merge_local_settings(app_dir / settings_file, os.environ)
    os.chdir(app_dir)
    functions = index_app(app_dir, os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py"))
    names = [function.name for function in functions]
    keys = None if options.no_auth else open_keys(_data_dir(options.data_dir, app_dir), names)
    host = Host(
        functions,
        host_json,
        AppSettings(os.environ),
        HostOptions(
            app_dir,
            options.host_id or default_host_id(app_dir),
            Durations(options.queue_lock_s, options.blob_scan_s),
            options.drain_s,
        ),
        keys,
    )
    listener = listen(options.host, options.port)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.stop)
    port = listener.getsockname()[1]
    return await host.run(
        listener,
        lambda: print(json.dumps({"ready": True, "port": port, "functions": names}), file=ready_output, flush=True),
    )


def _data_dir(chosen: Path | None, app_dir: Path) -> Path:
    if chosen is not None:
        return chosen
    default = app_dir / DATA_FOLDER
    default.mkdir(exist_ok=True)
    (default / ".gitignore").write_text("*\n", encoding="utf-8")
    return default


if __name__ == "__main__":
    raise SystemExit(main())

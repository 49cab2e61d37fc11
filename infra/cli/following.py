"""Waits until the functions of the local runtime score with the version that was just made live."""

import json
import time
import urllib.request

from infra.cli import output
from infra.local.home import Home

# Beyond how often they look: for loading a bank on a busy machine.
_LOADING_S = 5.0
_POLL_S = 0.1


def await_followed(version: str, *, refresh_s: float) -> None:
    """Return when the running functions say that `version` is their model, so that what is sent next gets it.

    `refresh_s`: how often they look. Says so on stderr when they do not follow in time; nothing runs, nothing waits.
    """
    state = Home.default().running()
    if state is None:
        return
    deadline = time.monotonic() + refresh_s + _LOADING_S
    while _model(state.ports["functions"]) != version:
        if time.monotonic() > deadline:
            output.stderr.print(f"the functions do not score with {version} yet: penstock logs functions")
            return
        time.sleep(_POLL_S)


def _model(port: int) -> str | None:
    """The version that the functions score with; None while they do not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            model: str | None = json.load(answer)["model"]
            return model
    except (OSError, ValueError, KeyError):  # also 503: something they need is away
        return None

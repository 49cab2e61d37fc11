"""Where commands find the runtime they talk to."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from infra.local.home import Home
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.azure.blobs import AzureBlobs
    from infra.feed.results import Results
    from infra.settings import Settings

PREFIX = "PENSTOCK_"


def load_settings() -> "Settings":
    """Settings of the local runtime that runs in PENSTOCK_HOME (default: `.penstock`).

    Explicit environment variables win. Raises ConfigurationError when nothing runs there and the environment
    names no storage account (`DataStorage`) either.
    """
    if not has_storage():
        raise ConfigurationError(f"Penstock does not run in {Home.default().root}; start it: penstock up --detach")
    return local_settings()


def has_storage() -> bool:
    """Whether something runs in PENSTOCK_HOME, or the environment names a storage account."""
    return "DataStorage" in os.environ or Home.default().running() is not None


def local_settings() -> "Settings":
    """The same settings for commands that need no service: where nothing runs, the environment's and the defaults."""
    state = Home.default().running()
    shared = state.environment if state else {}
    return _settings({name: value for name, value in shared.items() if name not in os.environ})


def settings_of(home: Home) -> "Settings":
    """Settings of the runtime in `home` and of no other, whatever the environment says."""
    state = home.running()
    if state is None:
        raise ConfigurationError(f"Penstock does not run in {home.root}")
    return _settings(state.environment)


def check_settings(environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError, one sentence for all that is wrong, if parts could not start with these settings."""
    settings = _settings({name: value for name, value in environment.items() if name.startswith(PREFIX)})
    _ = settings.spec


def _settings(given: dict[str, str]) -> "Settings":
    from pydantic import ValidationError

    from infra.settings import Settings

    fields = {name.removeprefix(PREFIX).lower() if name.startswith(PREFIX) else name: given[name] for name in given}
    try:
        return Settings(**fields)  # type: ignore[arg-type]  # texts, which pydantic parses as it does the environment
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"settings: {wrong}") from error


def environment(home: Home) -> dict[str, str]:
    """Environment for a child process that shall talk to the runtime in `home`, and to no other."""
    state = home.running()
    return {**os.environ, **(state.environment if state else {}), "PENSTOCK_HOME": str(home.root)}


def open_blobs(settings: "Settings") -> "AzureBlobs":
    """The storage account for data that the settings name."""
    from infra.azure.blobs import AzureBlobs

    return AzureBlobs(settings.data_storage.get_secret_value())


def open_results(settings: "Settings") -> "Results":
    """Stored results of the hub and window specification that the settings name."""
    from infra.feed.results import Results
    from infra.wiring.state import open_state

    return Results(open_blobs(settings), open_state(settings), settings.hub, settings.spec)

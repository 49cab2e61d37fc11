"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from infra.local.azurite import RunningAzurite, running_azurite

# Tests that import ONNX Runtime by themselves, too, send nothing to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# On a busy machine an example may take any time: no example fails for being slow. Tests need not say so themselves.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAzurite]:
    """One Azurite for the session, installed on first use; tests share it and take names of their own.

    A test that kills or restarts it uses `running_azurite(tmp_path)` instead.
    """
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local.eventhubs.hub import Hub
from infra.local.eventhubs.settings import HubSettings, LogSettings


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with `readings` in two partitions that acknowledges at once."""
    hub = Hub(HubSettings(tmp_path, hubs={"readings": 2}, log=LogSettings(fsync="none")))
    yield hub
    await hub.close()


@pytest.fixture
async def durable_hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """The same with group commit."""
    hub = Hub(HubSettings(tmp_path / "durable", hubs={"readings": 2}))
    yield hub
    await hub.close()

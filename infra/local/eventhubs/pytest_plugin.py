"""A pytest plugin: a hub per test run, on random ports, in a folder that pytest removes.

    # conftest.py
    pytest_plugins = ["infra.local.eventhubs.pytest_plugin"]

    # test_something.py
    def test_it(event_hub, new_hub):
        topic = new_hub(partitions=2)
        produce(bootstrap=event_hub.bootstrap, topic=topic)

`event_hub` lives as long as the run and belongs to all tests; `new_hub` gives each test a hub (a topic) of its own in
it. A test that kills or configures its server makes one by `testing.running_hub`.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from .testing import RunningHub, running_hub

_numbers = itertools.count()


@pytest.fixture(scope="session")
def event_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A running hub without topics; `bootstrap` is where Kafka clients connect to."""
    data = tmp_path_factory.mktemp("event-hub") / "data"
    with running_hub(data, fsync="none", min_session_timeout_ms=1000) as hub:
        yield hub


@pytest.fixture
def new_hub(event_hub: RunningHub, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Makes a fresh topic, by default of one partition, and returns its name, which tells the test's."""

    def make(partitions: int = 1, **configs: str) -> str:
        name = f"{re.sub('[^a-zA-Z0-9._-]', '-', request.node.name)[:200]}-{next(_numbers)}"
        settings = {each.replace("_", "."): value for each, value in configs.items()}
        asyncio.run(_create(event_hub.bootstrap, NewTopic(name, partitions, 1, topic_configs=settings)))
        return name

    return make


async def _create(bootstrap: str, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        response = await admin.create_topics([topic])
        refused = [tuple(each) for each in response.topic_errors if each[1]]
        if refused:
            raise ValueError(f"the topic was not created: {refused}")
    finally:
        await admin.close()

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra.local.eventhubs.testing import RunningHub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One hub for the module, with the topic `readings`; tests make topics of their own by `new_topic`."""
    with running_hub(tmp_path_factory.mktemp("hub") / "data", {"readings": 4}) as running:
        yield running


@pytest.fixture
def new_topic(hub: RunningHub, request: pytest.FixtureRequest) -> Callable[[int], str]:
    """Makes a fresh topic with so many partitions and returns its name."""
    numbers = itertools.count()

    def make(partitions: int) -> str:
        name = f"{request.node.originalname[-60:]}-{id(request)}-{next(numbers)}"
        admin = AdminClient({"bootstrap.servers": hub.bootstrap})
        admin.create_topics([NewTopic(name, partitions)])[name].result(10)
        return name

    return make

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from infra.local.eventhubs.testing import RunningHub

from .clients import PRODUCERS, Event

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed (Debian: apt-get install kcat)"),
]


def kcat(hub: RunningHub, *arguments: str) -> str:
    ended = subprocess.run(
        ["kcat", "-b", hub.bootstrap, *arguments], capture_output=True, text=True, timeout=20, check=True
    )
    return ended.stdout


@pytest.mark.parametrize("producer", PRODUCERS)
async def test_what_others_send_compressed_kcat_reads(
    hub: RunningHub, new_topic: Callable[[int], str], producer: str
) -> None:
    topic = new_topic(1)
    await PRODUCERS[producer](hub.bootstrap, topic, [Event(b"k", b"v%d" % number) for number in range(3)], "gzip")
    lines = kcat(hub, "-C", "-t", topic, "-o", "beginning", "-e", "-J").splitlines()
    seen = [json.loads(line) for line in lines]
    assert [(each["offset"], each["key"], each["payload"]) for each in seen] == [(n, "k", f"v{n}") for n in range(3)]

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from infra.local.eventhubs.testing import RunningHub

from .clients import PRODUCERS, READERS, Event

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed (Debian: apt-get install kcat)"),
]


def kcat(hub: RunningHub, *arguments: str, stdin: str = "") -> str:
    ended = subprocess.run(
        ["kcat", "-b", hub.bootstrap, *arguments], input=stdin, capture_output=True, text=True, timeout=20, check=True
    )
    return ended.stdout


@pytest.mark.parametrize("reader", READERS)
async def test_what_kcat_sends_others_read(hub: RunningHub, new_topic: Callable[[int], str], reader: str) -> None:
    topic = new_topic(1)
    kcat(hub, "-P", "-t", topic, "-K", ":", "-H", "n=1", stdin="k1:one\nk2:two\n")
    seen = await READERS[reader](hub.bootstrap, topic, 1, 2)
    assert [each.event for each in seen] == [
        Event(b"k1", b"one", (("n", b"1"),)),
        Event(b"k2", b"two", (("n", b"1"),)),
    ]


@pytest.mark.parametrize("producer", PRODUCERS)
async def test_what_others_send_kcat_reads(hub: RunningHub, new_topic: Callable[[int], str], producer: str) -> None:
    topic = new_topic(1)
    await PRODUCERS[producer](hub.bootstrap, topic, [Event(b"k", b"v%d" % number) for number in range(3)], "gzip")
    lines = kcat(hub, "-C", "-t", topic, "-o", "beginning", "-e", "-J").splitlines()
    seen = [json.loads(line) for line in lines]
    assert [(each["offset"], each["key"], each["payload"]) for each in seen] == [(n, "k", f"v{n}") for n in range(3)]

"""A Faust app that sends events and reads all of a topic: `python faust_client.py BOOTSTRAP TOPIC COUNT < events`.

Standard input has one JSON line `[key, value]` per event; `sent` is printed when the hub has them. Every event it
sees is printed as a JSON line `[partition, offset, key, value, headers]`, bytes in hexadecimal. It ends after COUNT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import faust


def main(bootstrap: str, topic: str, count: int) -> None:
    """Send, read COUNT events, end the process."""
    app = faust.App(
        "matrix",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        autodiscover=False,
        worker_redirect_stdouts=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    hub = app.topic(topic, key_type=bytes, value_type=bytes)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the worker plays with the cursor there
    seen, sent = 0, asyncio.Event()

    @app.agent(hub)
    async def read(stream: Any) -> None:
        nonlocal seen
        async for event in stream.events():
            message = event.message
            headers = [[name, value.hex()] for name, value in dict(message.headers or {}).items()]
            row = [message.partition, message.offset, message.key.hex(), message.value.hex(), headers]
            print(json.dumps(row), file=out, flush=True)
            seen += 1
            if seen == count:
                await sent.wait()
                os._exit(0)

    @app.task
    async def send() -> None:
        for line in sys.stdin:
            key, value = json.loads(line)
            await (await hub.send(key=key.encode(), value=value.encode(), headers={"origin": b"faust"}))
        print("sent", file=out, flush=True)
        sent.set()

    faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False, logfile=None).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

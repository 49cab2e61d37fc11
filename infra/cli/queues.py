"""`penstock queues`: what waits, what was given up on, and trying that again."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import output
from infra.cli.context import load_settings
from models.errors import BadInput
from models.names import (
    RECOMMEND_QUEUE,
    SCORE_QUEUE,
    SHARD_QUEUE,
    TRAIN_QUEUE,
    VIDEO_QUEUE,
    VIDEO_UPLOAD_QUEUE,
)

if TYPE_CHECKING:
    from infra.azure.queues import AzureQueue

app = typer.Typer(no_args_is_help=True)
_QUEUES = (SCORE_QUEUE, TRAIN_QUEUE, RECOMMEND_QUEUE, SHARD_QUEUE, VIDEO_UPLOAD_QUEUE, VIDEO_QUEUE)
_POISON = "-poison"


@app.callback()
def _group() -> None:
    """Work queues, and the poison queues of messages that failed five times."""


@app.command("list")
def list_queues(as_json: output.AsJson = False) -> None:
    """Show how many messages each queue and its poison queue hold."""
    found = [
        {"queue": name, "messages": _queue(name).length(), "poison": _queue(name + _POISON).length()}
        for name in _QUEUES
    ]
    if as_json:
        output.print_json(found)
        return
    output.stdout.print(output.table(("queue", "messages", "poison"), (list(each.values()) for each in found)))


@app.command()
def poison(
    queue: Annotated[str, typer.Argument(help=f"{' or '.join(_QUEUES)}.")],
    as_json: output.AsJson = False,
) -> None:
    """Read up to 32 messages that were given up on; `penstock logs` has why."""
    bodies = [item.body.decode("utf-8", "backslashreplace") for item in _queue(_known(queue) + _POISON).peek()]
    if as_json:
        output.print_json(bodies)
        return
    for body in bodies:
        output.stdout.print(body, soft_wrap=True)
    output.stdout.print(f"{len(bodies)} shown")


@app.command()
def replay(
    queue: Annotated[str, typer.Argument(help=f"{' or '.join(_QUEUES)}.")],
    as_json: output.AsJson = False,
) -> None:
    """Send everything in the poison queue again. Harmless where it was done meanwhile."""
    target = _queue(_known(queue))
    sent = 0
    for body in _taken(_queue(queue + _POISON)):
        target.send(body)
        sent += 1
    if as_json:
        output.print_json({"queue": queue, "sent": sent})
    else:
        output.stdout.print(f"{sent} messages sent to {queue} again")


def _taken(queue: "AzureQueue") -> Iterator[bytes]:
    """Bodies in the queue; each is deleted once the caller comes for the next, so none is lost between queues."""
    # Not those that fail and come back while this runs.
    for _ in range(queue.length()):
        item = queue.receive(timedelta(seconds=60))
        if item is None:
            return
        yield item.body
        queue.delete(item)


def _known(name: str) -> str:
    if name not in _QUEUES:
        raise BadInput(f"expected {', '.join(_QUEUES[:-1])} or {_QUEUES[-1]}, got {name!r}")
    return name


def _queue(name: str) -> "AzureQueue":
    from infra.azure.queues import AzureQueue

    return AzureQueue(load_settings().data_storage.get_secret_value(), name)

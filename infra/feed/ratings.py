"""What the stream set aside on the hub of ratings, read straight from blobs."""

from collections.abc import Iterator

import msgspec

from infra.feed.results import SetAside
from models import names
from models.contracts import DeadLetter
from models.ports import BlobStore


def set_aside_ratings(blobs: BlobStore, hub: str) -> Iterator[SetAside]:
    """Events that are neither a rating nor a wish to be forgotten, the latest archive segments first."""
    prefix = names.dead_letter_prefix(hub)
    for info in sorted(blobs.list(prefix), key=lambda info: info.name.rpartition("/")[2], reverse=True):
        partition, _, offsets = info.name.removeprefix(prefix).removesuffix(".jsonl").partition("/")
        first, _, through = offsets.partition("-")
        segment = blobs.head(names.feedback_blob(hub, int(partition), int(first)))
        # Of an attempt that never became a segment nothing counts.
        if segment is None or int(segment.metadata["through"]) != int(through):
            continue
        for line in blobs.get(info.name).data.splitlines():
            yield SetAside.of(msgspec.json.decode(line, type=DeadLetter))

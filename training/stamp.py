"""What every registered version is called, and when it was made."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from typing import NamedTuple

from models.ports import Clock


class Stamp(NamedTuple):
    """`version` sorts by time; its digest tells apart what was made in one second. `created_at`: epoch seconds."""

    version: str
    created_at: float


def stamped(clock: Clock, data: bytes) -> Stamp:
    """The stamp of a version that holds `data`, made now.

    In whole seconds: registering the same again within one is then the same version, byte for byte.
    """
    created_at = float(int(clock.now()))
    moment = datetime.fromtimestamp(created_at, UTC).strftime("%Y%m%dT%H%M%SZ")
    return Stamp(f"{moment}-{hashlib.sha256(data).hexdigest()[:8]}", created_at)


def creator(engine: str) -> str:
    """What a manifest says of its maker: this package's version, and what it trained with."""
    return f"penstock {installed_version('penstock')}, {engine}"

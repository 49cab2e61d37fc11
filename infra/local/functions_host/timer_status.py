"""What a timer remembers across restarts of the host: a small JSON blob per function."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from infra.local.functions_host.schedule import Schedule
from infra.local.functions_host.storage_writes import upload_creating_container

HOSTS_CONTAINER = "azure-webjobs-hosts"


@dataclass(frozen=True)
class TimerStatus:
    """Last run (None before the first), the next one, and when this was written; all aware."""

    last: datetime | None
    next: datetime
    updated: datetime

    def as_json(self) -> dict[str, str]:
        """The document of the real host, which is also the function's `schedule_status`."""
        return {
            "Last": self.last.isoformat() if self.last else "0001-01-01T00:00:00",
            "Next": self.next.isoformat(),
            "LastUpdated": self.updated.isoformat(),
        }


def after_restart(status: TimerStatus | None, schedule: Schedule, now: datetime) -> TimerStatus:
    """The status to go on with; the timer is past due when its `next` lies before `now`.

    A changed schedule starts afresh instead of running for an occurrence that the old one had.
    """
    if status is None:
        return TimerStatus(None, schedule.next_after(now), now)
    counted_from = status.last or status.updated
    expected = schedule.next_after(counted_from)
    if expected == status.next:
        return status
    if now > expected:
        expected = schedule.next_after(now)
    return replace(status, next=expected, updated=counted_from)


def after_run(schedule: Schedule, started: datetime, now: datetime) -> TimerStatus:
    """The status after a run; the next one is counted from its end, so runs never overlap."""
    return TimerStatus(started, schedule.next_after(now), now)


class TimerStatusBlob:
    """Reads and writes the status of one function's timer."""

    def __init__(self, service: BlobServiceClient, host_id: str, function_id: str) -> None:
        self._service = service
        self._name = f"timers/{host_id}/{function_id}/status"

    async def read(self) -> TimerStatus | None:
        """The stored status; None when there is none or it cannot be understood."""
        try:
            download = await self._service.get_blob_client(HOSTS_CONTAINER, self._name).download_blob()
            content = json.loads(await download.readall())
            last, following, updated = (_time(content[key]) for key in ("Last", "Next", "LastUpdated"))
        except (ResourceNotFoundError, ValueError, KeyError, TypeError):
            return None
        return TimerStatus(last if last.year > 1 else None, following, updated)

    async def write(self, status: TimerStatus) -> None:
        """Store the status, creating the container on demand."""
        content = json.dumps(status.as_json()).encode()
        await upload_creating_container(self._service, HOSTS_CONTAINER, self._name, content)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""Sends stored readings, waits until all that follows from them is stored, and accounts for each one.

Only events of this replay count, by partition and offset, so live devices beside it do not matter. Killed parts
do not matter either: sending is idempotent, waiting polls, and counts come from stored results alone.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from infra.feed.events import encode_flush
from infra.feed.history import DeviceHistory, packed
from infra.feed.results import Progress, Results
from infra.settings import Settings
from models.contracts import PredictionStatus
from models.errors import NotFound, PenstockError, TryLater
from models.windowspec import WindowSpec

T = TypeVar("T")
Place = tuple[int, int] | None
"""(partition, offset) of a stored event; None where the protocol does not say it, as AMQP."""
_MAX_IN_FLIGHT = 500
_POLL_S = 0.25


class NotAccounted(PenstockError):
    """Stored results do not add up to what was sent; the message has the sum."""


class EventSender(Protocol):
    """What readings are sent through: `Sender` over Kafka, `DeviceSender` over AMQP, or a fake."""

    async def send(self, device: str, body: bytes) -> "asyncio.Future[Place]":
        """Queue an event; the future is done when the hub has stored it."""
        ...


@dataclass
class Sent:
    """What one replay put into the hub."""

    readings: int = 0
    devices: set[str] = field(default_factory=set)
    offsets: dict[int, list[int]] = field(default_factory=dict)
    """Offsets of its events per partition, flush markers included."""

    def note(self, partition: int, offset: int) -> None:
        """One more event."""
        self.offsets.setdefault(partition, []).append(offset)

    def holds(self, partition: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of `offsets` (n,) are events of this replay: bool (n,)."""
        return np.isin(offsets, np.array(self.offsets[partition], dtype=np.int64))


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the readings of one replay. `windows` are those that its readings and flushes closed."""

    readings: int
    windows: int
    scored: int
    learning: int
    invalid: int
    late: int
    duplicates: int
    dead_lettered: int
    alerts: int
    window_readings: int
    """Sum of the windows' counts."""
    seconds: float = 0.0


NOTHING = ReplayReport(
    readings=0,
    windows=0,
    scored=0,
    learning=0,
    invalid=0,
    late=0,
    duplicates=0,
    dead_lettered=0,
    alerts=0,
    window_readings=0,
)


async def send_histories(
    sender: EventSender,
    histories: Sequence[DeviceHistory],
    *,
    speed: float | None = None,
    flush: bool = True,
    advance: Callable[[int], None] = lambda readings: None,
) -> Sent:
    """Send all readings, then a flush marker per device; return when the hub has stored every event.

    `speed` is event seconds per second; None: as fast as it goes. `advance` is told of every event's readings.
    """
    sent = Sent(devices={history.device for history in histories})
    in_flight: list[asyncio.Future[Place]] = []
    begun, first_us = time.monotonic(), None
    for event in packed(histories, span_us=round(speed * 1e6) if speed else None):
        if speed:
            first_us = event.first_us if first_us is None else first_us
            due = begun + (event.last_us - first_us) / 1e6 / speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        in_flight.append(await sender.send(event.device, event.body))
        sent.readings += event.readings
        advance(event.readings)
        if len(in_flight) >= _MAX_IN_FLIGHT:
            await _settle(in_flight, sent)
    if flush:
        for device in sorted(sent.devices):
            in_flight.append(await sender.send(device, encode_flush(device)))
    await _settle(in_flight, sent)
    return sent


async def run_replay(
    settings: Settings,
    histories: Sequence[DeviceHistory],
    results: Results | None,
    *,
    speed: float | None = None,
    timeout_s: float = 600.0,
    advance: Callable[[int], None] = lambda readings: None,
) -> ReplayReport:
    """Send `histories` and their flushes; with `results` wait for what follows and count it (else zeros).

    Over Kafka, since that protocol's answer says where an event lies, and resending is idempotent. Raises TryLater
    when parts do not come back in time. It does not judge the counts: see `check`.
    """
    from infra.feed.sender import Sender

    begun = time.monotonic()
    async with Sender(settings) as sender:
        sent = await send_histories(sender, histories, speed=speed, advance=advance)
    return await _report(results, sent, begun, timeout_s)


async def run_live(
    settings: Settings,
    histories: Sequence[DeviceHistory],
    results: Results,
    *,
    speed: float | None = None,
    timeout_s: float = 600.0,
) -> ReplayReport:
    """As `run_replay`, over AMQP, as devices send. Nothing else may send meanwhile: all that the hub took counts."""
    from infra.feed.device_sender import DeviceSender

    begun = time.monotonic()
    async with DeviceSender(settings) as sender:
        before = await sender.ends()
        sent = await send_histories(sender, histories, speed=speed)
        after = await sender.ends()
    for partition, end in after.items():
        for offset in range(before[partition], end):
            sent.note(partition, offset)
    return await _report(results, sent, begun, timeout_s)


async def _report(results: Results | None, sent: Sent, begun: float, timeout_s: float) -> ReplayReport:
    report = NOTHING
    if results is not None:
        report = await account_when_stored(results, sent, timeout_s=timeout_s)
    seconds = round(time.monotonic() - begun, 3)
    return msgspec.structs.replace(report, readings=sent.readings, seconds=seconds)


async def _settle(in_flight: list["asyncio.Future[Place]"], sent: Sent) -> None:
    for place in await asyncio.gather(*in_flight):
        if place is None:
            continue
        partition, offset = place
        if offset < 0:
            raise TryLater(
                "the hub stored an event without saying where; send again: readings stored twice count once"
            )
        sent.note(partition, offset)
    in_flight.clear()


async def wait_until_stored(results: Results, sent: Sent, *, timeout_s: float) -> None:
    """Return when every batch that `sent` could touch is scored and folded. Raises TryLater after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    for partition, offsets in sorted(sent.offsets.items()):
        last = max(offsets)
        while True:
            progress = await patiently(partial(results.progress, partition), deadline)
            if _done(progress, last):
                break
            if time.monotonic() > deadline:
                raise TryLater(
                    f"partition {partition}: not finished after {timeout_s:g} s; processed up to offset "
                    f"{progress.offset} of {last + 1}, folded {progress.folded} of {progress.batches} batches "
                    "(penstock status, penstock logs)"
                )
            await asyncio.sleep(_POLL_S)


def _done(progress: Progress, last: int) -> bool:
    return progress.offset > last and progress.folded >= progress.batches


def _all_stored(results: Results, sent: Sent) -> bool:
    return all(_done(results.progress(partition), max(offsets)) for partition, offsets in sent.offsets.items())


async def account_when_stored(results: Results, sent: Sent, *, timeout_s: float) -> ReplayReport:
    """Counts of `account` from results that were complete before and after it read them.

    Storage that is killed may forget its last seconds, which are then written again: what was read in between does
    not count. Raises TryLater after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        await wait_until_stored(results, sent, timeout_s=max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(NotFound):  # listed, and gone before it was read
            report = await patiently(partial(account, results, sent), deadline)
            if await patiently(partial(_all_stored, results, sent), deadline):
                return report
        if time.monotonic() > deadline:
            raise TryLater(f"stored results still change after {timeout_s:g} s (penstock status, penstock logs)")
        await asyncio.sleep(_POLL_S)


async def patiently(ask: Callable[[], T], deadline: float) -> T:
    """Answer of `ask`, run in a thread and asked again on TryLater until `deadline` (monotonic seconds)."""
    while True:
        try:
            return await asyncio.to_thread(ask)
        except TryLater:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)


def account(results: Results, sent: Sent) -> ReplayReport:
    """Counts of what became of the readings sent, from stored results."""
    tally: Counter[str] = Counter()
    windows: set[tuple[str, str, int]] = set()
    for partition, offsets in sent.offsets.items():
        first, last = min(offsets), max(offsets)
        for found in results.predictions(partition, from_offset=first):
            for i in np.flatnonzero(found.closed_offset >= first).tolist():
                if found.device[i] in sent.devices:
                    windows.add((found.device[i], found.sensor[i], int(found.start_us[i])))
                    tally[found.status[i]] += 1
                    tally["count"] += int(found.count[i])
                    tally["duplicates"] += int(found.duplicates[i])
        tally["late"] += int(sent.holds(partition, results.late_offsets(partition, first, last)).sum())
        ours = set(offsets)
        tally["dead"] += sum(letter.offset in ours for letter in results.dead_letters(partition, first, last))
    alerts = sum((alert.device, alert.sensor, alert.start_us) in windows for alert in results.alerts())
    return ReplayReport(
        readings=sent.readings,
        windows=len(windows),
        scored=tally[PredictionStatus.SCORED],
        learning=tally[PredictionStatus.LEARNING],
        invalid=tally[PredictionStatus.INVALID],
        late=tally["late"],
        duplicates=tally["duplicates"],
        dead_lettered=tally["dead"],
        alerts=alerts,
        window_readings=tally["count"],
    )


def check(report: ReplayReport, spec: WindowSpec) -> None:
    """Raise NotAccounted unless every reading is in a window, a duplicate, late or set aside, and once only.

    A tumbling specification gives an equation. With hopping windows a reading is in 1 .. `spec.panes` windows (some
    may be closed already), so the sum over windows has to lie between these bounds.
    """
    kept = report.readings - report.late - report.dead_lettered
    in_windows = report.window_readings + report.duplicates
    if report.scored + report.learning + report.invalid != report.windows:
        raise NotAccounted(
            f"{report.windows} windows have {report.scored} scored + {report.learning} learning + "
            f"{report.invalid} invalid predictions"
        )
    if kept <= in_windows <= kept * spec.panes:
        return
    expected = f"{kept}" if spec.panes == 1 else f"{kept} to {kept * spec.panes}"
    hint = (
        "; windows that earlier sends had left open hold readings of theirs"
        if in_windows > kept * spec.panes
        else "; some are missing"
    )
    raise NotAccounted(
        f"{report.readings} readings sent - {report.late} late - {report.dead_lettered} dead-lettered leave "
        f"{expected} for the windows, which hold {report.window_readings} + {report.duplicates} duplicates = "
        f"{in_windows}{hint}"
    )

"""One partition of the hub of ratings: to the users' profiles, then to the archive (docs/delivery.md).

Each event is applied to its user's profile and then written, with those around it, as a *segment* of the archive:
create-only, under its first offset, with its last one in the metadata. The end of the last segment is where a new
life reads on; there is no other checkpoint. So an event may be applied again, which changes nothing, and is in the
archive once. The functions apply events before this does; where that step of theirs got lost, it is made good here.
"""

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass

import msgspec

from models import names
from models.contracts import DeadLetter, FeedbackEvent, ForgetEvent, Reason
from models.contracts.feedback import RatingsEvent
from models.errors import AlreadyExists, BadInput
from models.ports import BlobInfo, BlobStore, StateStore
from models.recommend.feedback import Feedback, encode_feedback
from models.recommend.history import apply_events
from stream.archive import MAX_DEAD_BYTES, store_letters
from stream.decode import Body, Chunk, Unreadable, as_text
from stream.steps import REST_S, SETTLED_S, require

log = logging.getLogger(__name__)

_decoder = msgspec.json.Decoder(RatingsEvent)
_MAX_PENDING = 50_000


class Counters(msgspec.Struct, frozen=True):
    """What came through a partition since its first event; kept in the metadata of segments."""

    events: int = 0
    ratings: int = 0
    forgets: int = 0
    dead_lettered: int = 0

    def with_items(self, items: "list[_Item]") -> "Counters":
        """The counts after these items."""
        kinds = [type(item.content) for item in items]
        return Counters(
            events=self.events + len(items),
            ratings=self.ratings + kinds.count(FeedbackEvent),
            forgets=self.forgets + kinds.count(ForgetEvent),
            dead_lettered=self.dead_lettered + kinds.count(DeadLetter),
        )


@dataclass(frozen=True, slots=True)
class _Item:
    offset: int
    content: RatingsEvent | DeadLetter


class RatingsPartition:
    """State and steps of one partition (`stream.steps`)."""

    def __init__(
        self, hub: str, number: int, blobs: BlobStore, state: StateStore, *, interval_s: float, max_ahead_s: float
    ) -> None:
        self._hub = hub
        self._number = number
        self._blobs = blobs
        self._state = state
        self._interval_s = interval_s
        self._max_ahead_s = max_ahead_s
        self._start_at(0, Counters(), [])

    # ------------------------------------------------------------------ start

    def restore(self) -> int:
        """The offset to read from: the end of the archive's last whole run of segments. Forgets all other state."""
        last: BlobInfo | None = None
        ahead: list[int] = []
        through = -1
        for info in self._blobs.list(names.feedback_prefix(self._hub, self._number)):
            first = _first_offset(info)
            if last is not None and first > through + 1:
                ahead.append(first)
            elif int(info.metadata[names.THROUGH]) > through:
                last, through = info, int(info.metadata[names.THROUGH])
        if ahead:
            log.warning("%s/%s: the archive lacks offsets from %s on", self._hub, self._number, through + 1)
        self._start_at(through + 1, _counters(last) if last else Counters(), ahead)
        return self.next_offset

    def _start_at(self, offset: int, counters: Counters, ahead: list[int]) -> None:
        self.next_offset = self.checkpoint_offset = self._applied = offset
        self._to_apply: list[RatingsEvent] = []
        self._archived = counters
        """Counts of all events before `checkpoint_offset`."""
        self._pending: list[_Item] = []
        self._dead_bytes = 0
        self._pending_since = 0.0
        self._written: list[tuple[float, str]] = []
        """Segments that a store which forgets its latest writes could still forget, and when they were written."""
        self._ahead = ahead
        """First offsets of segments beyond one that is missing."""

    # ------------------------------------------------------------------ compute

    def process(self, chunk: Chunk) -> None:
        """Take in the events of a chunk that were not taken in before."""
        chunk = chunk.after(self.next_offset)
        if len(chunk) == 0:
            return
        if not self._pending:
            self._pending_since = time.monotonic()
        for offset, append_us, body in zip(chunk.offset.tolist(), chunk.append_us.tolist(), chunk.body, strict=True):
            # Beyond what was read there may be a segment of a rival, who has applied what is in it.
            if offset >= self.checkpoint_offset:
                self._take(offset, append_us, body)
        self.next_offset = int(chunk.offset[-1]) + 1

    def _take(self, offset: int, append_us: int, body: Body) -> None:
        try:
            event = decode(body)
        except BadInput as error:
            self._set_aside(offset, body, Reason.MALFORMED, str(error))
            return
        ahead_s = (event.time_us - append_us) / 1e6
        if ahead_s > self._max_ahead_s:
            # It would win over all that its user does until then; a wish to be forgotten would take it all.
            limit = f"time_us: expected at most {self._max_ahead_s:g} s after the event's arrival"
            self._set_aside(offset, body, Reason.AHEAD_OF_CLOCK, f"{limit}, got {ahead_s:g} s after it")
            return
        self._pending.append(_Item(offset, event))
        self._to_apply.append(event)

    def _set_aside(self, offset: int, body: Body, reason: Reason, detail: str) -> None:
        text = as_text(body) if isinstance(body, bytes) else ""
        self._dead_bytes += len(text)
        letter = DeadLetter(
            hub=self._hub, partition=self._number, offset=offset, item=0, reason=reason, detail=detail, body=text
        )
        self._pending.append(_Item(offset, letter))

    def close_idle(self, silent_for_s: float) -> None:
        """Nothing: ratings wait for nobody."""

    # ------------------------------------------------------------------ store

    def hand_over_due(self, *, caught_up: bool = False) -> bool:
        """Whether events wait to be applied."""
        return self._applied < self.next_offset

    def hand_over(self) -> None:
        """Apply what was read to the profiles of its users. Repeating it after an error is harmless."""
        by_user: dict[str, list[RatingsEvent]] = {}
        for event in self._to_apply:
            by_user.setdefault(event.user, []).append(event)
        for user, events in by_user.items():
            try:
                apply_events(self._state, user, events)
            except BadInput as error:
                # One user's document must not hold up the others; what was rated is in the archive all the same.
                log.error("%s/%s: a profile stays as it is: %s", self._hub, self._number, error)
        self._to_apply.clear()
        self._applied = self.next_offset

    def archive_due(self) -> bool:
        """Whether so much waits that it should not wait for the checkpoint."""
        return len(self._pending) >= _MAX_PENDING or self._dead_bytes >= MAX_DEAD_BYTES

    def checkpoint_due(self, *, resting: bool = False) -> bool:
        """Whether what was read has waited long enough for the archive; `resting`: nothing has come for a while."""
        wait_s = min(self._interval_s, REST_S) if resting else self._interval_s
        return bool(self._pending) and time.monotonic() - self._pending_since >= wait_s

    def checkpoint(self) -> None:
        """The same as `archive`: the archive is the checkpoint. Nothing is left to do right after it."""
        self.archive()

    def archive(self) -> None:
        """Apply what was read, and write it into the archive, where it was not yet. Repeating it is harmless.

        Raises StorageRewound if a segment has vanished that was written a short while ago: then `restore`.
        """
        self.hand_over()
        if self.checkpoint_offset < self.next_offset:
            self.verify()
        while self.checkpoint_offset < self.next_offset:
            name = names.feedback_blob(self._hub, self._number, self.checkpoint_offset)
            finished = self._blobs.head(name)
            if finished is None:
                with contextlib.suppress(AlreadyExists):
                    finished = self._write(name)
            if finished is not None:
                self._move_on(finished)

    @property
    def unsettled(self) -> bool:
        """Whether a store that forgets its latest writes could still forget a segment."""
        self._written = [(at, name) for at, name in self._written if time.monotonic() - at < SETTLED_S]
        return bool(self._written)

    def verify(self) -> None:
        """Raises StorageRewound if a segment is gone that was written a short while ago."""
        if self.unsettled:
            require(self._blobs, (name for _, name in self._written))

    def _write(self, name: str) -> BlobInfo:
        """Write what follows the archive as one segment, up to the next one where one in between is missing."""
        first = self.checkpoint_offset
        through = min([self.next_offset, *(each for each in self._ahead if each > first)]) - 1
        items = list(itertools.takewhile(lambda item: item.offset <= through, self._pending))
        letters = [item.content for item in items if isinstance(item.content, DeadLetter)]
        # Under a name with the whole range: a range that no segment names counts for nothing.
        store_letters(self._blobs, names.dead_letter_blob(self._hub, self._number, first, through), letters)
        events = [(item.offset, item.content) for item in items if not isinstance(item.content, DeadLetter)]
        counters = msgspec.to_builtins(self._archived.with_items(items))
        return self._blobs.create(
            name,
            encode_feedback(Feedback.of(events)),
            metadata={names.THROUGH: str(through), **{key: str(value) for key, value in counters.items()}},
        )

    def _move_on(self, segment: BlobInfo) -> None:
        """Go on behind a segment, our own or one that a former life or a rival wrote first."""
        self.checkpoint_offset = int(segment.metadata[names.THROUGH]) + 1
        self._archived = _counters(segment)
        self._pending = [item for item in self._pending if item.offset >= self.checkpoint_offset]
        letters = (item.content for item in self._pending if isinstance(item.content, DeadLetter))
        self._dead_bytes = sum(len(letter.body) for letter in letters)
        self._pending_since = time.monotonic()
        self._written.append((time.monotonic(), segment.name))

    # ------------------------------------------------------------------ look

    def status(self) -> dict[str, int | None]:
        """Counts for people; `offset` is the next one to read, what lies before `checkpoint_offset` is archived."""
        return {
            **msgspec.to_builtins(self._archived.with_items(self._pending)),
            "offset": self.next_offset,
            "applied_offset": self._applied,
            "checkpoint_offset": self.checkpoint_offset,
        }


def decode(body: Body) -> RatingsEvent:
    """The event of a body. Raises BadInput, and nothing else, for what is none."""
    if isinstance(body, Unreadable):
        raise BadInput(body.reason)
    try:
        event: RatingsEvent = _decoder.decode(body or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"expected a rating or a wish to be forgotten, as JSON: {error}") from None
    return event


def _first_offset(info: BlobInfo) -> int:
    return int(info.name.rpartition("/")[2].removesuffix(".parquet"))


def _counters(segment: BlobInfo) -> Counters:
    return msgspec.convert(segment.metadata, Counters, strict=False)

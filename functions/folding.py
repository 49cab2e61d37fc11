"""The fold: predictions of a stream partition, in `seq` order, into alerts and the state of each series.

Documents, all in one partition of the state store (`names.fold_partition`):

    fold                              which batches are applied (FoldPosition)
    series:00 ... series:63           the series, spread over 64 shards by a hash of their names
    alert:<device>:<sensor>:<start>   one per episode (contract Alert)

Why shards: one document per series means a read and a write per window, 20,000 each for a large batch; one document
for all outgrows any limit. With 64 shards a fold of any size is one query and, unless it raises many alerts at once,
one transaction. What is waiting is applied in one pass, so a fold that falls behind catches up with larger passes.

Order and rivals: every transaction carries the `fold` document under the etag that this fold read before everything
else, so two folds of one partition never mix: the slower one finds another version, writes nothing and starts anew.

Crash between transactions (a pass of more than 100 documents): alerts of a shard are written before or with the
shard, and the position last. What was written is a function of the predictions; applied again, series at their cursor
are skipped and the rest comes out the same. Only `raised_at` and `updated_at` tell that there was a second time.

Storage that forgets (Azurite after a kill): `etags` remember which predictions were applied. When others stand under
their name, or none, `rewind` sets the position back and the new ones are applied; cursors skip what they repeat.
Until then nothing that follows is applied.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

import msgspec

from functions.alerts import CONTAINER, alert_id
from functions.series import SHARD_PREFIX, Episode, Series, advance, decode_shard, encode_shard, shard_id, shard_of
from models.contracts import Alert, AlertStatus
from models.errors import NotFound, Superseded, TryLater
from models.names import fold_partition, prediction_blob
from models.ports import MAX_TRANSACTION_WRITES, BlobStore, Clock, Put, StateStore
from models.tables import Predictions, decode_predictions
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)

POSITION: Final = "fold"
_PASS_WINDOWS: Final = 20_000
_PASS_BATCHES: Final = 64
_ATTEMPTS: Final = 20
# Below the 2 MB of a Cosmos DB transaction.
_TRANSACTION_BYTES: Final = 1_500_000
_REMEMBERED_ETAGS: Final = 4096
_FEW_SHARDS: Final = 8


@dataclass(frozen=True, slots=True)
class StreamPartition:
    """One partition of a hub under one window spec."""

    hub: str
    spec: WindowSpec
    number: int

    @property
    def key(self) -> str:
        """Its partition key in the state store."""
        return fold_partition(self.hub, self.spec, self.number)


@dataclass(frozen=True, slots=True)
class StoredPredictions:
    """Predictions with the etag of the blob that holds them."""

    predictions: Predictions
    etag: str


class FoldPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far a partition is folded: batches below `applied_until` are applied, below `verified_until` for good."""

    version: int = 1
    hub: str
    spec: str
    partition: int
    applied_until: int = 0
    verified_until: int = 0
    etags: list[str] = []
    """Of the predictions applied last, the latest being that of applied_until - 1."""
    writer: str = ""
    """Different for every transaction of a fold that needs several."""

    def etag_of(self, seq: int) -> str | None:
        """Etag of the predictions that were applied for `seq`; None if it is not remembered."""
        back = self.applied_until - seq
        return self.etags[-back] if 0 < back <= len(self.etags) else None

    def applied(self, etags: list[str]) -> "FoldPosition":
        """The position after applying the next batches."""
        return msgspec.structs.replace(
            self,
            applied_until=self.applied_until + len(etags),
            etags=[*self.etags, *etags][-_REMEMBERED_ETAGS:],
        )

    def rewound(self, seq: int) -> "FoldPosition":
        """The position from which `seq` is applied next."""
        kept = max(0, len(self.etags) - (self.applied_until - seq))
        return msgspec.structs.replace(
            self, applied_until=seq, verified_until=min(self.verified_until, seq), etags=self.etags[:kept]
        )

    def verified(self, until: int) -> "FoldPosition":
        """The position with everything below `until` applied for good."""
        keep = self.applied_until - until
        return msgspec.structs.replace(self, verified_until=until, etags=self.etags[-keep:] if keep else [])


class Folder:
    """Folds partitions; safe to share between threads, and harmless beside other processes that fold."""

    def __init__(self, blobs: BlobStore, state: StateStore, clock: Clock, *, threshold: float) -> None:
        self._blobs = blobs
        self._state = state
        self._clock = clock
        self._threshold = threshold
        # Threads of one process take turns instead of beating each other's compare-and-set.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def position(self, partition: StreamPartition) -> FoldPosition:
        """How far `partition` is folded."""
        return self._read(partition)[0]

    def fold(self, partition: StreamPartition, at_hand: Mapping[int, StoredPredictions] | None = None) -> int:
        """Apply, in order, all batches whose predictions exist from the position on; the number of batches applied.

        `at_hand`, by seq, saves reading predictions that the caller has just stored. Called again, or by two at once,
        it applies nothing twice. Raises TryLater when rivals keep coming first.
        """
        applied = 0
        with self._turn(partition):
            for _ in range(_ATTEMPTS):
                try:
                    while True:
                        batches, more = self._pass(partition, at_hand or {})
                        applied += batches
                        if not more:
                            return applied
                except Superseded:
                    log.info("another fold of %s came first, starting anew", partition.key)
        raise TryLater(f"fold of {partition.key}: others came first {_ATTEMPTS} times")

    def rewind(self, partition: StreamPartition, seq: int) -> None:
        """Apply `seq` and what follows again: its predictions are not those that were applied."""
        with self._turn(partition):
            position, etag = self._read(partition)
            if seq < position.applied_until:
                log.warning("predictions of %s changed at batch %d: folding from there again", partition.key, seq)
                self._commit(partition, [], position, position.rewound(seq), etag)

    def verify(self, partition: StreamPartition, until: int, *, at: FoldPosition) -> None:
        """Remember that batches below `until` stay as they are, found while the position was `at`.

        Nothing happens if the fold was set back meanwhile.
        """
        with self._turn(partition):
            position, etag = self._read(partition)
            if position.verified_until == at.verified_until < until <= min(position.applied_until, at.applied_until):
                self._commit(partition, [], position, position.verified(until), etag)

    def _turn(self, partition: StreamPartition) -> threading.Lock:
        with self._guard:
            return self._turns[partition.key]

    def _read(self, partition: StreamPartition) -> tuple[FoldPosition, str]:
        """Position and its etag, "" while there is none."""
        document = self._state.get(CONTAINER, partition.key, POSITION)
        if document is None:
            return FoldPosition(hub=partition.hub, spec=partition.spec.name, partition=partition.number), ""
        return _positions.decode(document.body), document.etag

    def _pass(self, partition: StreamPartition, at_hand: Mapping[int, StoredPredictions]) -> tuple[int, bool]:
        """Apply what stands next, up to the limits of one pass; the number of batches, and whether more may follow.

        Predictions stored after this looked for them are no loss: whoever stored them folds next, and either sees
        this pass committed or makes it fail.
        """
        position, etag = self._read(partition)
        batches, more = self._following(partition, position.applied_until, at_hand)
        if not batches or not self._last_stands(partition, position):
            return 0, False
        writes = self._apply(partition, [batch.predictions for batch in batches])
        self._commit(partition, writes, position, position.applied([batch.etag for batch in batches]), etag)
        return len(batches), more

    def _last_stands(self, partition: StreamPartition, position: FoldPosition) -> bool:
        """Whether the predictions applied last are still those in storage.

        If not, they may come back with windows that were not applied, and what follows would pass them by. Whoever
        stores or finds them rewinds, and folds.
        """
        seq = position.applied_until - 1
        applied = position.etag_of(seq)
        if applied is None:
            return True
        present = self._blobs.head(prediction_blob(partition.hub, partition.spec, partition.number, seq))
        if present is not None and present.etag == applied:
            return True
        log.warning("predictions of %s are lost or changed at batch %d: waiting for them", partition.key, seq)
        return False

    def _following(
        self, partition: StreamPartition, seq: int, at_hand: Mapping[int, StoredPredictions]
    ) -> tuple[list[StoredPredictions], bool]:
        """Predictions of `seq` and the batches right after it; whether a limit ended them, not a missing one."""
        batches: list[StoredPredictions] = []
        windows = 0
        while windows < _PASS_WINDOWS and len(batches) < _PASS_BATCHES:
            batch = at_hand.get(seq + len(batches)) or self._load(partition, seq + len(batches))
            if batch is None:
                return batches, False
            batches.append(batch)
            windows += len(batch.predictions)
        return batches, True

    def _load(self, partition: StreamPartition, seq: int) -> StoredPredictions | None:
        try:
            blob = self._blobs.get(prediction_blob(partition.hub, partition.spec, partition.number, seq))
        except NotFound:
            return None
        return StoredPredictions(decode_predictions(blob.data), blob.info.etag)

    def _apply(self, partition: StreamPartition, batches: list[Predictions]) -> list[list[Put]]:
        """What to write after `batches`: for each shard they touch its alerts, then the shard itself."""
        now = self._clock.now()
        touched = {key: shard_of(*key) for batch in batches for key in zip(batch.device, batch.sensor, strict=True)}
        shards = self._shards(partition, sorted(set(touched.values())))
        changed: dict[tuple[str, str, int], Alert] = {}
        for batch in batches:
            for device, sensor, start_us, status, score, version in zip(
                batch.device,
                batch.sensor,
                batch.start_us.tolist(),
                batch.status,
                batch.score.tolist(),
                batch.model_version,
                strict=True,
            ):
                key = (device, sensor)
                members = shards[touched[key]]
                series = members.get(key)
                if series is None:
                    series = members[key] = Series(device, sensor)
                if start_us <= series.last_us:
                    continue
                episode = advance(series, start_us, status, score, version, threshold=self._threshold, now=now)
                if episode is not None:
                    cleared_us = start_us if series.episode is None else None
                    changed[device, sensor, episode.start_us] = _alert(partition, series, episode, cleared_us, now)
        writes: dict[int, list[Put]] = {shard: [] for shard in shards}
        for (device, sensor, start_us), alert in changed.items():
            writes[touched[device, sensor]].append(
                Put(alert_id(device, sensor, start_us), msgspec.json.encode(alert))
            )
        for shard, members in shards.items():
            writes[shard].append(Put(shard_id(shard), encode_shard(members.values())))
        return list(writes.values())

    def _shards(self, partition: StreamPartition, wanted: list[int]) -> dict[int, dict[tuple[str, str], Series]]:
        """The series of the shards in `wanted`, by shard, then by (device, sensor)."""
        if len(wanted) <= _FEW_SHARDS:
            found = [self._state.get(CONTAINER, partition.key, shard_id(shard)) for shard in wanted]
            bodies = {document.id: document.body for document in found if document is not None}
        else:
            documents = self._state.query(CONTAINER, partition=partition.key, id_prefix=SHARD_PREFIX)
            bodies = {document.id: document.body for document in documents}
        return {
            shard: {
                (series.device, series.sensor): series
                for series in (decode_shard(bodies[shard_id(shard)]) if shard_id(shard) in bodies else ())
            }
            for shard in wanted
        }

    def _commit(
        self,
        partition: StreamPartition,
        writes: list[list[Put]],
        before: FoldPosition,
        after: FoldPosition,
        etag: str,
    ) -> None:
        """Write all of `writes`, in order, and the position `after` with the last of them. Raises Superseded."""
        *early, last = _chunks(writes)
        for chunk in early:
            held = msgspec.json.encode(msgspec.structs.replace(before, writer=token_hex(8)))
            self._state.transact(CONTAINER, partition.key, [*chunk, Put(POSITION, held, etag=etag)])
            found = self._state.get(CONTAINER, partition.key, POSITION)
            if found is None or found.body != held:
                raise Superseded(f"fold of {partition.key}: another one came between two transactions")
            etag = found.etag
        body = msgspec.json.encode(msgspec.structs.replace(after, writer=""))
        self._state.transact(CONTAINER, partition.key, [*last, Put(POSITION, body, etag=etag)])


def _chunks(groups: list[list[Put]]) -> Iterator[list[Put]]:
    """`groups`, kept whole where one fits, as transactions that leave room for the position; at least one."""
    chunk: list[Put] = []
    size = 0
    for group in groups:
        weight = sum(len(put.body) for put in group)
        whole = len(group) < MAX_TRANSACTION_WRITES and weight <= _TRANSACTION_BYTES
        for part in [group] if whole else [[put] for put in group]:
            weight = sum(len(put.body) for put in part)
            if chunk and (len(chunk) + len(part) >= MAX_TRANSACTION_WRITES or size + weight > _TRANSACTION_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.extend(part)
            size += weight
    yield chunk


def _alert(partition: StreamPartition, series: Series, episode: Episode, cleared_us: int | None, now: float) -> Alert:
    return Alert(
        hub=partition.hub,
        spec=partition.spec.name,
        partition=partition.number,
        device=series.device,
        sensor=series.sensor,
        start_us=episode.start_us,
        last_us=episode.last_us,
        cleared_us=cleared_us,
        windows=episode.windows,
        peak_score=episode.peak_score,
        threshold=episode.threshold,
        model_version=episode.model_version,
        status=AlertStatus.RAISED if cleared_us is None else AlertStatus.CLEARED,
        raised_at=episode.raised_at,
        updated_at=now,
    )


_positions = msgspec.json.Decoder(FoldPosition)

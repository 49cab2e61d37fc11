"""Names of blobs, queues and documents. Numbers are zero-padded so that name order is number order."""

import hashlib
from urllib.parse import quote

from models.windowspec import WindowSpec

SCORE_QUEUE = "score-batches"
TRAIN_QUEUE = "train-requests"
RECOMMEND_QUEUE = "recommend-requests"
SHARD_QUEUE = "recommend-shards"

VIDEO_UPLOAD_QUEUE = "video-uploads"
VIDEO_QUEUE = "video-work"

UPLOADS = "ratings-in/"
"""Where ratings are uploaded."""
USER_LISTS = "recommend-in/"
"""Where lists of users are uploaded."""

SHARDS = "recommend-work/"
"""Where the shards of lists of users lie, run by run, until the run ends."""

THROUGH = "through"
"""Metadata of a segment of an archive: the last offset that it covers."""
VIDEO_UPLOADS = "videos-in/"
"""Films to be stylised."""
VIDEO_WORK = "videos-work/"
"""Plans and segments of films, job by job, until the job ends."""
_LONGEST_ESCAPED = 200


def batch_prefix(hub: str, spec: WindowSpec, partition: int) -> str:
    """Where a partition's window batches lie."""
    return f"windows/{hub}/{spec.name}/{partition}/"


def batch_blob(hub: str, spec: WindowSpec, partition: int, seq: int) -> str:
    """Window batch `seq` (0, 1, 2 ... without holes) of a partition."""
    return f"{batch_prefix(hub, spec, partition)}{seq:012d}.parquet"


def prediction_prefix(hub: str, spec: WindowSpec, partition: int | None = None) -> str:
    """Where a partition's predictions lie, or those of all partitions."""
    tail = "" if partition is None else f"{partition}/"
    return f"predictions/{hub}/{spec.name}/{tail}"


def prediction_blob(hub: str, spec: WindowSpec, partition: int, seq: int) -> str:
    """Predictions of window batch `seq`."""
    return f"{prediction_prefix(hub, spec, partition)}{seq:012d}.parquet"


def checkpoint_blob(hub: str, spec: WindowSpec, partition: int) -> str:
    """The stream worker's checkpoint of a partition."""
    return f"checkpoints/{hub}/{spec.name}/{partition}"


def raw_prefix(hub: str, partition: int | None = None) -> str:
    """Where the archive of raw readings lies, of one partition or of all."""
    return f"raw/{hub}/" + ("" if partition is None else f"{partition}/")


def raw_blob(hub: str, partition: int, first_offset: int) -> str:
    """Raw readings from `first_offset` on; blob metadata THROUGH holds the last offset covered."""
    return f"{raw_prefix(hub, partition)}{first_offset:020d}.parquet"


def late_prefix(hub: str, partition: int | None = None) -> str:
    """Where late readings are kept."""
    return f"late/{hub}/" + ("" if partition is None else f"{partition}/")


def late_blob(hub: str, partition: int, first_offset: int, through: int) -> str:
    """Late readings of the archive segment with these offsets."""
    return f"{late_prefix(hub, partition)}{first_offset:020d}-{through:020d}.parquet"


def dead_letter_prefix(hub: str, partition: int | None = None) -> str:
    """Where readings and events are set aside with their reason."""
    return f"dead-letters/{hub}/" + ("" if partition is None else f"{partition}/")


def dead_letter_blob(hub: str, partition: int, first_offset: int, through: int) -> str:
    """Set-aside items (JSON lines) of the archive segment with these offsets."""
    return f"{dead_letter_prefix(hub, partition)}{first_offset:020d}-{through:020d}.jsonl"


def feedback_prefix(hub: str, partition: int | None = None) -> str:
    """Where the archive of feedback lies, of one partition or of all."""
    return f"feedback/{hub}/" + ("" if partition is None else f"{partition}/")


def feedback_blob(hub: str, partition: int, first_offset: int) -> str:
    """Events of the hub of ratings from `first_offset` on; blob metadata THROUGH holds the last offset covered."""
    return f"{feedback_prefix(hub, partition)}{first_offset:020d}.parquet"


def shards_prefix(run: str) -> str:
    """Where the shards of a run lie, and their recommendations."""
    return f"{SHARDS}{run}/"


def shard_blob(run: str, shard: int) -> str:
    """Users of one shard of a run; kept until the run ends."""
    return f"{shards_prefix(run)}in/{shard:06d}.json"


def shard_result_prefix(run: str) -> str:
    """Where the recommendations of a run's shards lie until they are joined."""
    return f"{shards_prefix(run)}out/"


def shard_result_blob(run: str, shard: int) -> str:
    """Recommendations (JSON lines) of one shard of a run."""
    return f"{shard_result_prefix(run)}{shard:06d}.jsonl"


def recommendations_blob(upload: str, run: str) -> str:
    """Recommendations (JSON lines) for the users listed in blob `upload`."""
    return f"recommend-out/{upload.partition('/')[2]}-{run}.jsonl"


def recommendations_error_blob(upload: str, run: str) -> str:
    """Why there are no recommendations for blob `upload` (JSON)."""
    return f"recommend-out/{upload.partition('/')[2]}-{run}.error.json"


def run_log_blob(run: str) -> str:
    """The worker's log of a run."""
    return f"run-logs/{run}.txt"


def video_upload_blob(upload: str, name: str) -> str:
    """Where a film goes for which an upload was asked; `name` is one path segment."""
    return f"{VIDEO_UPLOADS}{upload}/{name}"


def video_work_prefix(job: str) -> str:
    """Where all lies that a job needs until it ends."""
    return f"{VIDEO_WORK}{job}/"


def video_plan_blob(job: str) -> str:
    """The plan of a job, create-only: whoever is first decides it."""
    return f"{video_work_prefix(job)}plan.json"


def video_segment_prefix(job: str) -> str:
    """Where the stylised segments of a job lie until they are joined."""
    return f"{video_work_prefix(job)}segments/"


def video_segment_blob(job: str, segment: int) -> str:
    """Stylised segment `segment` of a job, create-only."""
    return f"{video_segment_prefix(job)}{segment:06d}"


def video_result_blob(stem: str, job: str, ending: str) -> str:
    """The stylised film, create-only; `stem` is one path segment, `ending` has its dot."""
    return f"videos-out/{stem}-{job}{ending}"


def video_log_prefix(job: str) -> str:
    """Where the logs of a job's steps lie."""
    return f"video-logs/{job}/"


def fold_partition(hub: str, spec: WindowSpec, partition: int) -> str:
    """Partition key in the state store of everything folded from one stream partition."""
    return f"{hub}/{spec.name}/{partition}"


def escaped(name: str) -> str:
    """`name` in letters, digits and `_.-~%`; a long one as `=` and its digest, which no other name escapes to.

    It holds no character that Cosmos DB forbids in an id and stays below its 1,023 bytes.
    """
    # A name that is asked for may hold lone surrogates (a command line that is no UTF-8); those of events never do.
    data = name.encode("utf-8", "surrogatepass")
    text = quote(data, safe="")
    return text if len(text) <= _LONGEST_ESCAPED else f"={hashlib.sha256(data).hexdigest()}"

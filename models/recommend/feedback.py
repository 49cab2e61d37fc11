"""A segment of the feedback archive: what the hub of ratings held in a range of offsets, as a Parquet file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contracts.feedback import FeedbackEvent, RatingsEvent
from models.errors import BadInput
from models.recommend.ratings import Float32, Int64
from models.tables import epoch_us, read_parquet, text_column, timestamps, write_parquet


@dataclass(frozen=True, slots=True)
class Feedback:
    """n events as columns, in log order. Where `forget`, the user wants to be forgotten, and there is no rating."""

    user: list[str]
    item: list[str]
    """"" where `forget`."""
    rating: Float32
    """NaN where `forget`."""
    time_us: Int64
    key: list[str]
    """The sender's idempotency key; "" where `forget`."""
    forget: npt.NDArray[np.bool_]
    offset: Int64

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def of(cls, events: Sequence[tuple[int, RatingsEvent]]) -> "Feedback":
        """The columns of (offset, event) pairs."""
        ratings = [event if isinstance(event, FeedbackEvent) else None for _, event in events]
        return cls(
            user=[event.user for _, event in events],
            item=[rating.item if rating else "" for rating in ratings],
            rating=np.array([rating.rating if rating else np.nan for rating in ratings], dtype=np.float32),
            time_us=np.array([event.time_us for _, event in events], dtype=np.int64),
            key=[rating.key if rating else "" for rating in ratings],
            forget=np.array([rating is None for rating in ratings], dtype=np.bool_),
            offset=np.array([offset for offset, _ in events], dtype=np.int64),
        )


def encode_feedback(feedback: Feedback) -> bytes:
    """Parquet bytes of feedback."""
    columns = {
        "user": text_column(feedback.user),
        "item": text_column(feedback.item),
        "rating": feedback.rating,
        "time": timestamps(feedback.time_us),
        "key": text_column(feedback.key),
        "forget": feedback.forget,
        "offset": feedback.offset,
    }
    return write_parquet(columns, {})


def decode_feedback(data: bytes) -> Feedback:
    """The feedback of `encode_feedback`. Raises BadInput if `data` is something else."""
    table = read_parquet(data)
    try:
        return Feedback(
            user=table["user"].to_pylist(),
            item=table["item"].to_pylist(),
            rating=table["rating"].to_numpy(),
            time_us=epoch_us(table["time"]),
            key=table["key"].to_pylist(),
            forget=table["forget"].to_numpy(),
            offset=table["offset"].to_numpy(),
        )
    except KeyError as missing:
        raise BadInput(f"feedback: column {missing} is missing") from missing

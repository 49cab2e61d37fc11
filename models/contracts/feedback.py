"""What users do, as it passes through the hub `ratings`: an event body is one rating or one wish to be forgotten."""

from typing import Annotated, Final

import msgspec

from models.contracts.readings import MAX_EPOCH_US

LOWEST_RATING: Final = 0.5
HIGHEST_RATING: Final = 5.0
LONGEST_ID: Final = 256
"""Characters."""

# Any character but control characters (Unicode category Cc) and U+FFFD, which hosts put for bytes that are no text.
# Python and JSON Schema read this form alike.
Id = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=LONGEST_ID, pattern=r"^(?![\s\S]*[\x00-\x1f\x7f-\x9f\ufffd])[\s\S]*$"),
]
Rating = Annotated[float, msgspec.Meta(ge=LOWEST_RATING, le=HIGHEST_RATING)]
TimeUs = Annotated[int, msgspec.Meta(ge=0, le=MAX_EPOCH_US)]


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rating"):
    """`user` gave `item` the rating `rating` (LOWEST_RATING to HIGHEST_RATING) at `time_us`, epoch microseconds.

    `key` is the sender's idempotency key: an event that comes again under it changes nothing. Of several ratings of
    one item by one user the one with the largest (time_us, key) counts, in whatever order they come.
    """

    version: int = 1
    user: Id
    item: Id
    rating: Rating
    time_us: TimeUs
    key: Id


class ForgetEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="forget"):
    """Ratings of `user` at `time_us` (epoch microseconds) or before are no longer used, wherever they came from."""

    version: int = 1
    user: Id
    time_us: TimeUs


# What an event body of the hub is.
RatingsEvent = FeedbackEvent | ForgetEvent

"""A rating, or a wish to be forgotten: to the hub first, then to the profile.

The hub is what training reads, so it must not miss what an answer already shows; if the second step is lost, the
stream worker makes it good when it reads the event. Sent again, a rating with the same key changes nothing.
"""

from typing import Final

import msgspec

from functions.parameters import checked_id
from functions.recommend.lists import read_profile
from functions.recommend.services import RecommendServices
from functions.recommend.wishes import decode_body
from models.contracts.feedback import FeedbackEvent, ForgetEvent
from models.contracts.recommendations import Forgotten, RatingAccepted, RatingRequest
from models.errors import BadInput
from models.recommend.history import apply_events
from models.recommend.profile import Profile

_MAX_AHEAD_S: Final = 300.0


def rate(body: bytes, here: RecommendServices) -> RatingAccepted:
    """Take a RatingRequest; the user's next answer reflects it. Raises BadInput, or TryLater: then send it again."""
    request = decode_body(body, RatingRequest)
    user, item, key = request.user, request.item, request.key
    now_us = int(here.clock.now() * 1e6)
    time_us = now_us if request.time_us is None else request.time_us
    if time_us > now_us + _MAX_AHEAD_S * 1e6:
        raise BadInput(f"time_us: expected a time that is not in the future, got {time_us} (now it is {now_us})")
    time_us = min(time_us, now_us)
    before = read_profile(here.state, user)
    if _is_known(before, item, key, request.rating):
        return _answer(request, before.ratings[item].time_us if item in before.ratings else time_us, changed=False)
    event = FeedbackEvent(user=user, item=item, rating=request.rating, time_us=time_us, key=key)
    here.ratings.send(user, msgspec.json.encode(event))
    apply_events(here.state, user, [event])
    after = read_profile(here.state, user).ratings.get(item)
    return _answer(request, time_us, changed=after is not None and after.key == key)


def forget(user: str | None, here: RecommendServices) -> Forgotten:
    """Remove a user's profile and leave a mark, so that no ratings until now are trained on or written back.

    Safe to repeat. Ratings that come later begin a new profile.
    """
    user = checked_id(user, "user")
    rated = read_profile(here.state, user).ratings.values()
    # Another instance's clock may be a little ahead.
    until_us = max([int(here.clock.now() * 1e6), *(each.time_us for each in rated)])
    event = ForgetEvent(user=user, time_us=until_us)
    here.ratings.send(user, msgspec.json.encode(event))
    apply_events(here.state, user, [event])
    return Forgotten(user=user, time_us=event.time_us, ratings=len(rated))


def _is_known(profile: Profile, item: str, key: str, rating: float) -> bool:
    """Whether a rating came before under this key. Raises BadInput if it was another one."""
    used = profile.spent.get(key)
    if used is None and key in profile.replaced:  # a document from before `spent`
        return True
    if used is None:
        used = next(((each, rated.rating) for each, rated in profile.ratings.items() if rated.key == key), None)
    if used is None:
        return False
    if used != (item, rating):
        raise BadInput(f"key: {key!r} was used for a rating of {used[0]!r} with {used[1]:g}; take a new one")
    return True


def _answer(request: RatingRequest, time_us: int, *, changed: bool) -> RatingAccepted:
    return RatingAccepted(
        user=request.user, item=request.item, rating=request.rating, time_us=time_us, key=request.key, changed=changed
    )

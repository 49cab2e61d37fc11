"""`POST /api/videos`: an address to which one film can be put."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from functions.videos.request import read_request
from models.contracts.film import Limits
from models.contracts.videos import VideoAccepted, VideoUpload
from models.names import video_upload_blob
from models.ports import BlobLinks, Clock
from models.style.names import StyleNames
from models.videos import Videos, safe_name

# What Azure asks of whoever writes a blob whole.
_HEADERS: Final = {"x-ms-blob-type": "BlockBlob"}
_NOBODY: Final = "anonymous"


def caller_of(headers: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Who calls, as far as a function key says: a digest of the key, which the host has checked.

    Clients that share a key share a quota; each client can be given a key of its own. No other header is believed,
    since whoever calls could set it.
    """
    # Of several the host has checked the first, and gives them to us with commas between, which no key holds.
    given = headers.get("x-functions-key") or parameters.get("code") or ""
    key = given.partition(",")[0].strip()
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else _NOBODY


def expect_upload(
    body: bytes,
    caller: str,
    *,
    videos: Videos,
    styles: StyleNames,
    limits: Limits,
    links: BlobLinks,
    clock: Clock,
    new_id: Callable[[], str],
    valid: timedelta,
    per_hour: int,
) -> VideoAccepted:
    """An address for the film that `body` describes, recorded with its options for when the film comes.

    Called twice there are two. Raises BadInput for a body that says what cannot be, TooMany beyond the quota,
    ConfigurationError where addresses cannot be signed.
    """
    request, options = read_request(body, limits)
    styles.check(options.style, options.quality)
    id = new_id()
    blob = video_upload_blob(id, safe_name(request.name))
    link = links.to_upload(blob, valid)  # first: what cannot be signed is neither counted nor recorded
    videos.count_upload(caller, per_hour)
    now = clock.now()
    videos.expect(
        VideoUpload(
            id=id,
            blob=blob,
            name=request.name,
            options=options,
            caller=caller,
            created_at=now,
            expires_at=now + valid.total_seconds(),
        )
    )
    return VideoAccepted(
        id=id, blob=blob, upload_url=link.url, headers=dict(_HEADERS), expires_at=link.expires_at, options=options
    )

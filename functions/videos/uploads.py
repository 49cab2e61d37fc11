"""`POST /api/videos`: an address to which one film can be put."""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from functions.parameters import brief
from models.contracts.videos import VideoAccepted, VideoRequest, VideoUpload
from models.errors import BadInput
from models.names import video_upload_blob
from models.ports import BlobLinks, Clock
from models.videos import Videos, film_options, safe_name

_LARGEST_BODY: Final = 16_384
_LONGEST_NAME: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# What Azure asks of whoever writes a blob whole.
_HEADERS: Final = {"x-ms-blob-type": "BlockBlob"}
_NOBODY: Final = "anonymous"


def caller_of(headers: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Who calls, as far as a function key says: a digest of the key, which the host has checked.

    Clients that share a key share a quota; each client can be given a key of its own. No other header is believed,
    since whoever calls could set it.
    """
    key = headers.get("x-functions-key") or parameters.get("code")
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else _NOBODY


def expect_upload(
    body: bytes,
    caller: str,
    *,
    videos: Videos,
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
    request = _decode(body)
    options = film_options(
        {
            name: str(value)
            for name, value in msgspec.structs.asdict(request).items()
            if name != "name" and value is not None
        }
    )
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


def _decode(body: bytes) -> VideoRequest:
    if len(body) > _LARGEST_BODY:
        raise BadInput(
            f"body: expected at most {_LARGEST_BODY} bytes that describe a film, got {len(body)}; "
            "the film itself goes to upload_url"
        )
    try:
        request = msgspec.json.decode(body or b"{}", type=VideoRequest)
    except msgspec.DecodeError as error:
        raise BadInput(f'body: expected JSON like {{"name": "film.mp4", "style": "great-wave"}}: {error}') from error
    if not 0 < len(request.name) <= _LONGEST_NAME or _CONTROL.search(request.name):
        raise BadInput(
            f"name: expected 1 to {_LONGEST_NAME} characters without control characters, got {brief(request.name)}"
        )
    return request

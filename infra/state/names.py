r"""Ids of any characters as ids of Cosmos DB, in the same order.

Cosmos DB forbids `/`, `\`, `?` and `#` in an id and takes 1,023 bytes. Here the UTF-8 bytes of digits, letters and
some signs stand for themselves and every other byte for a sign and two hexadecimal digits. The sign is one that lies
where the byte lies, so that encoded ids sort as the ids do, and one starts with another where the ids do.
"""

import hashlib
from typing import Final

from models.errors import BadInput

LONGEST: Final = 955
"""Encoded characters up to which an id is kept whole; a longer one ends in a digest instead."""


def _code(byte: int) -> str:
    if byte < 0x30:
        return f"!{byte:02x}"
    if 0x3E <= byte <= 0x40:  # > ? @
        return f">{byte:02x}"
    if 0x5B <= byte <= 0x5D:  # [ \ ]
        return f"[{byte:02x}"
    return chr(byte) if byte < 0x7E else f"~{byte:02x}"


_CODES: Final = [_code(byte) for byte in range(256)]


def encoded_id(id: str) -> str:
    """The id in Cosmos DB. Raises BadInput for an empty one, or one that is no Unicode text."""
    text = encoded_prefix(id)
    if not text:
        raise BadInput("id of a document: expected at least one character, got none")
    # A digest behind more than the longest: no other id has this form.
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}={hashlib.sha256(id.encode()).hexdigest()}"


def encoded_prefix(prefix: str) -> str:
    """What the encoded ids of all ids with this prefix start with, cut where `encoded_id` cuts it or not at all."""
    try:
        return "".join([_CODES[byte] for byte in prefix.encode()])
    except UnicodeEncodeError as error:
        raise BadInput(f"id of a document: expected Unicode text, got {prefix!r}") from error

"""Whether an MP4 or MOV file was cut short before its index, which many writers put at the end."""

from pathlib import Path
from typing import Final

_FIRST: Final = (b"ftyp", b"wide", b"free", b"skip", b"mdat")
_INDEX: Final = b"moov"
_MOST_BOXES: Final = 10_000


def lacks_index(path: Path) -> bool:
    """Whether the file begins as MP4 or MOV does and holds no index (ISO/IEC 14496-12, boxes at the top)."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        at, first = 0, True
        for _ in range(_MOST_BOXES):
            file.seek(at)
            head = file.read(16)
            kind = head[4:8]
            if kind == _INDEX or (first and kind not in _FIRST):
                return False
            first = False
            at += _size(head, end - at)
            if at >= end:
                return True
    return False


def _size(head: bytes, rest: int) -> int:
    """Of the box with this head; `rest`: bytes to the end of the file."""
    size = int.from_bytes(head[:4], "big")
    if size == 1:  # said in 64 bits
        size = int.from_bytes(head[8:16], "big")
    return size if size >= 8 else rest  # 0: to the end; else nonsense

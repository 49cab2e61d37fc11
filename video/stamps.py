"""Time stamps that ascend, made of those that a file has."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

JUMP_S: Final = 1.0
"""Stamps that go back by more begin anew, as where films were put behind each other; by less they are mixed up."""


def ascending(stamps: Sequence[int], step: int, jump: float) -> list[int]:
    """Times of frames, in the order in which they are shown, that ascend and are the stamps wherever those do.

    Stamps that go back by more than `jump` go on a `step` after the latest before; others that go back were mixed up
    by the file's reader and change places. Of two that are equal one is a tick later.
    """
    times: list[int] = []
    for run in runs(stamps, jump):
        run.sort()
        shift = times[-1] + step - run[0] if times else 0
        for stamp in run:
            time = stamp + shift
            times.append(max(time, times[-1] + 1) if times else time)
    return times


def runs(stamps: Sequence[int], jump: float) -> list[list[int]]:
    """The stamps, parted where they begin anew."""
    found: list[list[int]] = []
    latest = 0
    for stamp in stamps:
        if not found or stamp < latest - jump:
            found.append([])
            latest = stamp
        found[-1].append(stamp)
        latest = max(latest, stamp)
    return found


class TrackClock:
    """The stamps of one copied track, in the order of the file, so that a container can hold them."""

    def __init__(self, unit: Fraction, *, apart: bool) -> None:
        """unit: seconds of a tick. apart: whether no two may be equal."""
        self._unit = unit
        self._apart = int(apart)
        self._shift = 0
        self._latest: int | None = None
        self._next = 0

    def shift(self, stamp: int | None, duration: int, reached_s: Fraction) -> int:
        """By how much to move a packet with this stamp (None: it has none, and 0 is moved).

        reached_s: where the film's tracks have got to, in seconds; there one goes on whose stamps begin anew.
        """
        if stamp is None:
            time = self._next
        else:
            time = stamp + self._shift
            if self._latest is not None and (self._latest - time) * self._unit > JUMP_S:
                self._shift = round(reached_s / self._unit) - stamp
                time = stamp + self._shift
        if self._latest is not None:
            time = max(time, self._latest + self._apart)
        self._latest, self._next = time, time + duration
        return time - (stamp or 0)

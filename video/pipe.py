"""A bounded queue between two threads that ends cleanly, whichever side ends first and however."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # an answer, not an error
    """The other side has gone; there is nothing left to do."""


class Pipe(Generic[T]):
    """One thread puts and then finishes, another iterates; either may abandon it, and ends the other's wait."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._abandoned = False

    def put(self, item: T) -> None:
        """Wait for room and add the item; `Closed` once the pipe is abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._items) < self._size)
            if self._abandoned:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Throw away what is in it, and end the wait of both sides."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Items until the pipe is finished; `Closed` once it is abandoned."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._abandoned or self._items or self._finished)
                if self._abandoned:
                    raise Closed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

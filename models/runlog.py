"""The log of a run, or of a step of one, as a blob; one section per try."""

import logging
from types import TracebackType
from typing import Final, Self

from models.errors import NotFound, TryLater
from models.ports import BlobStore

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class RunLog(logging.Handler):
    """Keeps what is logged while it is entered, and stores it as blob `name` at each `save` and at the end, after
    earlier tries.
    """

    def __init__(self, blobs: BlobStore, name: str) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(_FORMAT))
        self._blobs = blobs
        self._name = name
        self._before = b""
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; the log is small, since a run logs stages, not rows."""
        self._lines.append(self.format(record))

    def save(self) -> None:
        """Store all lines so far. Storage that is away must not stop a run: the next save stores them."""
        text = "".join(f"{line}\n" for line in self._lines)
        try:
            self._blobs.replace(self._name, self._before + text.encode(errors="backslashreplace"))
        except TryLater:
            return

    def __enter__(self) -> Self:
        try:
            self._before = self._blobs.get(self._name).data + b"-- next try --\n"
        except (NotFound, TryLater):
            self._before = b""
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            logging.getLogger(__name__).error("the run ends with an error", exc_info=error)
        logging.getLogger().removeHandler(self)
        self.save()

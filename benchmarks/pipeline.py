"""A look at the whole local runtime from outside: how far windows and predictions are, and which alerts show."""

import time
from dataclasses import dataclass

import msgspec

from functions.alerts import CONTAINER
from functions.folding import POSITION, FoldPosition, StreamPartition
from infra.cli.context import open_results, settings_of
from infra.cli.status import stream_status
from infra.feed.results import ScoreCount
from infra.local.home import Home
from infra.state.sqlite import SqliteState


@dataclass(frozen=True, slots=True)
class Look:
    """Counts since the hub's first event, at one moment (monotonic seconds)."""

    at: float
    events: int
    readings: int
    windows: int
    lag: int
    """Events in the hub that the stream has not processed."""
    unscored: int
    """Batches of windows whose predictions are not stored and folded into alerts yet."""


class Pipeline:
    """The runtime that runs in a data folder."""

    def __init__(self, home: Home) -> None:
        self.settings = settings_of(home)
        self.results = open_results(self.settings)
        self._state = SqliteState(self.settings.state_path)

    def look(self) -> Look | None:
        """How far it is; None while the stream does not answer."""
        page = stream_status(self.settings.stream_web_port)
        if page is None:
            return None
        at, totals = time.monotonic(), page["totals"]
        waiting = sum(each["next_seq"] - self._folded(int(number)) for number, each in page["partitions"].items())
        events, readings, windows, lag = (int(totals[name]) for name in ("events", "readings", "windows", "lag"))
        return Look(at, events, readings, windows, lag, waiting)

    def wait(self, *, events: int, windows: int, timeout_s: float = 300.0) -> list[Look]:
        """All looks until so many events are processed, and so many windows scored. Raises TimeoutError."""
        looks: list[Look] = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            look = self.look()
            if look is not None:
                looks.append(look)
                if look.events >= events and look.windows >= windows and not look.unscored:
                    return looks
            time.sleep(0.2)
        raise TimeoutError(f"expected {events} events and {windows} windows scored, got {looks[-1:]}")

    def scored(self) -> ScoreCount:
        """Predictions stored so far, by their status."""
        count = ScoreCount()
        self.results.count_scores(count)
        return count

    def _folded(self, partition: int) -> int:
        key = StreamPartition(self.settings.hub, self.settings.spec, partition).key
        document = self._state.get(CONTAINER, key, POSITION)
        return 0 if document is None else msgspec.json.decode(document.body, type=FoldPosition).applied_until

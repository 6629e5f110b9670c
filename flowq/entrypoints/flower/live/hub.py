"""Who listens for live pages: one reader for each run that is looked at, one look at all runs.

However many pages are open, a run's events are read once in this process, by its follower; runs
beyond `MAX_RUNS` are told to try again later. The follower puts what it reads into a projection of
the run and notifies the pages; each takes from its change log what it has not seen (see `state`).

The list of runs has no stream of its own, and a message to Redis for each change of each run would
be paid for by workers, whether a page is open or not. So one more thread looks at the rows while a
page is open: two statements, twice a second, for all pages together; less often when an answer
takes long, so that looking never takes more than a tenth of the time. That thread also sees what no
event tells: that a run was paused, or is stopping.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from flowq.client.followers import Follower, Followers, Notifier
from flowq.core.errors import FlowqError
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.core.usage import Usage
from flowq.engine.engine import Engine
from flowq.engine.queries.live import RunSummary
from flowq.entrypoints.flower.live.state import ChangeLog, Delta, RunProjection

logger = logging.getLogger(__name__)

#: Runs that are followed at once, by a thread each.
MAX_RUNS: Final = 64
#: Runs in the change log of the list.
_NEWEST, _UNENDED = 50, 200
#: Open runs whose steps are counted at each look; the others show what the sweeper has summed up.
_COUNTED: Final = 50
_COUNTED_STEPS: Final = 20_000
#: Seconds between two looks: for lists, and for what pages of single runs need of it.
_PAUSE, _RARE = 0.5, 2.0
#: A look is followed by so many times its own length of rest.
_REST: Final = 10.0

Ask = Callable[[], Engine]


class Source(Protocol):
    """What a page follows."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""


class RunSink:
    """What the pages of one run show, made from its events by its follower."""

    def __init__(self, notifier: Notifier, *, shows_content: bool) -> None:
        self._notifier = notifier
        self._shows_content = shows_content
        self._state = self._projection = RunProjection(shows_content)
        self._unseen = False
        self._row: tuple[RunState, Usage | None] | None = None

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""
        return self._state.changes.since(seen)

    def set_status(self, status: RunState, used: Usage | None = None) -> None:
        """Hear from the rows of the run."""
        self._row = status, used
        if self._state.set_status(status, used):
            self._notifier.notify()

    def begin(self) -> None:
        """Make what is shown anew; it is shown once all of it is there."""
        # What was before is told fast, and shown as one change: no bar runs through its past.
        self._live = datetime.now(UTC) - timedelta(seconds=1)
        self._projection = RunProjection(self._shows_content)

    def take(self, event: Event) -> None:
        """Take an event; a new one is shown at once."""
        self._unseen = self._projection.take(event) or self._unseen
        if event.timestamp > self._live:
            self.caught_up()

    def caught_up(self) -> None:
        """Show what was taken."""
        projection = self._projection
        if self._unseen or self._state is not projection:
            if self._state is not projection and self._row is not None:
                projection.set_status(*self._row)
            self._state, self._unseen = projection, False
            self._notifier.notify()


@dataclass(frozen=True)
class _RunSource:
    """What the pages of one run follow."""

    follower: Follower[RunSink]

    @property
    def over(self) -> bool:
        return self.follower.over

    def since(self, seen: str) -> Delta:
        return self.follower.sink.since(seen)


class RunListPoller:
    """Looks at the rows of runs, for all pages."""

    over = False

    def __init__(self, ask: Ask, followed: Callable[[], Mapping[RunId, RunSink]]) -> None:
        self.notifier = Notifier()
        self._ask = ask
        self._followed = followed
        self._state = ChangeLog()
        self._open: set[RunId] = set()
        self._kept: set[RunId] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._runs = False

    def start(self) -> None:
        """Begin to look, in a thread, unless that is done already."""
        with self._lock:
            self._wake.set()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="flowq-look", daemon=True).start()

    def join(self) -> asyncio.Event:
        """Return a bell for one more list; what was seen for others long ago is not shown."""
        with self._lock:
            if not len(self.notifier):
                self._state, self._open, self._kept = ChangeLog(), set(), set()
            return self.notifier.add()

    def stop(self) -> None:
        """Look whether anybody is still there."""
        self._wake.set()

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""
        return self._state.since(seen)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            with self._lock:
                followed = self._followed()
                if not followed and not len(self.notifier):
                    self._runs = False
                    return
            began = time.monotonic()
            try:
                self._look(followed)
            except FlowqError as error:
                logger.debug("the runs cannot be read: %s", error)
            except Exception:
                logger.exception("the runs cannot be read")
            took = time.monotonic() - began
            least = _PAUSE if len(self.notifier) else _RARE
            rest = max(_REST * took, _PAUSE / 5)
            time.sleep(rest)
            self._wake.wait(max(0.0, least - took - rest))  # who comes now shortens it

    def _look(self, followed: Mapping[RunId, RunSink]) -> None:
        records = self._ask().records
        lists = len(self.notifier) > 0
        # Those that have ended since are looked at once more; they are in no list of open ones.
        also = [*followed, *(self._open if lists else ())]
        lines = records.autocommit(
            lambda tx: tx.overview.recent(
                newest=_NEWEST if lists else 0, unended=_UNENDED if lists else 0, also=also
            )
        )
        now = self._counted([line for line in lines if lists or line.id in followed])
        for line in lines:
            if line.id in followed:
                used = now[line.id][2] if line.id in now else None
                followed[line.id].set_status(line.status, used)
        if lists:
            self._put(lines, now)

    def _counted(self, lines: list[RunSummary]) -> Mapping[RunId, tuple[int, int, Usage]]:
        """Count the steps of open runs, the newest first, and sum what they have used."""
        small = [
            line.id
            for line in reversed(lines)
            if line.status not in TERMINAL_RUN_STATES and line.total <= _COUNTED_STEPS
        ][:_COUNTED]
        if not small:
            return {}
        return self._ask().records.autocommit(lambda tx: tx.overview.progress(small))

    def _put(self, lines: list[RunSummary], now: Mapping[RunId, tuple[int, int, Usage]]) -> None:
        changed = False
        for line in lines:
            done, total, used = now.get(line.id, (line.done, line.total, line.used))
            shown = {
                "id": str(line.id),
                "flow": line.flow_name,
                "status": line.status,
                "done": done,
                "total": total,
                "tokens": used.tokens,
                "cost": used.cost,
                "unpriced": used.unpriced,
                "ms": line.execution_time_ms,
                "since": line.started_at or line.created_at,
            }
            changed = self._state.put("runs", str(line.id), shown) or changed
        self._open = {line.id for line in lines if line.status not in TERMINAL_RUN_STATES}
        here = {line.id for line in lines}
        for gone in self._kept - here:
            self._state.drop("runs", str(gone))
        self._kept = here
        if changed:
            self.notifier.notify()


class Hub:
    """All that this process listens to, for its live pages.

    Args:
        ask: Gives the engine of this process.
        shows_content: Whether streamed text is passed on.
        most_runs: How many runs are followed at once.
    """

    def __init__(self, ask: Ask, *, shows_content: bool, most_runs: int = MAX_RUNS) -> None:
        self._followers: Followers[RunSink] = Followers(
            ask,
            lambda _, notifier: RunSink(notifier, shows_content=shows_content),
            most=most_runs,
        )
        self._looker = RunListPoller(ask, self._followers.sinks)

    @contextmanager
    def run(self, run_id: RunId, status: RunState) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of a run's page, and what is set when it has something new.

        Args:
            status: Its state, read just now: what was heard before must not undo it on the page.

        Raises:
            TooManyRuns: too many others are followed.
        """
        with self._followers.following(run_id) as (follower, wakeup):
            follower.sink.set_status(status)
            self._looker.start()
            try:
                yield _RunSource(follower), wakeup
            finally:
                self._looker.stop()

    @contextmanager
    def runs(self) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of the list of runs, and what is set when it has something new."""
        wakeup = self._looker.join()
        self._looker.start()
        try:
            yield self._looker, wakeup
        finally:
            self._looker.notifier.remove(wakeup)
            self._looker.stop()

    def close(self) -> None:
        """Let all threads end."""
        self._followers.close()

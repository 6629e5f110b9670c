"""Who listens for live pages: one reader for each run that is looked at, one look at all runs.

However many pages are open, a run's events are read once in this process, by a thread that begins
with the first page of the run and ends with the last. `run.events()` blocks, and so a run costs a
thread and a connection to Redis; there are at most `MAX_RUNS`, and who comes then is told to try
again later. The reader puts what it reads into a projection of the run and notifies the pages; each
takes from its change log what it has not seen (see `state`).

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
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from flowq.core.errors import FlowqError, RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.core.usage import Usage
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow
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
#: Seconds before a reader that has failed begins again: the first time, and at most.
_AGAIN, _MAX_RETRY_PAUSE = 0.5, 10.0

Ask = Callable[[], Engine]


class TooManyRuns(Exception):
    """No more runs can be followed now."""


class Source(Protocol):
    """What a page follows."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""


class _Notifier:
    """Wakes the pages that wait, in the loops that they wait in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakeups: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def __len__(self) -> int:
        return len(self._wakeups)

    def add(self) -> asyncio.Event:
        wakeup = asyncio.Event()
        with self._lock:
            self._wakeups[wakeup] = asyncio.get_running_loop()
        return wakeup

    def remove(self, wakeup: asyncio.Event) -> None:
        with self._lock:
            self._wakeups.pop(wakeup, None)

    def notify(self) -> None:
        """Wake all; called from any thread."""
        with self._lock:
            for wakeup, loop in self._wakeups.items():
                if not wakeup.is_set() and not loop.is_closed():
                    loop.call_soon_threadsafe(wakeup.set)


class RunSubscription:
    """Reads the events of one run, for all its pages."""

    def __init__(self, ask: Ask, run_id: RunId, *, shows_content: bool) -> None:
        self.run_id = run_id
        self.notifier = _Notifier()
        self.over = False
        self._ask = ask
        self._shows_content = shows_content
        self._state = RunProjection(shows_content)
        self._stop = threading.Event()
        self._unseen = False
        self._row: tuple[RunState, Usage | None] | None = None

    def start(self) -> None:
        """Begin to read, in a thread."""
        name = f"flowq-follow-{self.run_id}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """End the thread, within about a second."""
        self._stop.set()

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""
        return self._state.changes.since(seen)

    def set_status(self, status: RunState, used: Usage | None = None) -> None:
        """Hear from the rows of the run."""
        self._row = status, used
        if self._state.set_status(status, used):
            self.notifier.notify()

    def _run(self) -> None:
        pause = _AGAIN
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._read()
                break
            except RunNotFound:
                break
            except FlowqError as error:
                logger.warning("the state of run %s is reloaded: %s", self.run_id, error)
            except Exception:
                # Pages must not stand still forever because of one fault.
                logger.exception("the state of run %s is reloaded", self.run_id)
            pause = _AGAIN if time.monotonic() - began > 60 else min(2 * pause, _MAX_RETRY_PAUSE)
            self._stop.wait(pause)
        self.over = True
        self.notifier.notify()

    def _read(self) -> None:
        # What was before is told fast, and shown as one change: no bar runs through its past.
        live = datetime.now(UTC) - timedelta(seconds=1)
        projection = RunProjection(self._shows_content)
        engine = self._ask()

        def stopped() -> bool:  # asked after all that was there, and about once a second
            self._show(projection)
            return self._stop.is_set()

        for event in follow(engine, self.run_id, stopped=stopped):
            self._unseen = projection.take(event) or self._unseen
            if event.timestamp > live:
                self._show(projection)
        self._show(projection)

    def _show(self, projection: RunProjection) -> None:
        if self._unseen or self._state is not projection:
            if self._state is not projection and self._row is not None:
                projection.set_status(*self._row)
            self._state, self._unseen = projection, False
            self.notifier.notify()


class RunListPoller:
    """Looks at the rows of runs, for all pages."""

    over = False

    def __init__(self, ask: Ask, followers: Callable[[], list[RunSubscription]]) -> None:
        self.notifier = _Notifier()
        self._ask = ask
        self._followers = followers
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
                followers = self._followers()
                if not followers and not len(self.notifier):
                    self._runs = False
                    return
            began = time.monotonic()
            try:
                self._look(followers)
            except FlowqError as error:
                logger.debug("the runs cannot be read: %s", error)
            except Exception:
                logger.exception("the runs cannot be read")
            took = time.monotonic() - began
            least = _PAUSE if len(self.notifier) else _RARE
            rest = max(_REST * took, _PAUSE / 5)
            time.sleep(rest)
            self._wake.wait(max(0.0, least - took - rest))  # who comes now shortens it

    def _look(self, followers: list[RunSubscription]) -> None:
        records = self._ask().records
        followed = {follower.run_id: follower for follower in followers}
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
        self._ask = ask
        self._shows_content = shows_content
        self._most_runs = most_runs
        self._followers: dict[RunId, RunSubscription] = {}
        self._lock = threading.Lock()
        self._looker = RunListPoller(ask, self._followed)

    @contextmanager
    def run(self, run_id: RunId, status: RunState) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of a run's page, and what is set when it has something new.

        Args:
            run_id: The run.
            status: Its state, read just now: what was heard before must not undo it on the page.

        Raises:
            TooManyRuns: too many others are followed.
        """
        with self._lock:
            follower = self._followers.get(run_id)
            if follower is None:
                if len(self._followers) >= self._most_runs:
                    raise TooManyRuns
                follower = RunSubscription(self._ask, run_id, shows_content=self._shows_content)
                self._followers[run_id] = follower
                follower.start()
            follower.set_status(status)
            wakeup = follower.notifier.add()
        self._looker.start()
        try:
            yield follower, wakeup
        finally:
            with self._lock:
                follower.notifier.remove(wakeup)
                if not len(follower.notifier):
                    follower.stop()
                    self._followers.pop(run_id, None)
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
        for follower in self._followed():
            follower.stop()

    def _followed(self) -> list[RunSubscription]:
        with self._lock:
            return list(self._followers.values())

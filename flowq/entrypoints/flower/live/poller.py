"""Reads the lists of runs that pages show, and the states of followed runs, from the rows.

A list has no event stream: workers would have to publish each change of each run, whether a page is
open or not. So a thread reads the rows while a page is open: every half second, and less often when
reads are slow, so that it reads at most a tenth of the time. It also sees changes without an event:
that a run was paused, or is stopping.

The query of the page reads a list, once for all pages with the same address. So an open page gets
exactly the runs that a reload would show, in their order. No rule about ids or times decides what
is new; the id of a child run, for example, may be less than those of earlier runs.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias

from flowq.client.followers import Notifier
from flowq.core.errors import FlowqError
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.core.usage import Usage
from flowq.engine.engine import Engine
from flowq.engine.queries.lists import ListedRun
from flowq.entrypoints.flower.live.state import ChangeLog, Delta
from flowq.entrypoints.flower.pages.filters import ListQuery

logger = logging.getLogger(__name__)

#: Maximum number of open lists with different addresses.
MAX_LISTS: Final = 64
#: Open runs whose steps are counted in each round; the others show the totals of the sweeper.
_COUNTED: Final = 50
_COUNTED_STEPS: Final = 20_000
#: Seconds between two rounds: with open lists, and with pages of runs only.
_PAUSE, _RARE = 0.5, 2.0
#: After a round the thread pauses for this many times the length of the round.
_REST: Final = 10.0

Ask: TypeAlias = Callable[[], Engine]
#: Returns the current runs of a list; "the last hour" moves.
Wanted: TypeAlias = Callable[[], ListQuery]
#: Of a run: ended steps, all steps, and usage.
Progress: TypeAlias = Mapping[RunId, tuple[int, int, Usage]]


class TooManyLists(Exception):
    """Too many lists are open."""


class Followed(Protocol):
    """A run that a page follows."""

    def set_status(self, status: RunState, used: Usage | None = None, total: int = 0) -> None:
        """Set the status, usage and number of steps that the rows of the run have."""

    def set_stale(self, since: datetime | None) -> None:
        """Set since when the database has not answered; None if it does."""


class RunList:
    """One list of runs, for all pages that show it.

    Args:
        wanted: Returns the runs of the list.
    """

    over = False

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.notifier = Notifier()
        self._state = ChangeLog()
        self._ids: list[str] = []

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""
        return self._state.since(seen)

    def set_stale(self, since: datetime | None) -> None:
        """Set since when the database has not answered; None if it does."""
        if self._state.put("stale", "", {"since": since}):
            self.notifier.notify()

    def put(self, runs: Iterable[ListedRun], progress: Progress) -> None:
        """Set the runs of the list; notify its pages if they have changed."""
        changed = False
        ids = []
        for run in runs:
            ids.append(str(run.id))
            changed = self._state.put("runs", str(run.id), _line(run, progress)) or changed
        for gone in set(self._ids) - set(ids):
            self._state.drop("runs", gone)
        self._ids = ids
        if self._state.put("list", "", {"ids": ids}) or changed:
            self.notifier.notify()


class RunPoller:
    """Reads the rows of runs, for all pages.

    Args:
        ask: Returns the engine of this process.
        followed: Returns the runs whose pages are open.
    """

    def __init__(self, ask: Ask, followed: Callable[[], Mapping[RunId, Followed]]) -> None:
        self._ask = ask
        self._followed = followed
        self._lists: dict[Hashable, RunList] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._runs = False
        self._stale: datetime | None = None  #: Since when the database has not answered.

    def start(self) -> None:
        """Start the thread, unless it is running."""
        with self._lock:
            self._wake.set()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="flowq-poll", daemon=True).start()

    def stop(self) -> None:
        """Wake the thread; it ends if no page is open."""
        self._wake.set()

    def join(self, key: Hashable, wanted: Wanted) -> tuple[RunList, asyncio.Event]:
        """Return the list for one more page, and an event that is set when it has changes.

        Raises:
            TooManyLists: too many others are open.
        """
        with self._lock:
            if key not in self._lists and len(self._lists) >= MAX_LISTS:
                raise TooManyLists
            found = self._lists.setdefault(key, RunList(wanted))
            return found, found.notifier.add()

    def leave(self, key: Hashable, listed: RunList, wakeup: asyncio.Event) -> None:
        """Remove a page; a list without pages is no longer read."""
        with self._lock:
            listed.notifier.remove(wakeup)
            if not len(listed.notifier):
                self._lists.pop(key, None)
        self.stop()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            with self._lock:
                followed, lists = self._followed(), list(self._lists.values())
                if not followed and not lists:
                    self._runs = False
                    return
            began = time.monotonic()
            self._poll(followed, lists)
            took = time.monotonic() - began
            least = _PAUSE if lists else _RARE
            rest = max(_REST * took, _PAUSE / 5)
            time.sleep(rest)
            self._wake.wait(max(0.0, least - took - rest))  # a new page shortens it

    def _poll(self, followed: Mapping[RunId, Followed], lists: list[RunList]) -> None:
        """Read what pages need; after an error the next round reads again."""
        try:
            pages = [(listed, self._read(listed)) for listed in lists]
            known = {run.id: (run.status, run.total) for _, runs in pages for run in runs}
            known |= self._states([run_id for run_id in followed if run_id not in known])
            progress = self._count(known)
        except FlowqError as error:
            logger.debug("the runs cannot be read: %s", error)
            self._set_stale(followed, lists, self._stale or datetime.now(UTC))
            return
        except Exception:
            logger.exception("the runs cannot be read")
            self._set_stale(followed, lists, self._stale or datetime.now(UTC))
            return
        self._set_stale(followed, lists, None)
        for run_id in followed.keys() & known.keys():
            status, total = known[run_id]
            _, total, used = progress.get(run_id, (0, total, None))
            followed[run_id].set_status(status, used, total)
        for listed, runs in pages:
            listed.put(runs, progress)

    def _set_stale(
        self, followed: Mapping[RunId, Followed], lists: list[RunList], since: datetime | None
    ) -> None:
        """Tell all pages whether what they show may be old."""
        if since is not None or self._stale is not None:
            pages: list[Followed | RunList] = [*followed.values(), *lists]
            for shown in pages:
                shown.set_stale(since)
        self._stale = since

    def _read(self, listed: RunList) -> tuple[ListedRun, ...]:
        """Return the runs that a list shows."""
        query = listed.wanted()
        page = self._ask().records.autocommit(
            lambda tx: tx.overview.runs_page(query.wanted, at=query.cursor, counts=False)
        )
        return page.runs

    def _states(self, runs: list[RunId]) -> Mapping[RunId, tuple[RunState, int]]:
        """Return the states of runs that no list shows."""
        if not runs:
            return {}
        return self._ask().records.autocommit(lambda tx: tx.overview.states(runs))

    def _count(self, known: Mapping[RunId, tuple[RunState, int]]) -> Progress:
        """Count the steps of open runs, the newest first, and sum what they have used."""
        small = [
            run_id
            for run_id, (status, total) in sorted(known.items(), reverse=True)
            if status not in TERMINAL_RUN_STATES and total <= _COUNTED_STEPS
        ][:_COUNTED]
        if not small:
            return {}
        return self._ask().records.autocommit(lambda tx: tx.overview.progress(small))


def _line(run: ListedRun, progress: Progress) -> dict[str, object]:
    """Return a run as the list shows it."""
    row = run.done, run.total, Usage(run.tokens, run.cost, run.unpriced)
    done, total, used = progress.get(run.id, row)
    return {
        "id": str(run.id),
        "flow": run.flow_name,
        "status": run.status,
        "done": done,
        "total": total,
        "tokens": used.tokens,
        "cost": used.cost,
        "unpriced": used.unpriced,
        "ms": run.execution_time_ms,
        "since": run.started_at or run.created_at,
    }

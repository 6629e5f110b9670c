"""Reads for live pages: one follower for each open run, one poller for everything else.

One follower reads the events of a run, however many pages show it; beyond `MAX_RUNS` runs a page
gets 503. The follower applies the events to a projection of the run and notifies the pages. Each
page gets the changes that it has not seen from a change log (see `state`). The poller reads lists,
and states without an event, from the rows (see `poller`).
"""

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from flowq.client.followers import Follower, Followers, Notifier
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.entrypoints.flower.live.poller import Ask, RunPoller, Wanted
from flowq.entrypoints.flower.live.state import Delta, RunProjection

#: Maximum number of followed runs; each has a thread.
MAX_RUNS: Final = 64


class Source(Protocol):
    """What a page follows."""

    @property
    def over(self) -> bool:
        """Whether no more changes will come."""

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""


class RunSink:
    """The projection of one run for its pages; its follower applies the events."""

    def __init__(self, notifier: Notifier, *, shows_content: bool) -> None:
        self._notifier = notifier
        self._shows_content = shows_content
        self._state = self._projection = RunProjection(shows_content)
        self._unseen = False
        self._row: tuple[RunState, Usage | None, int] | None = None
        self._stale: datetime | None = None

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`."""
        return self._state.changes.since(seen)

    def set_status(self, status: RunState, used: Usage | None = None, total: int = 0) -> None:
        """Set the status, usage and number of steps that the rows of the run have."""
        self._row = status, used, total
        if self._state.set_status(status, used, total):
            self._notifier.notify()

    def set_stale(self, since: datetime | None) -> None:
        """Set since when the database has not answered; None if it does."""
        self._stale = since
        if self._state.changes.put("stale", "", {"since": since}):
            self._notifier.notify()

    def begin(self) -> None:
        """Begin a new projection; it is shown when it is complete."""
        # Past events come fast and are shown as one change, so that no bar replays the history.
        self._live = datetime.now(UTC) - timedelta(seconds=1)
        self._projection = RunProjection(self._shows_content)

    def take(self, event: Event) -> None:
        """Apply an event; a new event is shown at once."""
        self._unseen = self._projection.take(event) or self._unseen
        if event.timestamp > self._live:
            self.caught_up()

    def caught_up(self) -> None:
        """Show the applied events."""
        projection = self._projection
        if self._unseen or self._state is not projection:
            if self._state is not projection and self._row is not None:
                projection.set_status(*self._row)
            if self._state is not projection and self._stale is not None:
                projection.changes.put("stale", "", {"since": self._stale})
            self._state, self._unseen = projection, False
            self._notifier.notify()


@dataclass(frozen=True)
class _RunSource:
    """The source for the pages of one run."""

    follower: Follower[RunSink]

    @property
    def over(self) -> bool:
        return self.follower.over

    def since(self, seen: str) -> Delta:
        return self.follower.sink.since(seen)


class Hub:
    """The followers and the poller of this process.

    Args:
        ask: Returns the engine of this process.
        shows_content: Whether pages get streamed text.
        most_runs: Maximum number of followed runs.
    """

    def __init__(self, ask: Ask, *, shows_content: bool, most_runs: int = MAX_RUNS) -> None:
        self._followers: Followers[RunSink] = Followers(
            ask,
            lambda _, notifier: RunSink(notifier, shows_content=shows_content),
            most=most_runs,
        )
        self._poller = RunPoller(ask, self._followers.sinks)

    @contextmanager
    def run(self, run_id: RunId, status: RunState) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of a run's page, and an event that is set when it has changes.

        Args:
            status: Its current state; older information must not overwrite it on the page.

        Raises:
            TooManyRuns: too many others are followed.
        """
        with self._followers.following(run_id) as (follower, wakeup):
            follower.sink.set_status(status)
            self._poller.start()
            try:
                yield _RunSource(follower), wakeup
            finally:
                self._poller.stop()

    @contextmanager
    def runs(self, key: Hashable, wanted: Wanted) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of a list of runs, and an event that is set when it has changes.

        Args:
            key: The same for pages that show the same list.
            wanted: Returns the runs of the list; called repeatedly.

        Raises:
            TooManyLists: too many others are open.
        """
        listed, wakeup = self._poller.join(key, wanted)
        self._poller.start()
        try:
            yield listed, wakeup
        finally:
            self._poller.leave(key, listed, wakeup)

    def close(self) -> None:
        """End all threads."""
        self._followers.close()

"""Who listens for live pages: one reader for each run that is looked at, one poller for the rest.

However many pages are open, a run's events are read once in this process, by its follower; runs
beyond `MAX_RUNS` are told to try again later. The follower puts what it reads into a projection of
the run and notifies the pages; each takes from its change log what it has not seen (see `state`).
Lists, and what no event tells of a run, are read from the rows (see `poller`).
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

#: Runs that are followed at once, by a thread each.
MAX_RUNS: Final = 64


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
        self._poller = RunPoller(ask, self._followers.sinks)

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
            self._poller.start()
            try:
                yield _RunSource(follower), wakeup
            finally:
                self._poller.stop()

    @contextmanager
    def runs(self, key: Hashable, wanted: Wanted) -> Iterator[tuple[Source, asyncio.Event]]:
        """Yield the source of a list of runs, and what is set when it has something new.

        Args:
            key: The same for pages that show the same list.
            wanted: Says now and again which runs those are.

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
        """Let all threads end."""
        self._followers.close()

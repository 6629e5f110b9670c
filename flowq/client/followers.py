"""One follower for each run: a thread that reads the run's events for all readers of a process.

To read the events of a run holds a thread, and a connection to Redis while it waits. So a process
has one follower of a run, however many readers: pages, streams, coroutines. It begins with the
first reader and ends with the last, or a while after. It puts the events into a sink, which all
its readers share, and wakes them.

What fails is tried again, later each time, unless readers want to hear of it. A run that is gone
is the end of its follower. There is a limit on how many runs are followed at once.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

from flowq.core.errors import FlowqError, RunNotFound
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow

logger = logging.getLogger(__name__)

#: Seconds before a follower that has failed begins again: the first time, and at most.
_AGAIN, _MAX_PAUSE = 0.5, 10.0
#: Seconds between two looks whether a follower that has read everything still has readers.
_LOOK: Final = 1.0


class TooManyRuns(Exception):
    """No more runs can be followed now."""


class Sink(Protocol):
    """Where a follower puts the events of its run; its methods are called by one thread."""

    def begin(self) -> None:
        """Expect the run's events from the first on: at the beginning, and after a failure."""

    def take(self, event: Event) -> None:
        """Take the next event."""

    def caught_up(self) -> None:
        """Note that all events up to now were taken; called every few seconds, and at the end."""


S = TypeVar("S", bound=Sink)


class Notifier:
    """Wakes readers, each in the event loop that it waits in; one call tells a loop of all its."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakeups: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        #: Loops that will wake their readers.
        self._notified: set[asyncio.AbstractEventLoop] = set()

    def __len__(self) -> int:
        return len(self._wakeups)

    def add(self) -> asyncio.Event:
        """Return what is set when there is something new; called in the loop of the reader."""
        wakeup = asyncio.Event()
        with self._lock:
            self._wakeups[wakeup] = asyncio.get_running_loop()
        return wakeup

    def remove(self, wakeup: asyncio.Event) -> None:
        """Forget a reader."""
        with self._lock:
            self._wakeups.pop(wakeup, None)

    def notify(self) -> None:
        """Wake all; called from any thread."""
        with self._lock:
            for loop in set(self._wakeups.values()) - self._notified:
                if not loop.is_closed():
                    self._notified.add(loop)
                    loop.call_soon_threadsafe(self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._notified.discard(loop)  # what comes from now on notifies again
            wakeups = [wakeup for wakeup, its in self._wakeups.items() if its is loop]
        for wakeup in wakeups:
            wakeup.set()


class Follower(Generic[S]):
    """Reads the events of one run.

    Attributes:
        over: Whether nothing more will come; then all was taken.
        error: Why, if that is not the end of the run.
    """

    def __init__(self, run_id: RunId, make: Callable[[RunId, Notifier], S]) -> None:
        self.run_id = run_id
        self.notifier = Notifier()
        self.sink = make(run_id, self.notifier)
        self.over = False
        self.error: Exception | None = None
        self.left: float | None = None  #: When its last reader left, on the monotonic clock.
        self.stop = threading.Event()

    def run(
        self, engine: Callable[[], Engine], is_left: Callable[[], bool], *, retry: bool
    ) -> None:
        """Read until the run has ended or no reader is left, in a thread of its own."""
        pause = _AGAIN
        while not is_left():
            began = time.monotonic()
            try:
                self._read(engine(), is_left)
                break
            except RunNotFound as error:
                self.error = error
                break
            except Exception as error:  # noqa: BLE001 - readers get it, or it is logged
                if not retry:
                    self.error = error
                    break
                # Readers must not wait forever because of one failure.
                known = isinstance(error, FlowqError)
                report = logger.warning if known else logger.exception
                report("the events of run %s are read again: %s", self.run_id, error)
            pause = _AGAIN if time.monotonic() - began > 60 else min(2 * pause, _MAX_PAUSE)
            self.stop.wait(pause)
        self.over = True
        self.notifier.notify()
        while not is_left():
            self.stop.wait(_LOOK)

    def _read(self, engine: Engine, is_left: Callable[[], bool]) -> None:
        self.sink.begin()

        def stopped() -> bool:  # asked after all that was there, and every few seconds
            self.sink.caught_up()
            return is_left()

        for event in follow(engine, self.run_id, stopped=stopped):
            self.sink.take(event)
        self.sink.caught_up()


class Followers(Generic[S]):
    """The followers of this process, for readers of one kind.

    Args:
        engine: Gives the engine of this process.
        make: Makes the sink of a run, which wakes its readers itself.
        most: How many runs are followed at once.
        linger: Seconds for which a follower without readers waits for one to come back.
        retry: Whether to begin again after a failure; if not, readers find it in `error`.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        make: Callable[[RunId, Notifier], S],
        *,
        most: int,
        linger: float = 0.0,
        retry: bool = True,
    ) -> None:
        self._engine = engine
        self._make = make
        self._most = most
        self._linger = linger
        self._retry = retry
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._newest: dict[RunId, Follower[S]] = {}
        self._all: set[Follower[S]] = set()

    @contextmanager
    def following(
        self, run_id: RunId, admits: Callable[[S], bool] = lambda _: True
    ) -> Iterator[tuple[Follower[S], asyncio.Event]]:
        """Yield the follower of a run, and what is set when it has something new.

        Args:
            run_id: The run.
            admits: Called with the sink before its thread continues: whether it has what this
                reader needs. If not, the reader gets a follower that begins now.

        Raises:
            TooManyRuns: too many other runs are followed.
        """
        follower, wakeup = self._join(run_id, admits)
        try:
            yield follower, wakeup
        finally:
            self._leave(follower, wakeup)

    def sinks(self) -> dict[RunId, S]:
        """Return the sinks of the runs that have readers."""
        with self._lock:
            return {each.run_id: each.sink for each in self._all if len(each.notifier)}

    def close(self) -> None:
        """Let all threads end, within a few seconds."""
        with self._lock:
            for follower in list(self._all):
                self._remove(follower)

    def _join(
        self, run_id: RunId, admits: Callable[[S], bool]
    ) -> tuple[Follower[S], asyncio.Event]:
        with self._lock:
            if self._pid != os.getpid():  # a fork has no threads
                self._pid, self._newest, self._all = os.getpid(), {}, set()
            follower = self._newest.get(run_id)
            if follower is None or follower.error is not None or not admits(follower.sink):
                follower = self._new(run_id)
                admits(follower.sink)
                self._start(follower)
            follower.left = None
            return follower, follower.notifier.add()

    def _new(self, run_id: RunId) -> Follower[S]:
        if len(self._all) >= self._most:
            waiting = [each for each in self._all if each.left is not None]
            if not waiting:
                raise TooManyRuns
            self._remove(min(waiting, key=lambda each: each.left or 0.0))
        follower = self._newest[run_id] = Follower(run_id, self._make)
        self._all.add(follower)
        return follower

    def _start(self, follower: Follower[S]) -> None:
        threading.Thread(
            target=follower.run,
            args=(self._engine, lambda: self._is_left(follower)),
            kwargs={"retry": self._retry},
            name=f"flowq-follow-{follower.run_id}",
            daemon=True,
        ).start()

    def _leave(self, follower: Follower[S], wakeup: asyncio.Event) -> None:
        with self._lock:
            follower.notifier.remove(wakeup)
            if not len(follower.notifier):
                follower.left = time.monotonic()
                if not self._linger:
                    self._remove(follower)

    def _is_left(self, follower: Follower[S]) -> bool:
        """Return whether a follower has to end; then no reader can join it any more."""
        with self._lock:
            left = follower.left
            if left is not None and time.monotonic() - left >= self._linger:
                self._remove(follower)
            return follower not in self._all

    def _remove(self, follower: Follower[S]) -> None:
        self._all.discard(follower)
        if self._newest.get(follower.run_id) is follower:
            del self._newest[follower.run_id]
        follower.stop.set()

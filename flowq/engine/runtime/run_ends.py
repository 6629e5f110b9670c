"""Lets coroutines await the ends of runs: one thread reads the rows for all of them.

A coroutine may not block its event loop, and a web server that awaits a thousand runs cannot have a
thread or a connection for each. So one thread per process reads the states of all awaited runs in
one statement: every 20 ms at first, less often for runs that are awaited for longer. The thread
starts with the first waiter and ends with the last.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowq.core.errors import Unavailable
from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.ports import Records

logger = logging.getLogger(__name__)

#: Seconds between two reads: a tenth of the time since the newest waiter came, within these.
_MIN_PAUSE: Final = 0.02
_MAX_PAUSE: Final = 0.5
#: Seconds after which a failed read is repeated.
_AGAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Waiter:
    run_id: RunId
    loop: asyncio.AbstractEventLoop
    ended: "asyncio.Future[RunState | None]"
    since: float = field(default_factory=time.monotonic)

    def notify(self, what: RunState | Exception | None) -> None:
        """Wake the coroutine, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self._resolve, what)
        except RuntimeError:  # the loop is closed
            logger.debug("no code waits for run %s any more", self.run_id)

    def _resolve(self, what: RunState | Exception | None) -> None:
        if self.ended.done():
            return
        if isinstance(what, Exception):
            self.ended.set_exception(what)
        else:
            self.ended.set_result(what)


class RunEndWatcher:
    """The runs that coroutines of one process wait for."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._came = threading.Event()
        self._waiters: list[_Waiter] = []
        self._pid = 0

    def ended(self, run_id: RunId) -> "asyncio.Future[RunState | None]":
        """Return a future of the end of a run; called from a coroutine.

        Its result is the terminal state, or None if the run does not exist any more. It keeps
        waiting during an outage of the database.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(run_id, loop, loop.create_future())
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._waiters = os.getpid(), []
                threading.Thread(target=self._run, name="flowq-ends", daemon=True).start()
            self._waiters.append(waiter)
        self._came.set()
        return waiter.ended

    def _run(self) -> None:
        while True:
            self._came.clear()
            with self._lock:
                self._waiters = [one for one in self._waiters if not one.ended.done()]
                if not self._waiters:
                    self._pid = 0
                    return
                waiters = list(self._waiters)
            self._came.wait(self._look(waiters))

    def _look(self, waiters: list[_Waiter]) -> float:
        """Wake the waiters of runs that have ended; return the seconds until the next read."""
        asked = {waiter.run_id for waiter in waiters}
        try:
            states = self._records.autocommit(lambda tx: tx.runs.states(list(asked)))
        except Unavailable as error:
            logger.debug("the states of runs cannot be read now: %s", error)
            return _AGAIN
        except Exception as error:  # noqa: BLE001 - raised again by those who wait
            self._notify(waiters, dict.fromkeys((one.run_id for one in waiters), error))
            return 0.0
        ended = [one for one in waiters if states.get(one.run_id) not in OPEN_RUN_STATES]
        self._notify(ended, states)
        newest = max(waiter.since for waiter in waiters)
        return min(max((time.monotonic() - newest) / 10, _MIN_PAUSE), _MAX_PAUSE)

    def _notify(self, waiters: list[_Waiter], what: Mapping[RunId, RunState | Exception]) -> None:
        for waiter in waiters:
            waiter.notify(what.get(waiter.run_id))
        notified = {id(waiter) for waiter in waiters}
        with self._lock:
            self._waiters = [one for one in self._waiters if id(one) not in notified]

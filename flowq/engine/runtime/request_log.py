"""Writes the model calls of all steps of a process, in few transactions.

A call is recorded before it is made and ended after it, and both have to be committed before the
step continues. Hundreds of steps do this at once on one event loop, which must not block on a
database. So one thread writes for all: what arrives during one transaction is written in the next.
A single call waits for one commit; three hundred at once share a few.

While the database is unreachable it waits, as long as steps that have finished do; then the callers
whose calls it could not write get the error.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from flowq.core.errors import DatabaseUnavailable
from flowq.core.ids import LeaseToken, RunId
from flowq.core.usage import CostStatus, Usage
from flowq.engine.model.model_calls import EndedRequest, StartedRequest
from flowq.engine.ports import Records, Transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: A call to be written.
Request = StartedRequest | EndedRequest

_MAX_AT_ONCE: Final = 500
_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Entry:
    request: Request
    loop: asyncio.AbstractEventLoop
    written: "asyncio.Future[None]"


class RequestLog:
    """The writer of one process; its thread starts at first use, again in a forked child.

    Args:
        outage_wait: How long it waits for an unreachable database.
    """

    def __init__(self, records: Records, outage_wait: timedelta) -> None:
        self._records = records
        self._outage_wait = outage_wait.total_seconds()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Entry] = SimpleQueue()
        self._pid = 0
        #: The committed usage of the attempts of this process.
        self._used: dict[LeaseToken, Usage] = {}

    def used_by(self, token: LeaseToken) -> Usage:
        """Return what an attempt has used so far, as its step's row counts it."""
        return self._used.get(token, Usage())

    def forget(self, token: LeaseToken) -> None:
        """Forget the usage of an attempt that has ended."""
        self._used.pop(token, None)

    def write(self, request: Request) -> "asyncio.Future[None]":
        """Write one call, from a coroutine; the returned future is done once it is committed.

        It is written even if nobody waits for that. Its error is `DatabaseUnavailable` when the
        database was unreachable for too long.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(request, loop, loop.create_future())
        if self._pid != os.getpid():
            self._start()
        self._queue.put(entry)
        return entry.written

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            # After a fork the parent writes what was put into it before.
            self._queue = SimpleQueue()
            self._pid = os.getpid()
            threading.Thread(
                target=self._run, args=(self._queue,), name="flowq-request-log", daemon=True
            ).start()

    def _run(self, queue: "SimpleQueue[_Entry]") -> None:
        while True:
            entries = [queue.get()]
            try:
                while len(entries) < _MAX_AT_ONCE:
                    entries.append(queue.get_nowait())
            except Empty:
                pass
            self._write(entries)

    def _write(self, entries: Sequence[_Entry]) -> None:
        try:
            self._commit([entry.request for entry in entries])
        except Exception as error:  # noqa: BLE001 - passed to the waiters
            if len(entries) > 1 and not isinstance(error, DatabaseUnavailable):
                # One of them cannot be written; the others can.
                for entry in entries:
                    self._write([entry])
                return
            logger.warning("%d calls of models are not recorded: %s", len(entries), error)
            _notify(entries, error)
        else:
            for entry in entries:
                self._count(entry.request)
            _notify(entries, None)

    def _count(self, request: Request) -> None:
        """Add a call to the usage of its attempt, unless the attempt has ended."""
        token = request.caller.token
        if token is None:
            return
        if isinstance(request, StartedRequest):
            self._used[token] = self.used_by(token) + Usage(unpriced=1)
        elif token in self._used:
            is_priced = request.cost_status is not CostStatus.UNKNOWN
            used = Usage(request.tokens.total, request.cost or Decimal(0), -int(is_priced))
            self._used[token] = self._used[token] + used

    def _commit(self, requests: Sequence[Request]) -> None:
        started = [one for one in requests if isinstance(one, StartedRequest)]
        ended = [one for one in requests if isinstance(one, EndedRequest)]

        def work(tx: Transaction) -> list[RunId]:
            if started:
                tx.llm_requests.start(started)
            return tx.llm_requests.end(ended) if ended else []

        late = self._waiting(lambda: self._records.transaction(work))
        if late:
            self._waiting(
                lambda: self._records.transaction(lambda tx: tx.llm_requests.recompute_totals(late))
            )

    def _waiting(self, work: Callable[[], T]) -> T:
        """Repeat idempotent work while the database is unreachable."""
        deadline = time.monotonic() + self._outage_wait
        while True:
            try:
                return work()
            except DatabaseUnavailable:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE)


def _notify(entries: Sequence[_Entry], error: Exception | None) -> None:
    """Notify the waiters, with one wake-up of each loop, since a wake-up is expensive."""
    for loop in {entry.loop for entry in entries}:
        waiting = [entry.written for entry in entries if entry.loop is loop]
        try:
            loop.call_soon_threadsafe(_resolve, waiting, error)
        except RuntimeError:  # the loop is closed
            logger.debug("%d recorded calls are no longer awaited", len(waiting))


def _resolve(waiting: "Iterable[asyncio.Future[None]]", error: Exception | None) -> None:
    for one in waiting:
        if one.done():
            continue
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(error)

"""Writes what all attempts of a process log, in few transactions.

A step pays for a line with an entry in a bounded queue. A thread takes what has come within a
moment and writes it in one transaction: a row for each attempt. Large bunches go into the object
store before the row that names them. What the thread has not written is lost when the process is
killed; nothing else is.

While the database is unavailable, the thread tries again and the queue fills; then new lines are
dropped and counted. No step ever waits for its log.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from flowq.core.errors import DatabaseRefused, FlowqError, Unavailable
from flowq.core.results import log_key
from flowq.engine.model.logs import DroppedBunches, LogBunch, StoredLine
from flowq.engine.model.rows import Claim
from flowq.engine.ports import ObjectStore, Records
from flowq.engine.runtime.logs.attempt_log import AttemptLog, DroppedLines

logger = logging.getLogger(__name__)

#: Seconds that lines wait for others.
INTERVAL: Final = 0.5
#: Seconds between two tries while the database is away.
_PAUSE: Final = 1.0
#: Lines, and characters of their messages, that may wait.
_MAX_LINES: Final = 50_000
_MAX_CHARACTERS: Final = 32 * 1024 * 1024
#: Bytes of the largest bunch that is in its row.
ROW_BYTES: Final = 64 * 1024


class LogWriter:
    """The writer of one process; its thread starts at first use, again in a forked child.

    Args:
        records: Where bunches are written.
        objects: Returns the store of large ones; called by the thread.
        limit_bytes: How much is kept of one attempt.
        interval: Seconds that lines wait for others.
        max_lines: Lines that may wait.
    """

    def __init__(
        self,
        records: Records,
        objects: Callable[[], ObjectStore],
        limit_bytes: int,
        *,
        interval: float = INTERVAL,
        max_lines: int = _MAX_LINES,
    ) -> None:
        self._records = records
        self._objects = objects
        self._limit = limit_bytes
        self._interval = interval
        self._max_lines = max_lines
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[tuple[AttemptLog, StoredLine]] = deque()
        self._characters = 0  # about: threads may count at once
        self._dropped: dict[AttemptLog, DroppedLines] = {}
        self._filled = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Event()
        self._written.set()
        self._pid = 0

    def attempt(self, claim: Claim, *, prints: bool = False) -> AttemptLog:
        """Return the log of an attempt, which costs nothing until it has a line."""
        return AttemptLog(claim, self, self._limit, prints=prints)

    def put(self, log: AttemptLog, line: StoredLine) -> None:
        """Take a line; neither waits nor raises."""
        if self._pid != os.getpid():
            self._start()
        if len(self._queue) >= self._max_lines or self._characters >= _MAX_CHARACTERS:
            self._drop(log, line)
            return
        self._characters += len(line.message)
        self._queue.append((log, line))
        if not self._filled.is_set():
            self._written.clear()
            self._filled.set()

    def flush(self, seconds: float) -> bool:
        """Have all lines written now, and wait for that; return whether they were.

        Args:
            seconds: The longest wait.
        """
        if self._pid != os.getpid():
            return True  # nothing was logged in this process
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._hurry.set()
            if self._written.wait(left) and not self._filled.is_set():
                return True
        return False

    def _drop(self, log: AttemptLog, line: StoredLine) -> None:
        with self._lock:
            known = self._dropped.get(log)
            before = (0, line.at_us) if known is None else (known.count, known.at_us)
            self._dropped[log] = DroppedLines(before[0] + 1, before[1])

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            if self._pid:
                self._begin()  # a fork: what waits is its parent's
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="flowq-logs", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._hurry.wait(self._interval)
            self._hurry.clear()
            self._filled.clear()
            try:
                self._write_all()
            except Exception:
                # It must outlive any fault: nobody would start it again.
                logger.exception("lines of steps were lost", extra={"action": "logs"})
            if not self._filled.is_set():
                self._written.set()

    def _write_all(self) -> None:
        """Write what waits now."""
        taken = [self._queue.popleft() for _ in range(len(self._queue))]
        self._characters = 0
        with self._lock:
            dropped, self._dropped = self._dropped, {}
        lines: dict[AttemptLog, list[StoredLine]] = {log: [] for log in dropped}
        for log, line in taken:
            lines.setdefault(log, []).append(line)
        del taken
        bunches: list[LogBunch] = []
        displaced: list[DroppedBunches] = []
        for log, own in lines.items():
            made, gone = log.bunches(own, dropped.get(log))
            bunches += made
            displaced += [gone] if gone is not None else []
        self._store(bunches, displaced)

    def _store(self, bunches: Sequence[LogBunch], displaced: Sequence[DroppedBunches]) -> None:
        """Store bunches, however long that takes; leave out those that cannot be stored."""
        is_late = False
        while True:
            try:
                self._commit(bunches, displaced)
            except DatabaseRefused as error:
                if len(bunches) <= 1:
                    logger.warning("%d lines of a step are lost: %s", _lines(bunches), error)
                    return
                for bunch in bunches:
                    self._store([bunch], [])
                bunches = []
            except Unavailable as error:
                if not is_late:
                    logger.warning("lines of steps wait: %s", error, extra={"action": "logs"})
                is_late = True
                time.sleep(_PAUSE)
            else:
                return

    def _commit(self, bunches: Sequence[LogBunch], displaced: Sequence[DroppedBunches]) -> None:
        placed = [self._placed(bunch) for bunch in bunches]
        unnamed = self._records.transaction(lambda tx: tx.logs.write(placed, displaced))
        if unnamed:
            try:
                self._objects().delete(unnamed)
            except FlowqError as error:
                # The collector deletes them: no row names them.
                logger.debug("%d objects are left to the collector: %s", len(unnamed), error)

    def _placed(self, bunch: LogBunch) -> LogBunch:
        """Put a large bunch into the object store; while that is unavailable, into its row."""
        if len(bunch.data) <= ROW_BYTES:
            return bunch
        key = log_key(bunch.run_id, bunch.step_id, bunch.token, bunch.first_line)
        try:
            self._objects().put(key, bunch.data)
        except Unavailable as error:
            logger.info("large bunches of logs go into their rows: %s", error)
            return bunch
        return replace(bunch, object_key=key)


def _lines(bunches: Sequence[LogBunch]) -> int:
    return sum(bunch.line_count for bunch in bunches)

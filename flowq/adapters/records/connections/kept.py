"""Connections that stay checked out of SQLAlchemy's pool between two uses.

A checkout and its return cost as much CPU time as a short statement, and most uses of a connection
are one short statement. So a connection that comes back as it left is kept for the next use. The
pool still opens and counts them. It gets one back if it is in a transaction, if it has failed, if
someone waits for the pool, or if the pool was replaced, after a loss of the database.

SQLite keeps none: its files are closed before each fork (see `fork_guard`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, Pool

#: Seconds after which the pool looks at a connection again, and may replace it.
_MAX_AGE: Final = 60.0
#: With the pool that it belongs to, and the time until which it is kept.
_Kept: TypeAlias = tuple[Connection, Pool, float]


class KeptConnections:
    """The connections of one engine. Thread-safe.

    Args:
        engine: Opens them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keeps = engine.dialect.name != "sqlite"
        self._lock = threading.Lock()
        self._idle: list[_Kept] = []
        self._waiting = 0

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Yield a connection; callers wait for a free one."""
        if not self._keeps:
            with self._engine.connect() as connection:
                yield connection
            return
        kept = self._take()
        try:
            yield kept[0]
        except BaseException:
            kept[0].close()
            raise
        self._give_back(kept)

    def close(self) -> None:
        """Return all to the pool."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _, _ in idle:
            connection.close()

    def _take(self) -> _Kept:
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
                if kept is None:
                    self._waiting += 1
            if kept is None:
                return self._open()
            connection, pool, until = kept
            if pool is self._engine.pool and time.monotonic() < until:
                return kept
            if pool is not self._engine.pool:
                connection.detach()
            connection.close()

    def _open(self) -> _Kept:
        try:
            return self._engine.connect(), self._engine.pool, time.monotonic() + _MAX_AGE
        finally:
            with self._lock:
                self._waiting -= 1

    def _give_back(self, kept: _Kept) -> None:
        connection = kept[0]
        if not (connection.closed or connection.invalidated or connection.in_transaction()):
            with self._lock:
                if not self._waiting:
                    self._idle.append(kept)
                    return
        connection.close()

"""Gives up on a database that does not answer.

TCP detects a dead machine, but not a server, or a proxy before it, that accepts data and does not
answer. The driver would wait for the answer forever, and with it a step, the heartbeat, or the end
of a worker. So each use of a connection is timed, and after the limit its socket is shut down: the
driver then reports a lost connection, which is an outage like any other. As after any lost
connection, it is unknown what the database has done.
"""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from flowq.core.errors import DatabaseUnavailable

_GIVEN_UP: Final = math.inf

logger = logging.getLogger(__name__)


class Watchdog:
    """Watches the connections of one engine, in a thread that runs while any is in use.

    Args:
        limit: Seconds that one statement or transaction may take.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, int]] = {}  # the deadline, and the socket
        self._pid = 0  # of the process in which the thread runs

    @contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Shut the socket of a connection down if the block takes too long.

        Raises:
            DatabaseUnavailable: that was done, and the block has failed because of it.
        """
        driver = connection.connection.dbapi_connection
        assert driver is not None
        key = object()
        with self._lock:
            self._watched[key] = (time.monotonic() + self._limit, driver.fileno())
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="flowq-sql", daemon=True).start()
        try:
            yield
        except DBAPIError as error:
            with self._lock:
                until = self._watched[key][0]
            if until != _GIVEN_UP:
                raise
            raise DatabaseUnavailable(
                f"the database has not answered for {self._limit:g} s",
                hint="check its load and its locks, or raise FLOWQ_DATABASE_TIMEOUT_SECONDS",
            ) from error
        finally:
            # Before the connection can be closed, and another file gets its number.
            with self._lock:
                del self._watched[key]

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._limit / 10):
            now = time.monotonic()
            with self._lock:
                if not self._watched:
                    self._pid = 0  # the next connection starts another
                    return
                for key, (until, number) in self._watched.items():
                    if until < now:
                        logger.warning(
                            "the database has not answered for %g s, its connection is closed",
                            self._limit,
                            extra={"action": "give_up"},
                        )
                        self._watched[key] = (_GIVEN_UP, number)
                        _shut_down(number)


def _shut_down(number: int) -> None:
    """Shut down a socket of the driver; the driver closes it."""
    with socket.socket(fileno=os.dup(number)) as shared:
        try:
            shared.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            logger.debug("the connection was already closed: %s", error)

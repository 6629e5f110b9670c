"""The heartbeat: one thread per worker process keeps the leases of all its attempts alive.

Every third of the lease it renews all tokens in one statement. A token that does not come back is
lost: its attempt is told, and whatever it still writes finds the token gone. The thread lives in
the process that runs the steps, so it dies with them, and it runs beside them, so a step that
computes for minutes keeps its lease.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from flowq.core.errors import Unavailable
from flowq.core.ids import LeaseToken
from flowq.engine.execution import Attempt
from flowq.engine.faults import FaultPoint, reach
from flowq.engine.ports import Records

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews the leases that are held in this process."""

    def __init__(self, records: Records, lease: timedelta) -> None:
        self._records = records
        self._lease = lease
        self._held: dict[LeaseToken, Attempt] = {}
        self._lock = threading.Lock()
        self._pid = 0

    @contextmanager
    def hold(self, token: LeaseToken, attempt: Attempt) -> Iterator[None]:
        """Keep a lease alive for the duration of the block."""
        with self._lock:
            self._held[token] = attempt
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._beat, name="flowq-leases", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(token, None)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._lease.total_seconds() / 3):
            self._renew()

    def _renew(self) -> None:
        with self._lock:
            tokens = list(self._held)
        if not tokens:
            return
        try:
            reach(FaultPoint.BEFORE_RENEW)
            alive = self._records.single(lambda tx: tx.steps.renew(tokens, self._lease))
        except Unavailable as error:
            # Each lease lives on until it lapses; the next beat may reach the database again.
            logger.warning("leases were not renewed: %s", error)
            return
        for token in tokens:
            if token not in alive:
                self._lose(token)

    def _lose(self, token: LeaseToken) -> None:
        with self._lock:
            attempt = self._held.pop(token, None)
        if attempt is not None:
            logger.warning("the lease of a running step was lost", extra={"action": "lease_lost"})
            attempt.lose()

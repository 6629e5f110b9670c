"""The heartbeat: one thread per worker process renews the leases of all its attempts.

Every third of the lease it renews all tokens in one statement. A token that is not returned is
lost: its attempt is notified, and its later writes are refused. While the database is unreachable
it tries again at every beat. An attempt whose lease has expired meanwhile is notified too, since
another worker may have it by now; its token is still renewed, and is valid if no other worker has
it. The thread runs in the process of the steps, so it dies with them, and beside them, so a step
that computes for minutes keeps its lease.

The same thread asks, more often, whether the runs of its attempts were cancelled, and stops their
code in stages, each a grace period after the one before:

    asked         an async step is cancelled at its next await, a sync one may check its context
    interrupted   a sync step in the main thread gets an exception
    ended         its row becomes cancelled, by its lease; a process that runs nothing else (a
                  child of a prefork pool) is ended, elsewhere the code runs on and is ignored
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from flowq.core.errors import Unavailable
from flowq.core.ids import LeaseToken
from flowq.engine.ports import Records
from flowq.engine.runtime.execution import Attempt

logger = logging.getLogger(__name__)

#: The exit code of a process that was ended to stop its step.
EXIT_CANCELLED = 75


class _Expendable:
    """The pid of this process, if it may be ended to stop its step; a fork of it may not."""

    expendable: int = 0


def this_process_is_expendable() -> None:
    """Declare that this process runs one step at a time and is replaced when it ends."""
    _Expendable.expendable = os.getpid()


@dataclass(slots=True)
class _HeldLease:
    attempt: Attempt
    expires_at: float  #: When the lease ends unless it is renewed, by `time.monotonic`.
    is_held: bool = True  #: False once the lease was lost or released.
    notified: bool = False  #: Whether the attempt knows.

    def notify(self, why: str) -> None:
        if not self.notified:
            self.notified = True
            logger.warning(why, extra={"action": "lease_lost"})
            self.attempt.lose()


class LeaseKeeper:
    """Renews the leases that are held in this process, and stops attempts that are cancelled.

    Args:
        cancel_every: How often to ask which attempts are cancelled.
        cancel_grace: Length of each stage of stopping one.

    Attributes:
        stopping: Whether this process is stopping, so that nothing new may begin in it.
    """

    def __init__(
        self,
        records: Records,
        lease: timedelta,
        *,
        cancel_every: timedelta,
        cancel_grace: timedelta,
    ) -> None:
        self.stopping = False
        self._records = records
        self._lease = lease
        self._pause = min(lease / 3, cancel_every).total_seconds()
        self._grace = cancel_grace.total_seconds()
        self._held: dict[LeaseToken, _HeldLease] = {}
        self._stages: dict[LeaseToken, float] = {}  # when the next stage of a cancelled one begins
        self._renew_at = 0.0
        self._lock = threading.Lock()
        self._pid = 0  # of the process in which the heartbeat runs
        self._over = threading.Event()  # of that heartbeat; a fork must not share it

    @contextmanager
    def hold(self, token: LeaseToken, attempt: Attempt) -> Iterator[None]:
        """Keep a lease alive for the duration of the block."""
        with self._lock:
            self._held[token] = _HeldLease(attempt, time.monotonic() + self._lease.total_seconds())
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._renew_at = time.monotonic() + self._lease.total_seconds() / 3
                self._over = threading.Event()
                beat = threading.Thread(
                    target=self._beat, args=(self._over,), name="flowq-leases", daemon=True
                )
                beat.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(token, None)

    @property
    def running(self) -> int:
        """How many attempts run in this process, including those whose lease is lost."""
        return len(self._held)

    def release(self) -> list[LeaseToken]:
        """Stop renewing; returns the tokens that were held."""
        with self._lock:
            held = self._still_held()
            for one in held.values():
                one.is_held = False
        return list(held)

    def close(self) -> None:
        """End the thread, which may wait long for its next beat; a new lease starts another."""
        with self._lock:
            self._over.set()
            self._pid = 0

    def notify_all(self) -> None:
        """Notify all attempts of this process that their leases were released."""
        for held in list(self._held.values()):
            held.attempt.lose()

    def _still_held(self) -> dict[LeaseToken, _HeldLease]:
        """Return leases that are neither lost nor released; the caller holds the lock."""
        return {token: held for token, held in self._held.items() if held.is_held}

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(self._pause):
            with self._lock:
                if not self._held:
                    self._pid = 0  # the next lease starts another
                    return
            try:
                # One statement renews all leases that would be due before the next beat.
                if time.monotonic() + self._pause > self._renew_at:
                    self._renew()
                else:
                    self._ask()
                self._stop_cancelled()
            except Exception:
                # It must survive any error: all leases of the process depend on it.
                logger.exception("a heartbeat failed", extra={"action": "renew"})

    def _renew(self) -> None:
        self._renew_at = time.monotonic() + self._lease.total_seconds() / 3
        with self._lock:
            asked = self._still_held()
        if not asked:
            return
        now = time.monotonic()
        try:
            alive = self._records.autocommit(lambda tx: tx.steps.renew(list(asked), self._lease))
        except Unavailable as error:
            logger.warning("leases were not renewed: %s", error, extra={"action": "renew"})
            self._renew_at = 0.0
            for held in asked.values():
                if held.expires_at < time.monotonic():
                    held.notify(
                        "the lease of a running step has expired, and the database is unavailable"
                    )
            return
        for token, held in asked.items():
            if token in alive:
                held.expires_at = now + self._lease.total_seconds()
            else:
                self._lose(token)
        self._cancelled({token for token, cancelled in alive.items() if cancelled})

    def _lose(self, token: LeaseToken) -> None:
        with self._lock:
            held = self._still_held().get(token)
            if held is None:
                return
            held.is_held = False
        held.notify("the lease of a running step was lost")

    # --- cancelled attempts ----------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask which attempts are cancelled and not notified yet."""
        with self._lock:
            tokens = [token for token in self._still_held() if token not in self._stages]
        if not tokens:
            return
        try:
            self._cancelled(self._records.autocommit(lambda tx: tx.steps.cancel_asked(tokens)))
        except Unavailable as error:
            logger.warning("cannot read whether steps were cancelled: %s", error)

    def _cancelled(self, tokens: AbstractSet[LeaseToken]) -> None:
        """Begin to stop attempts."""
        first_stage_ends = time.monotonic() + self._grace
        with self._lock:
            ours = self._still_held()
            new = [token for token in tokens if token in ours and token not in self._stages]
            self._stages |= dict.fromkeys(new, first_stage_ends)
            attempts = [ours[token].attempt for token in new]
        for attempt in attempts:
            attempt.cancel()

    def _stop_cancelled(self) -> None:
        """Begin the next stage of attempts whose grace period is over."""
        now = time.monotonic()
        with self._lock:
            ours = self._still_held()
            self._stages = {token: at for token, at in self._stages.items() if token in ours}
            due = [(token, ours[token].attempt) for token, at in self._stages.items() if at <= now]
        for token, attempt in due:
            if not attempt.interrupted and attempt.interrupt():
                self._stages[token] = now + self._grace
            else:
                self._end(token, attempt)

    def _end(self, token: LeaseToken, attempt: Attempt) -> None:
        """Record an attempt as cancelled whose code does not end."""
        try:
            recorded = attempt.record_cancel()
        except Unavailable as error:
            logger.warning("a cancelled step cannot be interrupted: %s", error)
            return  # the next beat tries again
        with self._lock:
            # While the lock is held, the process cannot have begun another step.
            if recorded and token in self._held and os.getpid() == _Expendable.expendable:
                logger.warning("this process exits, since a cancelled step did not end")
                os._exit(EXIT_CANCELLED)
        self._lose(token)

"""A circuit breaker: a server that does not answer is left alone for a while.

Without it, each call during an outage costs a timeout of its own. With it, one call now and then
does, which finds out whether the server is back; all others are told at once that it is not.
"""

from threading import Lock
from time import monotonic
from typing import Final

_FIRST_PAUSE: Final = 1.0
_MAX_PAUSE: Final = 5.0


class CircuitBreaker:
    """Decides whether a server is to be asked; safe to share among threads.

    Args:
        patience: Seconds that one call may take before another one may try as well.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = Lock()
        self._pause = 0.0
        self._not_before = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last call has failed."""
        return self._pause > 0

    def allows(self) -> bool:
        """Return whether to ask the server now; during an outage one caller at a time may."""
        if not self.is_open:
            return True
        with self._lock:
            now = monotonic()
            if now < self._not_before:
                return False
            self._not_before = now + self._patience
            return True

    def record_failure(self) -> bool:
        """Note that a call failed; return whether it was the first."""
        with self._lock:
            first = not self.is_open
            self._pause = min(2 * self._pause, _MAX_PAUSE) or _FIRST_PAUSE
            self._not_before = monotonic() + self._pause
            return first

    def record_success(self) -> bool:
        """Note that a call has worked; return whether it ends an outage."""
        if not self.is_open:
            return False
        with self._lock:
            self._pause = self._not_before = 0.0
            return True

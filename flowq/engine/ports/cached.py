"""Results that other steps may take."""

from datetime import timedelta
from typing import Protocol

from flowq.engine.model.rows import CacheEntry, Claim, Outcome


class CachedResults(Protocol):
    """Results under keys, until they expire."""

    def find(self, key: str) -> CacheEntry | None:
        """The result under a key, if there is one that has not expired."""

    def put(self, key: str, claim: Claim, outcome: Outcome, ttl: timedelta) -> bool:
        """Let others take what an attempt has made, for so long.

        Returns:
            False if the attempt has lost its lease, and nothing was kept.
        """

    def purge(self, age: timedelta) -> int:
        """Delete what expired so long ago; returns how many there were."""

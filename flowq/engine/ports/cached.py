"""Cached results."""

from datetime import timedelta
from typing import Protocol

from flowq.engine.model.rows import CacheEntry, Claim, Outcome


class CachedResults(Protocol):
    """Results under keys, until they expire."""

    def find(self, key: str) -> CacheEntry | None:
        """The result under a key, if there is one that has not expired."""

    def put(self, key: str, claim: Claim, outcome: Outcome, ttl: timedelta) -> bool:
        """Cache the result of an attempt for a time.

        Returns:
            False if the attempt has lost its lease; then nothing was cached.
        """

    def purge(self, age: timedelta) -> int:
        """Delete entries that expired at least `age` ago; returns how many."""

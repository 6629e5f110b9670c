"""Values in Redis that expire: what an application keeps for some time, and can do without.

Redis may be away, full or emptied: a write is then dropped and a read finds nothing. Neither
raises. An outage is logged once, and costs a caller at most one timeout.
"""

import logging
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from flowq.adapters.breaker import CircuitBreaker

logger = logging.getLogger(__name__)


class ExpiringValues:
    """Bytes by name; safe to share among threads.

    Args:
        client: A client that returns bytes.
        prefix: What the names of its keys begin with.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._breaker = CircuitBreaker(patience=5)

    def get(self, name: str) -> bytes | None:
        """Return a value, or None."""
        found: bytes | None = self._try(lambda: self._client.get(self._prefix + name))
        return found

    def set(self, name: str, value: bytes, seconds: float) -> None:
        """Keep a value for some seconds."""
        expires = max(round(seconds * 1000), 1)
        self._try(lambda: self._client.set(self._prefix + name, value, px=expires))

    def delete(self, name: str) -> None:
        """Delete a value."""
        self._try(lambda: self._client.delete(self._prefix + name))

    def clear(self) -> None:
        """Delete all values with this prefix."""
        start = "".join(f"[{one}]" if one in "*?[" else one for one in self._prefix)
        names = self._try(lambda: list(self._client.scan_iter(f"{start}*")))
        if names:
            self._try(lambda: self._client.delete(*names))

    def _try(self, command: Callable[[], Any]) -> Any:
        if not self._breaker.allows():
            return None
        try:
            answer = command()
        except (RedisError, OSError) as error:
            if self._breaker.record_failure():
                logger.warning("Redis is unavailable, nothing is cached (%s)", error)
            return None
        if self._breaker.record_success():
            logger.info("Redis is available again: results are cached")
        return answer

"""Small results in Redis, with a time to live.

The row has every value that is put here, so Redis may be away, full or emptied: a write is then
dropped and a read finds nothing. Neither raises. An outage is logged once, and costs an attempt at
most one timeout.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from flowq.adapters.breaker import CircuitBreaker
from flowq.engine.ports.stores import ResultCache

logger = logging.getLogger(__name__)

#: Keys that one MGET asks for: one reply must not hold the server, or memory, for long.
_AT_ONCE: Final = 200


class RedisCache(ResultCache):
    """`Cache` on Redis or Valkey.

    Args:
        client: A client that returns bytes (`decode_responses=False`), safe to share among threads.
        ttl: How long a value is kept.
        prefix: What the names of its keys begin with.
    """

    def __init__(self, client: Redis, ttl: timedelta, prefix: str = "") -> None:
        self._client = client
        self._ttl = ttl
        self._prefix = prefix
        self._breaker = CircuitBreaker(patience=5)

    @override
    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key` for the time to live; drop it when Redis is away."""
        self._try(partial(self._client.set, self._prefix + key, data, px=self._ttl), None)

    @override
    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for part in _parts(keys):
            names = [self._prefix + key for key in part]
            found += self._try(partial(self._client.mget, names), [None] * len(part))
        return found

    def _try(self, command: Callable[[], Any], otherwise: Any) -> Any:
        if not self._breaker.allows():
            return otherwise
        try:
            answer = command()
        except (RedisError, OSError) as error:
            if self._breaker.record_failure():
                logger.warning(
                    "Redis is unavailable, results are read from the database (%s)", error
                )
            return otherwise
        if self._breaker.record_success():
            logger.info("Redis is available again: small results are kept there")
        return answer


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield list(keys[start : start + _AT_ONCE])

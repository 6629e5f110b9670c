"""A rate of requests in Redis, so that all servers of an installation count together.

The rule is GCRA, the leaky bucket as a meter: a caller has room for so many requests, and the room
for one comes back each `period / number`. A key holds when all of it will be back, and expires
then. A refused request takes nothing. While Redis is away nothing is counted and all are let in:
the limit protects a service, and must not end it.
"""

import logging
from datetime import timedelta
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from flowq.adapters.breaker import CircuitBreaker

logger = logging.getLogger(__name__)

#: Takes room for one request; returns the milliseconds until there is some, 0 if it was taken.
#: Arguments: milliseconds for one request, milliseconds for all of them.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
if full > now + ARGV[2] then return math.ceil(full - now - ARGV[2]) end
redis.call('SET', KEYS[1], full, 'PX', math.ceil(full - now))
return 0
"""


class RequestRate:
    """So many requests of each caller in a time; safe to share among threads.

    Args:
        client: A client for Redis.
        number: Requests that a caller may send at once.
        period: Time in which room for so many comes back.
        prefix: What the names of its keys begin with.
    """

    def __init__(self, client: Redis, number: int, period: timedelta, prefix: str = "") -> None:
        self._take: Any = client.register_script(_TAKE)
        self._name = f"{prefix}flowq:requests:"
        whole = period.total_seconds() * 1000
        self._milliseconds = (whole / number, whole)
        self._breaker = CircuitBreaker(patience=5)

    def take(self, caller: str) -> float:
        """Count a request; return the seconds until there is room for it, 0 if there is now."""
        if not self._breaker.allows():
            return 0
        try:
            waits: int = self._take(keys=[self._name + caller], args=self._milliseconds)
        except (RedisError, OSError) as error:
            if self._breaker.record_failure():
                logger.warning("Redis is unavailable, requests are not counted (%s)", error)
            return 0
        if self._breaker.record_success():
            logger.info("Redis is available again: requests are counted")
        return waits / 1000

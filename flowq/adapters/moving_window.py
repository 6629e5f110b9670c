"""At most so many requests in any window of a time: in Redis for all processes, or in memory.

The times of the newest requests of a caller are kept. A request is taken if the one that is so many
places before it has left the window; a refused one takes nothing. One script asks and writes, and
the time is that of the Redis server: clocks of clients differ, and then a window would have more
(as with the library `limits`, which sends the time of the client).

`flowq.adapters.request_rate` is the cheaper rule for an API: it lets twice as many in at worst.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from flowq.core.errors import RedisUnavailable

#: Returns the microseconds until there is room, 0 if the request is taken.
#: Arguments: how many, microseconds of the window.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local oldest = tonumber(redis.call('LINDEX', KEYS[1], ARGV[1] - 1) or 0)
if oldest > now - ARGV[2] then return oldest - now + ARGV[2] end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
return 0
"""
#: Returns how many are in the window.
_COUNT: Final = """
local time = redis.call('TIME')
local since = time[1] * 1000000 + time[2] - ARGV[2]
local found = 0
for _, one in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  if tonumber(one) > since then found = found + 1 end
end
return found
"""
_SECOND: Final = 1_000_000
#: Callers in memory from which on those whose windows are empty are forgotten.
_CALLERS: Final = 1024


class RedisWindow:
    """Windows in Redis, shared by all processes; safe to share among threads.

    Args:
        client: A client for Redis.
        prefix: What the names of its keys begin with.
    """

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self._client = client
        self._take: Any = client.register_script(_TAKE)
        self._count: Any = client.register_script(_COUNT)
        self._name = f"{prefix}flowq:rate:"

    def take(self, caller: str, number: int, seconds: float) -> float:
        """Take a request; return the seconds until there is room for it, 0 if there was.

        Args:
            caller: Whose it is.
            number: How many a window may have.
            seconds: The length of a window.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        args = (number, round(seconds * _SECOND))
        waits: int = self._asked(lambda: self._take([self._key(caller, number, seconds)], args))
        return waits / _SECOND

    def left(self, caller: str, number: int, seconds: float) -> int:
        """Return how many requests there is room for now; raises as `take`."""
        args = (number, round(seconds * _SECOND))
        found: int = self._asked(lambda: self._count([self._key(caller, number, seconds)], args))
        return number - found

    def forget(self, number: int, seconds: float, caller: str | None = None) -> None:
        """Forget the requests of a caller, None for all callers; raises as `take`."""
        names: Any = [self._key(caller or "", number, seconds)]
        if caller is None:
            # `[` and `?` of a prefix stand for themselves in a pattern only within brackets.
            start = "".join(f"[{one}]" if one in "*?[" else one for one in names[0])
            names = self._asked(lambda: list(self._client.scan_iter(f"{start}*")))
        if names:
            self._asked(lambda: self._client.delete(*names))

    def _key(self, caller: str, number: int, seconds: float) -> str:
        return f"{self._name}{number}/{seconds:g}:{caller}"

    def _asked(self, command: Callable[[], Any]) -> Any:
        try:
            return command()
        except (RedisError, OSError) as error:
            raise RedisUnavailable(
                f"Redis does not answer, so requests cannot be counted: {error}",
                hint="flowq doctor",
            ) from error


class MemoryWindow:
    """The same in this process alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[tuple[str, int, float], deque[float]] = {}
        self._sweep_at = _CALLERS

    def take(self, caller: str, number: int, seconds: float) -> float:
        """Take a request; see `RedisWindow`."""
        with self._lock:
            taken = self._in_window(caller, number, seconds)
            now = time.monotonic()
            if len(taken) >= number:
                return taken[0] + seconds - now
            taken.append(now)
            return 0.0

    def left(self, caller: str, number: int, seconds: float) -> int:
        """Return how many requests there is room for now."""
        with self._lock:
            return number - len(self._in_window(caller, number, seconds))

    def forget(self, number: int, seconds: float, caller: str | None = None) -> None:
        """Forget the requests of a caller, None for all callers."""
        with self._lock:
            for key in list(self._taken):
                if key[1:] == (number, seconds) and caller in (None, key[0]):
                    del self._taken[key]

    def _in_window(self, caller: str, number: int, seconds: float) -> deque[float]:
        now = time.monotonic()
        if len(self._taken) >= self._sweep_at:  # most callers never come again
            known = self._taken.items()
            self._taken = {key: one for key, one in known if one and one[-1] > now - key[2]}
            self._sweep_at = max(_CALLERS, 2 * len(self._taken))
        taken = self._taken.setdefault((caller, number, seconds), deque())
        while taken and taken[0] <= now - seconds:
            taken.popleft()
        return taken

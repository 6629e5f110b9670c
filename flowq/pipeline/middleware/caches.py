"""Where `CachingMiddleware` keeps results: in Redis for all processes, or in memory for tests.

A backend of your own has the same four methods. It takes part in `pipeline.enqueue` if it is a
dataclass at the top of a module.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flowq import bootstrap

#: Bytes of a result as JSON; a larger one is not cached.
MAX_BYTES: Final = 1024 * 1024


class CacheBackend(Protocol):
    """Keeps results, as JSON data, by key."""

    async def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what is kept under a key, or None."""
        ...

    async def set(self, key: str, value: Mapping[str, Any], ttl: float) -> None:
        """Keep a value for some seconds."""
        ...

    async def delete(self, key: str) -> None:
        """Delete a value."""
        ...

    async def clear(self) -> None:
        """Delete all values."""
        ...


@dataclass(frozen=True)
class RedisCache:
    """Results in the Redis of this installation; all processes share them.

    While Redis is away nothing is found and nothing is kept.

    Attributes:
        name: Caches of different names do not share results.
    """

    name: str = "results"

    async def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what is kept under a key, or None."""
        found = await asyncio.to_thread(self._values().get, key)
        return None if found is None else _read(found)

    async def set(self, key: str, value: Mapping[str, Any], ttl: float) -> None:
        """Keep a value for some seconds."""
        await asyncio.to_thread(self._values().set, key, json.dumps(value).encode(), ttl)

    async def delete(self, key: str) -> None:
        """Delete a value."""
        await asyncio.to_thread(self._values().delete, key)

    async def clear(self) -> None:
        """Delete all values of this cache."""
        await asyncio.to_thread(self._values().clear)

    def _values(self) -> Any:
        return bootstrap.expiring_values(f"flowq:pipeline:{self.name}:")


class MemoryCache:
    """Results in this process; the least recently used ones are dropped.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what is kept under a key, or None."""
        expires, text = self._kept.get(key, (0.0, ""))
        if expires <= time.monotonic():
            self._kept.pop(key, None)
            return None
        self._kept.move_to_end(key)
        return _read(text)

    async def set(self, key: str, value: Mapping[str, Any], ttl: float) -> None:
        """Keep a value for some seconds."""
        self._kept[key] = (time.monotonic() + ttl, json.dumps(value))
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    async def delete(self, key: str) -> None:
        """Delete a value."""
        self._kept.pop(key, None)

    async def clear(self) -> None:
        """Delete all values."""
        self._kept.clear()


def default_cache() -> CacheBackend:
    """Return the cache in Redis, or one in memory where no Redis is configured or embedded."""
    return RedisCache() if bootstrap.has_redis() else _MEMORY


_MEMORY: Final = MemoryCache()


def _read(text: str | bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None  # something else has written under this name
    return found if isinstance(found, dict) else None

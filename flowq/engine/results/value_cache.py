"""Recently loaded values, for steps that read only a part of them.

Each item of a map over one large list references its place in that list. Without this cache, every
item would load and parse the list again, at a quadratic cost. Results never change, so cached
values stay valid; the cache is an LRU with a bound on encoded bytes. Only readers of parts share
it, and they get copies, since a step may change its inputs.
"""

from copy import deepcopy
from threading import Lock
from typing import Any, Final

from cachetools import LRUCache

from flowq.core.results import ResultRef

_MAX_BYTES: Final = 64 * 1024 * 1024


class ValueCache:
    """A bounded, thread-safe store of decoded values by result key."""

    def __init__(self, most_bytes: int = _MAX_BYTES) -> None:
        self._most = most_bytes
        self._lock = Lock()
        # From key to the value and its size.
        self._values: LRUCache[str, tuple[Any, int]] = LRUCache(most_bytes, lambda kept: kept[1])

    def get(self, ref: ResultRef) -> tuple[Any] | None:
        """Return the value of a reference, wrapped, or None when it is not cached."""
        with self._lock:
            kept = self._values.get(ref.key)
        return None if kept is None else (kept[0],)

    def put(self, ref: ResultRef, value: Any) -> None:
        """Cache a value, if it is JSON and not too large."""
        if ref.codec != "json" or ref.size > self._most // 2:
            return
        with self._lock:
            self._values[ref.key] = (value, ref.size)


def own_copy(part: Any) -> Any:
    """Return a part of a shared value that its reader may change."""
    return deepcopy(part) if isinstance(part, dict | list) else part

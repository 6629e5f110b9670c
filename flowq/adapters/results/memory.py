"""Results within one process: for tests, also users', and for flows that run where they are called.

Both adapters keep what their contract says, threads included. Values end with the process.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final
from uuid import uuid4

from cachetools import LRUCache
from typing_extensions import override

from flowq.adapters.results.keys import checked_key
from flowq.core.errors import ResultMissing, StoreUnavailable
from flowq.engine.model.rows import ListedObject
from flowq.engine.ports.stores import ObjectStore, ResultCache

_PART: Final = 4 * 1024 * 1024
_PAGE: Final = 1_000
_MAX_BYTES: Final = 256 * 1024 * 1024


class MemoryCache(ResultCache):
    """`Cache` in a dict that forgets what was used longest ago.

    Args:
        max_bytes: How much it keeps.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._values: LRUCache[str, bytes] = LRUCache(max_bytes, len)
        self._lock = Lock()

    @override
    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`, and forget old values to make room."""
        with self._lock:
            self._values.pop(key, None)
            if len(data) <= self._values.maxsize:
                self._values[key] = bytes(data)

    @override
    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._values.get(key) for key in keys]

    def clear(self) -> None:
        """Forget everything, as a Redis that was restarted."""
        with self._lock:
            self._values.clear()


class MemoryObjects(ObjectStore):
    """`ObjectStore` in a dict."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._written: dict[str, float] = {}
        self._lock = Lock()

    @override
    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object; raises `StoreUnavailable` when a file cannot be read."""
        checked_key(key)
        try:
            content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        except OSError as error:
            raise StoreUnavailable(f"{key} was not stored: {error}") from error
        with self._lock:
            self._objects[key] = content
            self._written[key] = monotonic()

    @override
    def get(self, key: str) -> bytes:
        with self._lock:
            data = self._objects.get(checked_key(key))
        if data is None:
            raise ResultMissing(
                f"there is no object {key}", hint="its step must run again: start a new run"
            )
        return data

    @override
    def stream(self, key: str) -> Iterator[bytes]:
        data = memoryview(self.get(key))
        for start in range(0, len(data), _PART):
            yield bytes(data[start : start + _PART])

    @override
    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects.pop(checked_key(key), None)

    @override
    def size(self, key: str) -> int | None:
        with self._lock:
            data = self._objects.get(checked_key(key))
        return None if data is None else len(data)

    @override
    def list(self, prefix: str, *, after: str = "") -> Iterator[Sequence[ListedObject]]:
        under = f"{checked_key(prefix)}/"
        with self._lock:
            now = monotonic()
            found = [
                ListedObject(key, timedelta(seconds=now - self._written[key]))
                for key in sorted(self._objects)
                if key.startswith(under) and key > after
            ]
        for start in range(0, len(found), _PAGE):
            yield found[start : start + _PAGE]

    @override
    def url(self, key: str, expires: timedelta) -> str:
        """Return an address that says where the object is; nobody else can read it."""
        return f"memory:///{checked_key(key)}"

    @override
    def check(self) -> None:
        key = f"flowq-check/{uuid4().hex}"
        self.put(key, b"flowq")
        self.get(key)
        self.delete([key])

    def keys(self) -> Sequence[str]:
        """Return the keys of all objects, sorted; for tests."""
        with self._lock:
            return sorted(self._objects)

"""Where results are kept: small ones in a lossy cache, large ones in an object store."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from flowq.engine.model.rows import ListedObject


class ResultCache(Protocol):
    """Keeps small values for a limited time; may lose any of them at any moment."""

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`. Never raises for an outage: the row has the value."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values in the order of `keys`; None for missing ones."""


class ObjectStore(Protocol):
    """Keeps large values under keys, durably."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, streaming when `data` is a file.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """

    def get(self, key: str) -> bytes:
        """Read an object whole.

        Raises:
            ResultMissing: there is none.
            StoreUnavailable: the store refuses or does not answer.
        """

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in parts of a few MiB; raises as `get`."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, perhaps some before `StoreUnavailable`; a missing one is no error."""

    def size(self, key: str) -> int | None:
        """Size of an object in bytes; None when there is none. Raises `StoreUnavailable`."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[Sequence[ListedObject]]:
        """Yield the objects under a prefix page by page, in the order of their keys.

        Args:
            prefix: Leading parts of keys, whole ones.
            after: Begin after this key.

        Raises:
            StoreUnavailable: the store refuses or does not answer, also between two pages.
        """

    def url(self, key: str, expires: timedelta) -> str:
        """URL of an object; signed, and valid until `expires`, where the store supports that.

        Raises:
            StoreUnavailable: the store has no keys to sign with.
        """

    def check(self) -> None:
        """Write, read and delete a small object; raises `StoreUnavailable`."""

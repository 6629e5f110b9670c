"""A storage of blocks in memory."""

from datetime import UTC, datetime
from itertools import count

from flowq.adapters.results.memory import MemoryObjects
from flowq.blocks.storage.external import BlockStorage
from flowq.engine.ports import ObjectStore

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def storage(objects: ObjectStore | None = None, threshold: int = 1024 * 1024) -> BlockStorage:
    """Return a storage whose versions are `v0`, `v1`, … and whose clock stands still."""
    store, versions = objects or MemoryObjects(), count()
    return BlockStorage(lambda: store, threshold, lambda: f"v{next(versions)}", lambda: NOON)

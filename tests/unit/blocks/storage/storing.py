"""A storage of blocks in memory, and contents for it."""

from datetime import UTC, datetime
from itertools import count

from hypothesis import strategies as st

from flowq.adapters.results.memory import MemoryObjects
from flowq.blocks.storage.external import BlockStorage
from flowq.engine.ports import ObjectStore

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

#: Text with lone surrogates too: Python's JSON reads and writes them.
TEXT = st.text(st.characters())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


def storage(objects: ObjectStore | None = None, threshold: int = 1024 * 1024) -> BlockStorage:
    """Return a storage whose versions are `v0`, `v1`, … and whose clock stands still."""
    store, versions = objects or MemoryObjects(), count()
    return BlockStorage(lambda: store, threshold, lambda: f"v{next(versions)}", lambda: NOON)

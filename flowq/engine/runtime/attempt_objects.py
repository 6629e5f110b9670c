"""What an attempt may store in the object store beside its result: the contents of blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flowq.engine.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class AttemptObjects:
    """The object store as one attempt uses it.

    Attributes:
        store: Gives the store; called when it is needed, never before.
        threshold_bytes: The largest value that needs no object, see FLOWQ_RESULT_THRESHOLD_BYTES.
        version: A part of keys that no other attempt has; the collector finds its owner by it.
        user_id: Whose run it is.
        now: The clock.
    """

    store: Callable[[], ObjectStore]
    threshold_bytes: int
    version: str
    user_id: str | None
    now: Callable[[], datetime]

"""When a run of a flow begins, beside other runs of the same key: singletons and debounces.

The rules belong to the flow; here they are as resolved for one run, whose spec has them.
"""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class SingletonMode(StrEnum):
    """What becomes of a run while another run of its singleton key is in flight."""

    QUEUE = "queue"  #: It waits; the oldest of those that wait is the next.
    SKIP = "skip"  #: It is not recorded: the run in flight is returned.
    CANCEL_RUNNING = "cancel_running"  #: The other one is cancelled; this one begins when it ends.


class QueueingSpec(BaseModel):
    """The rules for one run.

    Attributes:
        singleton: Whether, and how, at most one run of a key is in flight.
        singleton_key: What one run at a time is in flight of; empty for the whole flow.
        debounce: How long no other run of a key may have been enqueued before one begins.
        debounce_key: What is debounced together; empty for the whole flow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    singleton: SingletonMode | None = None
    singleton_key: str = ""
    debounce: timedelta | None = None
    debounce_key: str = ""

"""When a run of a flow begins, and when its steps are sent, beside other runs.

The rules belong to the flow; here they are as resolved for one run, whose spec has them.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

#: Priorities are integers from 0, the default, to this one; larger goes first.
MAX_PRIORITY: Final = 9


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
        share: Whose steps are sent in turn with those of others; None: they are sent at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    singleton: SingletonMode | None = None
    singleton_key: str = ""
    debounce: timedelta | None = None
    debounce_key: str = ""
    share: str | None = None

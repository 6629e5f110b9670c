"""Replaying a durable program: pure, with no I/O, no clock and no threads; see `execution`."""

from flowq.engine.replay.control import ContinueAsNew
from flowq.engine.replay.execution import Execution, current
from flowq.engine.replay.values import (
    Call,
    Cancelled,
    Continued,
    End,
    Ended,
    Observation,
    Progress,
    Raised,
    Recorded,
    Returned,
)
from flowq.engine.replay.waiting import Awaited

__all__ = [
    "Awaited",
    "Call",
    "Cancelled",
    "ContinueAsNew",
    "Continued",
    "End",
    "Ended",
    "Execution",
    "Observation",
    "Progress",
    "Raised",
    "Recorded",
    "Returned",
    "current",
]

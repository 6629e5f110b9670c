"""Replays durable programs: pure, with no I/O, no clock and no threads; see `execution`."""

from flowq.engine.replay.control import ContinueAsNew
from flowq.engine.replay.execution import Execution, current
from flowq.engine.replay.values import (
    CallEnded,
    Cancelled,
    Continued,
    End,
    LazyResult,
    Observation,
    ProgramCall,
    Raised,
    RecordedCall,
    ReplayOutcome,
    Returned,
)
from flowq.engine.replay.waiting import Awaited

__all__ = [
    "Awaited",
    "CallEnded",
    "Cancelled",
    "ContinueAsNew",
    "Continued",
    "End",
    "Execution",
    "LazyResult",
    "Observation",
    "ProgramCall",
    "Raised",
    "RecordedCall",
    "ReplayOutcome",
    "Returned",
    "current",
]

"""Runs that are recorded and have not begun."""

from dataclasses import dataclass
from datetime import timedelta

from flowq.core.ids import RunId


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run that has not begun."""

    id: RunId
    flow_name: str
    priority: int
    singleton_key: str | None
    left: timedelta  #: Until it may begin; not positive if its time has come.


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that has just begun."""

    id: RunId
    priority: int

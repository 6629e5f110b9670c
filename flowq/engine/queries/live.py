"""Summaries of runs, as the live list shows them."""

from dataclasses import dataclass
from datetime import datetime

from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.core.usage import Usage


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The state of a run, in one line."""

    id: RunId
    flow_name: str
    status: RunState
    created_at: datetime
    started_at: datetime | None
    execution_time_ms: int | None
    done: int
    total: int
    used: Usage

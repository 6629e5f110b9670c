"""What rows record about the open steps of a run, to explain why it waits.

Steps of one key that wait for the same are one value: a map of ten thousand queued items is one
line with a count. Steps that wait for other steps are left out: those other steps are here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flowq.core.ids import RunId
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState, StopKind


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that is queued, runs, or waits; or the items of a map that do."""

    key: str
    name: str
    state: StepState
    index: int | None  #: The first of the items.
    count: int
    since: datetime  #: When the (first) row was made.
    attempt: int
    wake_at: datetime | None  #: When it is sent again, tried again, or its timer ends.
    lease_until: datetime | None
    worker: str | None
    error_type: str | None
    kind: StepKind | None = None  #: Of a call of a program,
    queue: str | None = None  #: the queue that the call names,
    shadow: str | None = None  #: and the name by which it is routed instead of its own.
    wanted: Any = None  #: Of a signal: what its message has to be, as a JSON schema.
    share: str | None = None  #: Of a queued one that is not sent: in the line of this share.


@dataclass(frozen=True, slots=True)
class Holder:
    """A step that has a slot of a limit."""

    run_id: RunId
    flow_name: str
    key: str
    index: int | None
    worker: str | None

    def __str__(self) -> str:
        step = self.key if self.index is None else f"{self.key}[{self.index}]"
        return f"{step} of run {self.run_id}" + (f" on {self.worker}" if self.worker else "")


@dataclass(frozen=True, slots=True)
class LimitWait:
    """Steps of one key that wait in the line of a limit."""

    key: str
    limit: str
    slots: int
    per: timedelta | None
    count: int
    place: int  #: Of the first of them, from 1.
    line: int  #: The length of the line, over all runs.
    since: datetime
    turn_at: datetime | None
    holders: tuple[Holder, ...]  #: Some of those that have a slot now.


@dataclass(frozen=True, slots=True)
class OpenSteps:
    """The present open steps of a run."""

    now: datetime
    flow_name: str
    status: RunState
    error: str | None
    stop_kind: StopKind | None
    steps: tuple[OpenStep, ...]
    limits: tuple[LimitWait, ...]
    cut: bool  #: There are more than were read.


@dataclass(frozen=True, slots=True)
class WaitingSteps:
    """Open steps in one state, of a run without a running step."""

    run_id: RunId
    state: StepState
    kind: StepKind | None  #: Of calls of a program.
    name: str  #: Of one of them.
    wake_at: datetime | None  #: The first.
    count: int
    in_line: bool = False  #: All of them are in the lines of their share.


@dataclass(frozen=True, slots=True)
class QueuedSteps:
    """Queued steps of one name in runs that are not paused or stopping, with an example."""

    name: str
    steps: int
    runs: int
    run_id: RunId  #: One of the runs,
    key: str  #: and the step in it.
    since: datetime

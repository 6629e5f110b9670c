"""What pages and lists show of schedules: each with its last run, and the ticks that it skipped."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

from flowq.core.ids import RunId
from flowq.core.schedules.decide import SkipReason
from flowq.core.schedules.spec import GRACE
from flowq.core.schedules.ticks import start_of, ticks
from flowq.core.states import RunState
from flowq.engine.model.schedules import StoredSchedule


class ScheduleState(StrEnum):
    """How a schedule is, for people."""

    ACTIVE = "active"  #: It waits for its next tick.
    PAUSED = "paused"  #: It starts nothing but what is requested.
    WAITING = "waiting"  #: A tick waits for an open run.
    OVERDUE = "overdue"  #: A tick is due, and no worker has started it.
    ENDED = "ended"  #: It has no tick any more.


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that a schedule has started."""

    id: RunId
    status: RunState
    created_at: datetime
    completed_at: datetime | None
    scheduled_for: str | None  #: The time of the tick, in the time zone of the schedule.
    error: str | None


@dataclass(frozen=True, slots=True)
class SkippedTicks:
    """Ticks, one after the other, that have started no run for one reason."""

    first: datetime
    last: datetime
    ticks: int
    reason: SkipReason
    detail: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class ListedSchedule:
    """A schedule in a list.

    Attributes:
        schedule: The schedule.
        now: The time of the database.
        last_run: The run that it has started last.
        skipped: The ticks that it has skipped last.
    """

    schedule: StoredSchedule
    now: datetime
    last_run: ScheduledRun | None
    skipped: SkippedTicks | None

    @property
    def state(self) -> ScheduleState:
        """How it is."""
        spec, progress = self.schedule.spec, self.schedule.progress
        if progress.paused_at is not None:
            return ScheduleState.PAUSED
        if progress.held_at is not None:
            return ScheduleState.WAITING
        if progress.next_at is None:
            return ScheduleState.ENDED
        is_late = start_of(spec, progress.next_at) + GRACE < self.now
        return ScheduleState.OVERDUE if is_late else ScheduleState.ACTIVE

    @property
    def why(self) -> str | None:
        """Why a tick is not started yet; None when that is as it should be."""
        if self.state is ScheduleState.WAITING:
            return "a run of the schedule is open, and its ticks wait for each other"
        if self.state is not ScheduleState.OVERDUE:
            return None
        flow_name = self.schedule.spec.flow_name
        late = f"no worker has taken it: none knows the flow {flow_name!r}, or all are busy"
        return self.schedule.problem or late

    def coming(self, count: int) -> list[datetime]:
        """Return its next ticks, also those of a paused one."""
        spec, progress = self.schedule.spec, self.schedule.progress
        if progress.next_at is None:
            return []
        later = ticks(spec, self.schedule.anchor, progress.next_at)
        return [progress.next_at, *islice(later, max(0, count - 1))]

"""Schedules as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flowq.core.ids import RunId
from flowq.core.schedules.decide import Progress
from flowq.core.schedules.spec import ScheduleSpec


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule with its progress.

    Attributes:
        anchor: From where its interval is counted.
        version: Increases with every change of the row; guards its UPDATEs.
        wake_at: When the sweeper has to look at it; None: never.
        declared_in: Where code declares it, for people; None: it was added by a command.
        problem: Why it could not be started the last time.
    """

    spec: ScheduleSpec
    progress: Progress
    anchor: datetime
    version: int
    wake_at: datetime | None
    declared_in: str | None
    problem: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleNow:
    """A schedule at one moment.

    Attributes:
        schedule: The schedule.
        now: The time of the database.
        open_runs: Its runs that have not ended.
    """

    schedule: StoredSchedule
    now: datetime
    open_runs: Sequence[RunId]

"""Schedules, as the engine reads and changes them."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

from flowq.core.schedules.decide import Progress, Skip
from flowq.core.schedules.spec import ScheduleSpec
from flowq.engine.model.schedules import ScheduleNow, StoredSchedule


class Schedules(Protocol):
    """The rows of `flow_schedules`, within one transaction.

    Every change is guarded by the version that it was decided from, so of two at once one is made.
    """

    def now(self) -> datetime:
        """The time of the database."""

    def find(self, name: str) -> StoredSchedule | None:
        """A schedule by its name."""

    def at_this_moment(self, name: str) -> ScheduleNow | None:
        """A schedule with the time and its open runs."""

    def any_due(self) -> bool:
        """Whether a schedule of any flow is due: one look into an index."""

    def take_due(
        self, flows: Collection[str], *, again: timedelta, longest: timedelta, limit: int
    ) -> list[tuple[str, str]]:
        """Take due schedules of some flows; they are due again after a pause that doubles.

        Rows that another sweeper has locked are skipped.

        Args:
            flows: Names of the flows that the caller knows.
            again: The first pause.
            longest: The longest pause.
            limit: How many schedules at most.

        Returns:
            The name of each, with that of its flow.
        """

    def insert(
        self,
        spec: ScheduleSpec,
        progress: Progress,
        wake_at: datetime | None,
        *,
        anchor: datetime,
        declared_in: str | None,
    ) -> bool:
        """Insert a schedule; False if its name is taken."""

    def change(
        self,
        spec: ScheduleSpec,
        progress: Progress,
        wake_at: datetime | None,
        *,
        version: int,
        declared_in: str | None,
    ) -> bool:
        """Replace the definition of a schedule; False if it is not at that version any more."""

    def move(
        self, name: str, progress: Progress, wake_at: datetime | None, *, version: int
    ) -> bool:
        """Write the progress of a schedule; False if it is not at that version any more."""

    def note(self, name: str, problem: str) -> None:
        """Write why a schedule could not be started."""

    def skip(self, name: str, skip: Skip) -> None:
        """Record ticks that start no run; only the latest records of a schedule are kept."""

    def delete(self, name: str) -> bool:
        """Delete a schedule with its skipped ticks; its runs stay. False if there is none."""

"""Schedules, and requests of runs, as the engine reads and changes them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from flowq.core.ids import RunId
from flowq.core.schedules.decide import Progress, Skip
from flowq.core.schedules.spec import ScheduleSpec
from flowq.engine.model.requested import RecordedFlow, RequestedRun
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


class RequestedRuns(Protocol):
    """The rows of `flow_definitions` and `flow_requests`, within one transaction."""

    def flow(self, name: str) -> RecordedFlow | None:
        """A flow as a worker has recorded it."""

    def fresh(self, names: Sequence[str]) -> Mapping[str, RecordedFlow]:
        """Those of the flows that were recorded within a day, by name."""

    def names(self, *, after: str = "", limit: int) -> list[str]:
        """The names of recorded flows in their order, from after one on."""

    def record(self, flow: RecordedFlow) -> None:
        """Record a flow, or replace or renew its record."""

    def insert(self, run: RequestedRun, check_after: timedelta) -> None:
        """Record a requested run.

        Args:
            run: What is requested.
            check_after: When the sweeper has to look at it.
        """

    def find(self, run_id: RunId) -> RequestedRun | None:
        """A request; None if its run has started, it was withdrawn, or it is older than a day."""

    def any_due(self) -> bool:
        """Whether the request of a run of any flow is due: one look into an index."""

    def take_due(
        self, flows: Collection[str], *, again: timedelta, longest: timedelta, limit: int
    ) -> list[tuple[str, str]]:
        """Take due requests of some flows; they are due again after a pause that doubles.

        Returns:
            The id of each, with the name of its flow.
        """

    def delete(self, run_id: RunId) -> bool:
        """Delete a request, since its run starts or nobody wants it; False if there is none."""

    def refuse(self, run_id: RunId, problem: str) -> None:
        """Write why a run cannot be started; no worker tries it again."""

    def purge(self) -> None:
        """Delete requests older than a day, and flows that no worker has renewed for a week."""

"""The sweeper's part of the records: what may be lost, what is late, what is old.

Many sweepers use this at once. So each change is guarded by the state it comes from, and a query
over many rows is a duty with turns.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.states import StopKind
from flowq.engine.model.rows import StepRef
from flowq.engine.model.starts import PendingRun
from flowq.engine.model.sweeps import DeletedTree, ExpiredLease, Orphan, RunIdRange, UnclaimedStep


class Sweeps(Protocol):
    """What the sweeper reads and changes; rows that another sweeper has locked are skipped."""

    def due(self, *, resend_after: timedelta, limit: int) -> list[StepRef]:
        """Queue due retries; returns them, to be sent."""

    def timed(self, *, limit: int) -> list[BatchId]:
        """End due timers, and timed-out waits for signals; returns their batches."""

    def unseen(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[BatchId]:
        """Batches of calls that have ended without their waiting program having seen it."""

    def unknown_waits(self, *, within: RunIdRange, limit: int) -> list[RunId]:
        """Programs that wait for a call of an unknown kind."""

    def unclaimed(self, *, limit: int) -> list[UnclaimedStep]:
        """Queued rows that no worker took in time, the most overdue first."""

    def snooze(
        self, found: Sequence[UnclaimedStep], resend_after: timedelta, longest: timedelta
    ) -> set[StepRunId]:
        """Snooze unclaimed rows for twice as long as the last time.

        Args:
            resend_after: The first snooze time.
            longest: The maximum snooze time.

        Returns:
            Those that this call has snoozed and that may be sent. Others were claimed, or snoozed
            by another sweeper, or are parked because their run is paused.
        """

    def expired_leases(
        self, *, max_recoveries: int, resend_after: timedelta, limit: int
    ) -> list[ExpiredLease]:
        """Queue steps whose lease has expired, or fail those recovered too often."""

    def unadvanced(self, *, grace: timedelta, limit: int) -> list[BatchId]:
        """Batches that have ended but were not advanced."""

    def paused(self, kind: StopKind, *, after: RunId, limit: int) -> list[RunId]:
        """Runs that were paused for a reason of a kind, by id."""

    def starting(self, *, limit: int) -> list[PendingRun]:
        """Runs that have not begun though their time has come, the most overdue first."""

    def in_line(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[PendingRun]:
        """Runs that have waited for `grace` for a singleton key that no run has."""

    def overdue(self, *, limit: int) -> list[tuple[RunId, datetime]]:
        """Runs past their deadline that are not stopped yet, with their deadlines."""

    def try_acquire(self, duty: str, every: timedelta) -> str | None:
        """Take the turn of a duty that one sweeper at a time does.

        Returns:
            The position at which the last turn ended; None when it is not due, or taken by another.
        """

    def save_cursor(self, duty: str, position: str, *, again: bool = False) -> None:
        """Save where the next turn of a duty begins, and optionally make it due immediately."""

    def position(self, duty: str) -> str:
        """Where the next turn of a duty begins."""

    def slice(self, after: RunId, *, limit: int) -> RunIdRange:
        """The next open runs."""

    def stalled(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[RunId]:
        """Open runs with ready steps, or without open steps, that only an advance can continue."""

    def orphans(self, *, within: RunIdRange, limit: int) -> list[Orphan]:
        """Child runs whose parent step has ended, and that are not cancelled yet."""

    def stale(self, *, within: RunIdRange, age: timedelta, limit: int) -> list[RunId]:
        """Open runs whose progress was not written for `age`, the oldest first."""

    def expired(self, age: timedelta, *, after: RunId, limit: int) -> list[RunId]:
        """Terminal runs older than `age` that are no child runs, by id."""

    def delete_tree(self, root: RunId) -> DeletedTree | None:
        """Delete a run with its child runs; None while any of them is open."""

    def prepare_month(self) -> str | None:
        """Make one partition of a coming month, if the large tables are partitioned.

        Returns:
            Its name, so that the caller commits and asks again; None when none is missing.
        """

    def drop_empty_month(self) -> str | None:
        """Drop one partition of an ended month that has no row any more; returns its name."""

    def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys of objects that no row references, now or later."""

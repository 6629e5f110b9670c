"""The sweeper's part of the records: what may have been lost, what is late, what is old.

Whatever is asked here is asked by many sweepers at once. So each change is guarded by the state it
comes from, and what goes over many rows is a duty with turns.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.states import StopKind
from flowq.engine.model.rows import StepRef
from flowq.engine.model.sweeps import DeletedTree, ExpiredLease, Orphan, RunIdRange, UnclaimedStep


class Sweeps(Protocol):
    """What the sweeper asks and changes; rows that another sweeper holds are passed over."""

    def due(self, *, resend_after: timedelta, limit: int) -> list[StepRef]:
        """Queue retries whose time has come; returns them, to be sent."""

    def timed(self, *, limit: int) -> list[BatchId]:
        """End timers, and waits for signals, whose time has come; returns their batches."""

    def unseen(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[BatchId]:
        """Batches of calls that have ended, while their program waits and has not seen it."""

    def unknown_waits(self, *, within: RunIdRange, limit: int) -> list[RunId]:
        """Return programs that wait for what is of no kind that can be waited for."""

    def unclaimed(self, *, limit: int) -> list[UnclaimedStep]:
        """Queued rows that nobody took in time, the most overdue first."""

    def snooze(
        self, found: Sequence[UnclaimedStep], resend_after: timedelta, longest: timedelta
    ) -> set[StepRunId]:
        """Leave unclaimed rows alone for twice as long as the last time.

        Args:
            found: The rows.
            resend_after: How long they were left alone the first time.
            longest: How long at most.

        Returns:
            Those that this call has put off and that may be sent. Others were claimed, or put off
            by another sweeper, or are parked since their run is paused.
        """

    def expired_leases(
        self, *, max_recoveries: int, resend_after: timedelta, limit: int
    ) -> list[ExpiredLease]:
        """Queue steps whose lease has lapsed, or fail those that lapsed too often."""

    def unadvanced(self, *, grace: timedelta, limit: int) -> list[BatchId]:
        """Batches that have ended without anyone going on."""

    def paused(self, kind: StopKind, *, after: RunId, limit: int) -> list[RunId]:
        """Runs that were paused for a reason of a kind, by id."""

    def overdue(self, *, limit: int) -> list[tuple[RunId, datetime]]:
        """Runs that nobody has stopped although their deadline has passed, with their deadlines."""

    def try_acquire(self, duty: str, every: timedelta) -> str | None:
        """Take the turn of a duty that one sweeper at a time does.

        Returns:
            Where the last turn has ended; None when it is not due, or another has taken it.
        """

    def save_cursor(self, duty: str, position: str, *, again: bool = False) -> None:
        """Say where the next turn of a duty begins, and perhaps that it is due at once."""

    def position(self, duty: str) -> str:
        """Where the next turn of a duty begins."""

    def slice(self, after: RunId, *, limit: int) -> RunIdRange:
        """The next open runs."""

    def stalled(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[RunId]:
        """Open runs that have ready or no open steps, so nothing but an advance moves them."""

    def orphans(self, *, within: RunIdRange, limit: int) -> list[Orphan]:
        """Child runs whose waiting step has ended, and that nobody has cancelled."""

    def stale(self, *, within: RunIdRange, age: timedelta, limit: int) -> list[RunId]:
        """Open runs whose progress was not written for `age`, the oldest first."""

    def expired(self, age: timedelta, *, after: RunId, limit: int) -> list[RunId]:
        """Ended runs that nobody has started but a person, older than `age`, by id."""

    def delete_tree(self, root: RunId) -> DeletedTree | None:
        """Delete a run with all that its steps have started; None while any of it is open."""

    def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Of keys of objects, those that no row names, nor will."""

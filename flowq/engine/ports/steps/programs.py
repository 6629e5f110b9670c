"""Reads and writes of programs and their calls."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.spec import CallSpec
from flowq.core.states import StepState
from flowq.engine.model.programs import (
    CalledRow,
    Claiming,
    NextCall,
    ProgramState,
    ResumedProgram,
    Resuming,
    Suspension,
    WaitingProgram,
    WokenProgram,
)
from flowq.engine.model.rows import Claim, Outcome, StepRef


class ProgramRows(Protocol):
    """Guarded reads and writes of programs and their calls, in one transaction."""

    def program(self, program: StepRunId, *, after: int) -> ProgramState | None:
        """Read a program, and the ends of calls that it saw after a number, or has not seen."""

    def called(self, run_id: RunId, keys: Sequence[str] | None = None) -> list[CalledRow]:
        """Read the calls of a program, all or some, in the order in which they were made."""

    def call_spec(self, run_id: RunId, key: str) -> CallSpec | None:
        """Read the spec of one call."""

    def suspend(self, claim: Claim, suspension: Suspension) -> StepState | None:
        """Write `running` → `waiting`, if the lease still holds, with all new calls.

        If a call has ended meanwhile, or the run is stopping, the program is queued again at once.

        Returns:
            `waiting`, `queued`, or None when the lease is lost.
        """

    def suspend_for_next(
        self, claim: Claim, suspension: Suspension, claiming: Claiming | None = None
    ) -> NextCall | None:
        """Do the same for a suspension with a `next_call`, if the run is not stopping.

        To be run by `Records.atomic`: it is one statement where the database allows that.

        Args:
            claiming: Claims the call too, if the run is running.

        Returns:
            None when nothing has changed, and `suspend` is to be called.
        """

    def complete_for_next(
        self,
        claim: Claim,
        outcome: Outcome,
        program: WaitingProgram,
        suspension: Suspension,
        claiming: Claiming | None = None,
    ) -> NextCall | None:
        """Complete a call, and record what its program does next; all of it, or nothing.

        The program waits for this call alone and has seen its end; its run is running. To be run by
        `Records.atomic`: it is one statement where the database allows that.

        Args:
            suspension: Has a `next_call`.
            claiming: Claims that call too.

        Returns:
            None when nothing has changed: a lease was lost, the program does not wait as it is
            known here, or its run is not running.
        """

    def wake(self, program: StepRunId, batch: BatchId, resend_after: timedelta) -> bool:
        """Queue a waiting program, if a batch of its calls has ended, or one of them has failed.

        To be called after the commit of the end.

        Returns:
            Whether this call has queued it.
        """

    def complete_call(self, claim: Claim, outcome: Outcome) -> BatchId | None:
        """Write `running` → `completed` for a call in a group; return its batch, None if lost."""

    def complete_and_wake(
        self,
        claim: Claim,
        outcome: Outcome,
        program: StepRunId,
        resend_after: timedelta,
        resuming: Resuming | None = None,
    ) -> WokenProgram | None:
        """Complete a call that is awaited alone and queue its program, if that waits.

        To be run by `Records.atomic`: it is one statement where the database allows that.

        Args:
            resuming: Claims the program instead of queueing it, if its run is running.

        Returns:
            What it has done to the program; None when the lease is lost.
        """

    def resume(self, program: StepRunId, resuming: Resuming) -> ResumedProgram | None:
        """Claim a queued program and read it; return None if it cannot be claimed now."""

    def end_timers(self, run_id: RunId) -> list[BatchId]:
        """End the timers of a run that are due; return their batches."""

    def next_timer(self, run_id: RunId) -> timedelta | None:
        """Return how long until the next timer of a run is due."""

    def expanded(self, run_id: RunId, batch: BatchId) -> list[str]:
        """Return the keys of the maps of a batch of calls that wait for their items."""

    def give_up(self, run_id: RunId, rows: Sequence[StepRunId]) -> None:
        """Cancel open calls of an ended program that no worker holds."""

    def shield(self, run_id: RunId, limit: timedelta, resend_after: timedelta) -> StepRef | None:
        """Let the program of a stopping run continue for a time, so that it sees the cancel.

        A program that has never begun is cancelled.

        Returns:
            The program, if this call has shielded it: it is queued, or running.
        """

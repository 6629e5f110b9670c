"""Claims of step runs, their ends, and their leases."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import BatchId, LeaseToken, StepRunId
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.model.rows import Claim, Definition, Outcome, ReleasePlan, StepRef


class AttemptRows(Protocol):
    """Guarded writes of attempts, within one transaction: each names the token that it expects."""

    def claim(
        self,
        step_id: StepRunId,
        *,
        token: LeaseToken,
        lease: timedelta,
        worker: str,
        reads: Sequence[str] = (),
    ) -> Claim | None:
        """Claim one attempt of a queued, or due retrying, step of a running run.

        Args:
            token: Token of the new lease.
            worker: Who takes it.
            reads: Keys of nodes of the same run, to be returned in `Claim.rows`.
        """

    def claim_first(
        self, step_id: StepRunId, *, token: LeaseToken, lease: timedelta, worker: str
    ) -> tuple[Claim, Definition] | None:
        """Claim as `claim`, and read the definition of the run.

        Raises:
            RunUnreadable: the definition cannot be read; the step may be claimed.
        """

    def held(self, step_id: StepRunId) -> Claim | None:
        """Return the running attempt, as it was claimed; None if there is none."""

    def batch_of(self, step_id: StepRunId) -> BatchId | None:
        """Return the batch with which a step was sent."""

    def complete(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """Write `running` → `completed`, if the lease still holds."""

    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        release_plan: ReleasePlan | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and decrement its dependents' counters; to be run by `Records.atomic`.

        Most steps end this way: in one statement, where the database allows that, without a
        transaction.

        Args:
            outcome: What it records.
            dependents: Keys of all that wait for it.
            release_plan: How those that reach zero can be queued by this statement. A sibling that
                completes at the same moment may be missed: then they stay pending.

        Returns:
            From each dependent to its open dependencies and its state; None when the lease is lost
            and nothing was changed.
        """

    def complete_and_close(self, claim: Claim, outcome: Outcome) -> bool | None:
        """Complete the last step of a run, and the run too; to be run by `Records.atomic`.

        The output of the run is that of the step. The run has no parent.

        Returns:
            Whether the run is closed: it is not if it stops or is paused, if a step of it is open,
            or if one has failed. None when the lease is lost and nothing was changed.
        """

    def fail(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """Write `running` → `failed`, if the lease still holds."""

    def retry(
        self, claim: Claim, outcome: Outcome, delay: timedelta, *, recovered: bool = False
    ) -> bool:
        """Write `running` → `retrying` until `delay` from now, if the lease still holds.

        When `recovered`, the attempt counts as a recovery and not as a failure of the step. A
        second statement keeps the attempt in its history.
        """

    def wait(self, claim: Claim) -> bool:
        """Write `running` → `waiting` for a child run, if the lease still holds."""

    def end_waiting(self, step_id: StepRunId, state: StepState, outcome: Outcome) -> bool:
        """Write `waiting` → `completed` or `failed`; return False when it is not waiting."""

    def renew(self, tokens: Sequence[LeaseToken], lease: timedelta) -> dict[LeaseToken, bool]:
        """Extend leases in one statement.

        Returns:
            From each lease that still holds to whether someone has cancelled its run.
        """

    def cancel_asked(self, tokens: Sequence[LeaseToken]) -> set[LeaseToken]:
        """Return the leases that still hold and whose run someone has cancelled."""

    def cancel(self, claim: Claim, outcome: Outcome) -> bool:
        """Write `running` → `cancelled`, if the lease still holds and the run is stopping."""

    def release_leases(
        self, tokens: Sequence[LeaseToken], why: AttemptEnd = AttemptEnd.RELEASED
    ) -> list[StepRef]:
        """Write `running` → `queued` without counting the attempts, due to be resent immediately.

        A second statement keeps the attempts with the reason in their history.

        Returns:
            The steps that this call has changed.
        """

    def requeue(
        self, claim: Claim, delay: timedelta | None, why: AttemptEnd | None = None
    ) -> RunState | None:
        """Write `running` → `queued` without counting the attempt, if the lease still holds.

        Args:
            delay: When it is due to be resent; None hides it from the sweeper.
            why: Keeps the attempt with this reason; None for one whose code has not begun.

        Returns:
            The state of its run; None when the lease is lost.
        """

    def ended(self, claim: Claim, worker: str) -> StepState | None:
        """Return the state that an attempt gave its row; None if it holds it, or never held it.

        Args:
            worker: The worker that claimed it.
        """

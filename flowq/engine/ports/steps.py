"""The step runs, as the engine reads and changes them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.model.rows import (
    Claim,
    NewStep,
    Outcome,
    ReleasePlan,
    StepProgress,
    StepRef,
    StoredStep,
)
from flowq.engine.ports.programs import ProgramRows


class StepRows(ProgramRows, Protocol):
    """Guarded reads and writes of step runs, within one transaction."""

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

    def held(self, step_id: StepRunId) -> Claim | None:
        """The running attempt, as it was claimed; None if there is none."""

    def batch_of(self, step_id: StepRunId) -> BatchId | None:
        """The batch with which a step was sent."""

    def complete(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `completed`, if the lease still holds."""

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

    def fail(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `failed`, if the lease still holds."""

    def retry(
        self, claim: Claim, outcome: Outcome, delay: timedelta, *, recovered: bool = False
    ) -> bool:
        """`running` → `retrying` until `delay` from now, if the lease still holds.

        When `recovered`, the attempt counts as a recovery and not as a failure of the step. A
        second statement keeps the attempt in its history.
        """

    def wait(self, claim: Claim) -> bool:
        """`running` → `waiting` for a child run, if the lease still holds."""

    def end_waiting(self, step_id: StepRunId, state: StepState, outcome: Outcome) -> bool:
        """`waiting` → `completed` or `failed`; False when it is not waiting."""

    def end_nodes(
        self,
        run_id: RunId,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        map_size: int | None = None,
        advanced: bool = True,
    ) -> list[str]:
        """End nodes that need no attempt (skipped, cancelled, failed, completed maps).

        They count as advanced unless the caller says otherwise: it advances their dependents in the
        same transaction.

        Returns:
            The keys that this call has ended.
        """

    def queue(
        self,
        run_id: RunId,
        batch: BatchId,
        keys: Sequence[str],
        resend_after: timedelta,
        *,
        ended: int = 0,
    ) -> list[str]:
        """`pending` → `queued` for nodes whose only open dependencies are `ended`.

        Returns:
            The keys that this call has queued.
        """

    def node(self, step_id: StepRunId) -> StepRef | None:
        """The place of a step run."""

    def expand(
        self,
        run_id: RunId,
        key: str,
        items: Sequence[NewStep],
        batch: BatchId,
        resend_after: timedelta,
    ) -> bool:
        """`pending` → `running` for a map, with its items as `queued`; False when done before."""

    def advance(
        self, run_id: RunId, batch: BatchId | None, keys: Sequence[str] | None = None
    ) -> dict[str, StepState]:
        """Mark ended nodes, of a batch or by key, as advanced; returns those that it marked."""

    def release(self, run_id: RunId, counts: Mapping[str, int]) -> list[str]:
        """Decrement the counters of open dependencies.

        Args:
            counts: From a step's key to how many of its dependencies have just ended.

        Returns:
            Keys of pending steps that now have no open dependency.
        """

    def ready(self, run_id: RunId) -> list[str]:
        """Keys of all pending steps without open dependencies."""

    def states(self, run_id: RunId, keys: Iterable[str]) -> dict[str, StepState]:
        """States of nodes (for a map: of the map, not of its items)."""

    def abandon(self, run_id: RunId) -> int:
        """Cancel every open row of a run, including those that a worker holds."""

    def cancel_open(self, run_id: RunId, key: str | None = None) -> int:
        """Cancel every step of a run, or every item of one map, that no worker holds."""

    def has_open(self, run_id: RunId, key: str | None = None) -> bool:
        """Return whether any step of the run, or any item of one map, has not ended."""

    def counts(self, run_id: RunId, key: str) -> dict[StepState, int]:
        """How many items of a map are in each state."""

    def failed(self, run_id: RunId) -> list[StoredStep]:
        """The failed nodes of a run, first failure first."""

    def first_failed_item(self, run_id: RunId, key: str) -> StoredStep | None:
        """The item of a map that failed first."""

    def stored(self, run_id: RunId, keys: Sequence[str]) -> list[StoredStep]:
        """Nodes by key, as readers of results see them."""

    def item(self, run_id: RunId, key: str, index: int) -> StoredStep | None:
        """One item of a map."""

    def items(self, run_id: RunId, key: str) -> list[StoredStep]:
        """All items of a map, in order."""

    def step_progress(self, run_id: RunId) -> list[StepProgress]:
        """The progress of each step run of a run, in step order, items after their map."""

    def copies(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Durable copies of small results by their result keys, for those the cache has lost."""

    # --- leases, cancel, release ------------------------------------------------------------------

    def renew(self, tokens: Sequence[LeaseToken], lease: timedelta) -> dict[LeaseToken, bool]:
        """Extend leases in one statement.

        Returns:
            From each lease that still holds to whether someone has cancelled its run.
        """

    def cancel_asked(self, tokens: Sequence[LeaseToken]) -> set[LeaseToken]:
        """Those of the leases that still hold and whose run someone has cancelled."""

    def cancel(self, claim: Claim, outcome: Outcome) -> bool:
        """`running` → `cancelled`, if the lease still holds and the run is stopping."""

    def release_leases(
        self, tokens: Sequence[LeaseToken], why: AttemptEnd = AttemptEnd.RELEASED
    ) -> list[StepRef]:
        """`running` → `queued` without counting the attempts, due to be resent immediately.

        A second statement keeps the attempts with the reason in their history.

        Returns:
            The steps that this call has changed.
        """

    def park(self, run_ids: Sequence[RunId]) -> int:
        """Hide the queued steps of paused runs from the sweeper; returns how many."""

    def unpark(self, run_ids: Sequence[RunId], resend_after: timedelta) -> list[StepRef]:
        """Make the queued steps of runs visible to it again; returns them, to be sent."""

    def requeue(
        self, claim: Claim, delay: timedelta | None, why: AttemptEnd | None = None
    ) -> RunState | None:
        """`running` → `queued` without counting the attempt, if the lease still holds.

        Args:
            delay: When it is due to be resent; None hides it from the sweeper.
            why: Keeps the attempt with this reason; None for one whose code has not begun.

        Returns:
            The state of its run; None when the lease is lost.
        """

    def ended(self, claim: Claim, worker: str) -> StepState | None:
        """The state in which an attempt left its row; None if it still holds it, or never held it.

        Args:
            worker: The worker that claimed it.
        """

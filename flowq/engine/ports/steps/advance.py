"""What an advance writes: it queues nodes, expands maps and ends what needs no attempt."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol

from flowq.core.ids import BatchId, RunId
from flowq.core.states import StepState
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import NewStep, StepRef


class AdvanceRows(Protocol):
    """Guarded writes of nodes and items, within one transaction."""

    def queue(
        self,
        run_id: RunId,
        batch: BatchId,
        keys: Sequence[str],
        resend_after: timedelta,
        *,
        ended: int = 0,
    ) -> list[str]:
        """Write `pending` → `queued` for nodes whose only open dependencies are `ended`.

        Returns:
            The keys that this call has queued.
        """

    def expand(
        self,
        run_id: RunId,
        key: str,
        items: Sequence[NewStep],
        batch: BatchId,
        resend_after: timedelta,
        *,
        reused: Mapping[int, ReusedStep] = MappingProxyType({}),
        share: str | None = None,
    ) -> bool:
        """Write `pending` → `running` for a map, its items as `queued`; False when done before.

        Args:
            items: All of them.
            reused: Those that have ended in an earlier run, by their indices.
            share: That of the run.
        """

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

    def advance(
        self, run_id: RunId, batch: BatchId | None, keys: Sequence[str] | None = None
    ) -> dict[str, StepState]:
        """Mark ended nodes, of a batch or by key, as advanced; return those that it marked."""

    def release(self, run_id: RunId, counts: Mapping[str, int]) -> list[str]:
        """Decrement the counters of open dependencies.

        Args:
            counts: From a step's key to how many of its dependencies have just ended.

        Returns:
            Keys of pending steps that now have no open dependency.
        """

    def cancel_open(self, run_id: RunId, key: str | None = None) -> int:
        """Cancel every step of a run, or every item of one map, that no worker holds."""

    def abandon(self, run_id: RunId) -> int:
        """Cancel every open row of a run, including those that a worker holds."""

    def park(self, run_ids: Sequence[RunId]) -> int:
        """Hide the queued steps of paused runs from the sweeper; return how many."""

    def unpark(
        self, run_ids: Sequence[RunId], resend_after: timedelta, place: timedelta
    ) -> list[StepRef]:
        """Make the queued steps of runs visible to it again; return them, to be sent.

        Args:
            resend_after: When those are due to be resent that have no share.
            place: How much later than now the `wake_at` of the others is: their place in line.
        """

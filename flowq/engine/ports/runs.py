"""The runs, as the engine reads and changes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.states import RunState
from flowq.engine.model.rows import Definition, NewRun, RunEnding, RunView
from flowq.engine.model.starts import PendingRun, StartedRun
from flowq.engine.model.stops import StopReason
from flowq.engine.model.sweeps import Orphan


class RunRows(Protocol):
    """Guarded reads and writes of runs, within one transaction."""

    def insert(self, runs: Sequence[NewRun], resend_after: timedelta) -> set[RunId]:
        """Insert runs with their steps, except those whose id or idempotency key is taken.

        Args:
            resend_after: When a step that is queued now is due to be resent.

        Returns:
            The ids of the inserted runs.
        """

    def with_keys(
        self, flow_name: str, keys: Sequence[str]
    ) -> dict[str, tuple[RunId, Mapping[str, Any]]]:
        """Map those keys that runs of a flow have to the run and its inputs."""

    def among(self, run_ids: Sequence[RunId]) -> set[RunId]:
        """The ids for which a run exists."""

    def definition(self, run_id: RunId) -> Definition | None:
        """Read what never changes about a run."""

    def stand_in(self, run_id: RunId) -> Definition | None:
        """Return a run's definition without reading its spec, so without steps."""

    def urgent(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Read the priorities of runs, or of the runs of nodes; those without one are left out."""

    def status(self, run_id: RunId) -> RunState | None:
        """Read the state of a run."""

    def states(self, run_ids: Sequence[RunId]) -> dict[RunId, RunState]:
        """Read the states of runs; deleted ones are left out."""

    def find(self, text: str) -> list[tuple[RunId, str]]:
        """Runs whose id begins with `text`, a few at most, with the names of their flows."""

    def view(self, run_id: RunId) -> RunView | None:
        """A run with its steps as they are now."""

    def head(self, run_id: RunId) -> RunView | None:
        """A run without its steps; totals and progress as last written to its row."""

    def views(
        self,
        *,
        status: RunState | None = None,
        flow_name: str | None = None,
        waiting: bool = False,
        limit: int = 50,
    ) -> list[RunView]:
        """The newest runs, without their steps.

        Args:
            status: Only those in this state.
            flow_name: Only those of this flow.
            waiting: Only open runs without a running step.
            limit: How many at most.
        """

    def budgets(self, run_ids: Sequence[RunId]) -> dict[RunId, BudgetSpec]:
        """The present budgets of runs; those without a budget are left out."""

    def raise_budget(self, run_id: RunId, *, usd: Decimal | None, tokens: int | None) -> None:
        """Set the budget of a run."""

    def stop(self, run_id: RunId, reason: StopReason) -> bool:
        """→ `cancelling`: nothing new begins. The first stop's reason is kept."""

    def ending(self, run_id: RunId) -> RunEnding | None:
        """What decides whether, and how, a run ends."""

    def close(
        self,
        run_id: RunId,
        state: RunState,
        *,
        outputs: Any = None,
        outputs_of: str | None = None,
        reason: StopReason | None = None,
        if_clean: bool = False,
    ) -> bool:
        """Close a run with its totals, progress and time, in one statement.

        Args:
            state: How it ended.
            outputs: What it returned, for people to read.
            outputs_of: Or the key of the step whose recorded outputs are used.
            reason: Why it failed; a reason that is recorded already is kept.
            if_clean: Only if all its steps have ended and none has failed; there is no reason then.

        Returns:
            False when the run is closed already.
        """

    def continued_as(self, run_id: RunId) -> RunId | None:
        """Read as which run a run continues."""

    def continue_as(self, run_id: RunId, new: RunId) -> None:
        """Link a run with the one as which it continues: its parent waits for that one now."""

    def roll_up(self, run_id: RunId) -> bool:
        """Write progress and totals of a running run."""

    # --- start -----------------------------------------------------------------------------------

    def start(self, run_ids: Sequence[RunId]) -> list[StartedRun]:
        """`pending` → `running`, of those without a singleton key whose time has come."""

    def start_next(self, flow_name: str, key: str) -> list[StartedRun]:
        """`pending` → `running`, of the next of a singleton key, unless one is in flight.

        The next is one of the largest priority, and of these the oldest.
        """

    def line_up(self, run_ids: Sequence[RunId]) -> None:
        """Have runs whose time has come wait for nothing but their singleton key."""

    def to_start(self, run_id: RunId) -> PendingRun | None:
        """A run that has not begun, or the one that has replaced it in its debounce."""

    def with_singleton_key(self, flow_name: str, key: str) -> list[RunId]:
        """Lock a singleton key until the commit; return its runs that are not stopping, by age."""

    def in_debounce(self, flow_name: str, key: str) -> list[RunId]:
        """Lock a debounce key until the commit; return its run that has not begun."""

    def starts(self, run_ids: Sequence[RunId]) -> dict[RunId, datetime | None]:
        """Those of the runs that have not begun, and when they begin; None waits for its turn."""

    def holder(self, flow_name: str, key: str) -> RunId | None:
        """The run of a singleton key that is in flight."""

    def pass_key_on(self, run_id: RunId, new: RunId, key: str) -> None:
        """Give the singleton key of a run to the one as which it continues."""

    # --- cancel ----------------------------------------------------------------------------------

    def request_cancel(self, run_ids: Sequence[RunId], reason: StopReason) -> list[RunId]:
        """→ `cancelling` by request; also for a run that is stopping already.

        Returns:
            The runs that this call has cancelled: open ones that were not cancelled before.
        """

    def orphans(self, run_ids: Sequence[RunId]) -> list[Orphan]:
        """Child runs of these runs whose parent step has ended and that are not cancelled yet."""

    def status_kept(self, run_id: RunId) -> RunState | None:
        """Read the state of a run, and lock it until the commit."""

    # --- pause -----------------------------------------------------------------------------------

    def pause(self, run_ids: Sequence[RunId], reason: StopReason) -> list[RunId]:
        """`running` → `paused`; returns the runs that this call has paused."""

    def resume(self, run_ids: Sequence[RunId]) -> list[RunId]:
        """`paused` → `running`; returns the runs that this call has resumed."""

    def children(self, run_ids: Sequence[RunId], state: RunState) -> list[RunId]:
        """Child runs in a state that steps of these runs wait for."""

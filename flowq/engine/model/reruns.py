"""The values of reruns that cross the engine's ports; see `rows`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.rerun import Why
from flowq.core.results import ResultRef
from flowq.core.spec import CallSpec, FlowSpec
from flowq.core.states import RunState, StepState
from flowq.engine.model.actions import NewAction


@dataclass(frozen=True, slots=True)
class OldRun:
    """An earlier run, as a rerun reads it."""

    id: RunId
    flow_name: str
    status: RunState
    inputs: Mapping[str, Any]
    spec: FlowSpec
    user_id: str | None
    metadata: Mapping[str, Any]
    budget: BudgetSpec | None
    document_id: UUID | None
    priority: int
    started_at: datetime | None
    continued_as: RunId | None


@dataclass(frozen=True, slots=True)
class OldStep:
    """A row of an earlier run: a node, an item or a call.

    Attributes:
        call: What was called; None of a node and of an item.
        failed_step_id: Of a failed program: the call whose failure it did not catch.
        tokens: What it has used when its result was made, with all child runs below it,
        cost: and what that cost in USD; also if it was reused there.
    """

    id: StepRunId
    key: str
    name: str
    order: int
    map_index: int | None
    map_size: int | None
    status: StepState
    result: ResultRef | None
    inputs: Any
    call: CallSpec | None
    observed: int | None
    completed_at: datetime | None
    failed_step_id: StepRunId | None
    tokens: int
    cost: Decimal
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class ReusedStep:
    """A row of a rerun that has the end of a row of the earlier run.

    Attributes:
        id: The new row.
        old: The row that it repeats.
        result: The reference of its result.
        copied_from: The row that has the durable copy of a small result; None: it needs none.
        call: Of a call of a program: what is recorded of it.
        batch: Of a call and of an item.
        observed: Of a call: its number in the order in which the program saw calls end.
    """

    id: StepRunId
    old: OldStep
    order: int
    result: ResultRef | None
    copied_from: StepRunId | None
    call: CallSpec | None = None
    batch: BatchId | None = None
    observed: int | None = None


@dataclass(frozen=True, slots=True)
class NewRerun:
    """What a new run repeats.

    Attributes:
        of: The earlier run.
        rows: The rows that it reuses of it.
        action: Who reruns it; None of a child run, which its parent reruns.
    """

    of: RunId
    rows: tuple[ReusedStep, ...] = ()
    action: NewAction | None = None


@dataclass(frozen=True, slots=True)
class PlannedItems:
    """What becomes of the items of a map, by their indexes in the earlier run.

    Attributes:
        reused: Those that certainly have the result of the earlier run.
        maybe: Those that have it if their inputs are the same, which is known when the map begins.
        runs: Those that certainly run.
        changed: The inputs shared by all items that are known to differ, so that none is reused.
    """

    reused: tuple[int, ...] = ()
    maybe: tuple[int, ...] = ()
    runs: tuple[int, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of a rerun.

    Attributes:
        key: Its key.
        name: The registered name of what it runs.
        why: Why it runs; None: it is reused.
        items: Of a map that has begun in the earlier run: what becomes of its items.
        state: Its state in the earlier run; None: it is new.
        tokens: What it has used there, with its items and its child run,
        cost: and what that cost in USD.
        saved_tokens: What of these is certainly reused,
        saved_cost: and what that cost in USD.
    """

    key: str
    name: str
    why: Why | None
    items: PlannedItems | None = None
    state: StepState | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    saved_tokens: int = 0
    saved_cost: Decimal = Decimal(0)

    @property
    def is_reused(self) -> bool:
        """Whether it has the result of the earlier run from the start."""
        return self.why is None

    @property
    def may_be_reused(self) -> bool:
        """Whether it is reused is only known when the program calls it."""
        return self.why is Why.COMPARED


@dataclass(frozen=True, slots=True)
class RerunPreview:
    """What a rerun would do; nothing is recorded.

    Attributes:
        run_id: The earlier run.
        flow_name: Its flow.
        steps: The steps of the rerun; of a program the calls that are known.
        notes: What cannot be known before it runs, as sentences.
    """

    run_id: RunId
    flow_name: str
    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...] = ()

    @property
    def reused(self) -> tuple[PlannedStep, ...]:
        """The steps that are reused."""
        return tuple(step for step in self.steps if step.is_reused)

    @property
    def runs(self) -> tuple[PlannedStep, ...]:
        """The steps that run, and the calls of a program of which it is not known before."""
        return tuple(step for step in self.steps if not step.is_reused)

    @property
    def saved_tokens(self) -> int:
        """What the steps and items that are certainly reused have used the first time."""
        return sum(step.saved_tokens for step in self.steps)

    @property
    def saved_cost(self) -> Decimal:
        """What the steps and items that are certainly reused have cost the first time, in USD."""
        return sum((step.saved_cost for step in self.steps), Decimal(0))

    @property
    def first_cost(self) -> Decimal:
        """What all others have cost the first time, in USD."""
        return sum((step.cost for step in self.steps), Decimal(0)) - self.saved_cost

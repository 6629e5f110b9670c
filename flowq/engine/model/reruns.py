"""The values of reruns that cross the engine's ports; see `rows`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.limits.budgets import BudgetSpec
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

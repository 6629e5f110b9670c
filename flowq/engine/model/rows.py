"""The values that cross the engine's ports: what is inserted, claimed, recorded, sent and shown.

All are frozen. Rows of the database never leave the records; what leaves is one of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowq.core.errors import LeaseLost
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.results import ResultRef
from flowq.core.spec import CallSpec, FlowSpec, Gate, StepKind
from flowq.core.states import DONE_STEP_STATES, RunState, StepState, StopKind
from flowq.core.usage import Usage
from flowq.engine.model.stops import StopReason


@dataclass(frozen=True, slots=True)
class Message:
    """One step run on its way to a worker: ids and routing, no data."""

    id: StepRunId
    run_id: RunId
    name: str  #: Registered name of the step type: the Celery task's name.
    label: str  #: What people see, e.g. `measure[17]`.
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages sent together.

    When `in_chord`, completion of all of them calls `advance` with the batch id; otherwise each of
    them advances by itself when it completes.
    """

    id: BatchId
    messages: tuple[Message, ...]
    in_chord: bool


@dataclass(frozen=True, slots=True)
class NewStep:
    """A node of a run, to be inserted."""

    id: StepRunId
    key: str
    name: str
    order: int
    pending: int  #: How many dependencies it has.
    inputs: Any  #: Its arguments as templates.
    batch: BatchId | None = None  #: In which it is queued at once; None leaves it pending.
    observed: int | None = None  #: Of a program: how many events it has seen, so none.


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted with its steps, as `running`."""

    id: RunId
    flow_name: str
    spec: FlowSpec
    inputs: Mapping[str, Any]
    steps: tuple[NewStep, ...]
    user_id: str | None = None
    parent: StepRunId | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_new: bool = True  #: Its id was made just now, so no row can have it.
    idempotency_key: str | None = None
    deadline: datetime | timedelta | None = None  #: A timedelta counts by the database's clock.
    budget: BudgetSpec | None = None
    mode: str = "async"  #: How it was started: `async` on workers, `sync` here and now.


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A message for a program, to be stored."""

    id: UUID
    run_id: RunId
    name: str
    payload: Any  #: JSON data.


@dataclass(frozen=True, slots=True)
class Definition:
    """What never changes about a run."""

    run_id: RunId
    flow_name: str
    user_id: str | None
    parent: StepRunId | None  #: The step that waits for this run, when it is a child run.
    spec: FlowSpec


@dataclass(frozen=True, slots=True)
class RunEnding:
    """What decides whether, and how, a run is at its end."""

    status: RunState
    has_open: bool  #: Some step has not ended.
    has_failed: bool  #: Some step has failed.
    stop: StopReason | None  #: Why it is paused or was stopped.
    cancel_requested: bool
    continued: bool = False  #: It goes on as another run, which its parent waits for now.


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step's row as readers of results see it."""

    key: str
    map_index: int | None
    status: StepState
    attempt: int
    result: ResultRef | None
    map_size: int | None
    error_type: str | None
    error_message: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to one attempt, as the claim's UPDATE returned it."""

    id: StepRunId
    run_id: RunId
    key: str
    map_index: int | None
    attempt: int
    recoveries: int
    token: LeaseToken
    inputs: Any
    rows: tuple[StoredStep, ...] = ()  #: The nodes that were to be read with it.
    spec: CallSpec | None = None  #: Of a row that a program has called; its items have none.
    used: Usage = field(default_factory=Usage)  #: What its earlier attempts have used,
    execution_time_ms: int = 0  #: and how long their code ran.
    in_chord: bool = False  #: It was sent in a chord, whose body goes on when all have ended.

    @property
    def gate(self) -> Gate:
        """What can go on when it has ended."""
        return Gate.of(is_item=self.map_index is not None, is_called=self.spec is not None)

    def lost(self) -> LeaseLost:
        """Return the error of an attempt that no longer holds its lease."""
        return LeaseLost(f"attempt {self.attempt} of {self.key} no longer holds its lease")


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """How the dependents of a step are queued if it is the last one that they wait for.

    Attributes:
        batch: Their batch: all of them have the same dependencies, and the same dependents.
        siblings: What else they wait for; if all of these have completed they may be queued.
        resend_after: When they are due to be sent again.
    """

    batch: BatchId
    siblings: tuple[str, ...]
    resend_after: timedelta


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A result that was kept for other steps."""

    step_id: StepRunId  #: The step that has made it.
    ref: ResultRef
    copy: bytes | None  #: The encoded value of a small one.
    usage: Usage  #: What it had cost.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt leaves in its row."""

    result: ResultRef | None = None
    copy: bytes | None = None  #: Encoded value, the durable copy of a small result.
    execution_time_ms: int = 0
    error_type: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] | None = None
    failed_step_id: StepRunId | None = None  #: Of a program: the call that has failed it.
    hit: CacheEntry | None = None  #: Whose result it is, if it was taken from the cache.


@dataclass(frozen=True, slots=True)
class StepRef:
    """Where a step run stands."""

    run_id: RunId
    key: str
    map_index: int | None


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run as people see it; the items of a map are counted."""

    key: str
    name: str
    order: int
    status: StepState
    map_size: int | None
    counts: Mapping[StepState, int]
    attempts: int  #: Of a map: the most that any item took.
    recoveries: int
    started_at: datetime | None  #: When its first attempt began.
    completed_at: datetime | None
    execution_time_ms: int | None  #: How long its code ran, in all attempts.
    tokens: int
    cost: Decimal
    worker: str | None
    error_type: str | None
    error_message: str | None
    metadata: Mapping[str, Any]
    inputs: Any
    called: StepKind | None = None  #: Of a row that a program has called: what kind of call.
    unpriced: int = 0  #: Calls of models whose cost is unknown, so not in `cost`.
    failed_step_id: StepRunId | None = None  #: Of a failed program: the call that has failed it.
    hits: int = 0  #: How many of its results were taken from the cache,
    saved_tokens: int = 0  #: and what they had cost when they were made.
    saved_cost: Decimal = Decimal(0)

    @property
    def total(self) -> int:
        """How many step runs it stands for."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many of them have come to their own end; cancelled ones have not."""
        return sum(self.counts.get(state, 0) for state in DONE_STEP_STATES)

    @property
    def failed(self) -> int:
        """How many of them have failed."""
        return self.counts.get(StepState.FAILED, 0)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as people see it."""

    id: RunId
    flow_name: str
    status: RunState
    user_id: str | None
    parent: StepRunId | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    total: int
    done: int
    tokens: int
    cost: Decimal
    inputs: Any
    outputs: Any
    error: str | None
    stop_kind: StopKind | None = None  #: Why it is paused or stopped; `error` says it in words.
    failed_step_id: StepRunId | None = None  #: The node that has failed it, if one has.
    steps: tuple[StepView, ...] = ()
    budget: BudgetSpec | None = None
    continued_as: RunId | None = None  #: The run as which it went on.
    unpriced: int = 0  #: Calls of models whose cost is unknown, so not in `cost`.

    @property
    def hits(self) -> int:
        """How many results were taken from the cache, as far as its steps were read."""
        return sum(step.hits for step in self.steps)

    @property
    def saved(self) -> Usage:
        """What those had cost when they were made."""
        return Usage(
            sum(step.saved_tokens for step in self.steps),
            sum((step.saved_cost for step in self.steps), Decimal(0)),
        )


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step run has come: what its events are made from."""

    key: str
    order: int
    map_index: int | None
    map_size: int | None
    batch: BatchId | None
    status: StepState
    attempt: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    tokens: int
    cost: Decimal
    worker: str | None
    error_type: str | None
    error_message: str | None
    unpriced: int  #: Calls of models whose cost is unknown, so not in `cost`.


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in the store."""

    key: str
    age: timedelta  #: Since it was written.


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that holds at every moment, or again after a short while."""

    name: str
    text: str  #: One sentence: what must hold.


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that breaks an invariant."""

    invariant: str  #: Name of the invariant.
    run_id: RunId
    what: str  #: What is wrong with the row.
    step_id: StepRunId | None = None  #: None when the row is the run's.
    key: str | None = None
    map_index: int | None = None

    @property
    def where(self) -> str:
        """The row, as people find it again."""
        if self.step_id is None:
            return f"run {self.run_id}"
        index = "" if self.map_index is None else f"[{self.map_index}]"
        return f"run {self.run_id}, step {self.key}{index} ({self.step_id})"

    def __str__(self) -> str:
        """Return the violation as one line."""
        return f"{self.invariant}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node of a run, as far as its place in the graph is concerned."""

    id: StepRunId
    key: str
    status: StepState
    pending: int  #: How many dependencies it waits for.
    advanced: bool
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PlacedRun:
    """A run with all its nodes, read at one moment."""

    id: RunId
    status: RunState
    started_at: datetime | None
    read_at: datetime  #: By the database's clock.
    nodes: tuple[PlacedNode, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A step that breaks an invariant unless the spec of its run allows it."""

    run_id: RunId
    step_id: StepRunId
    key: str
    map_index: int | None
    failures: int  #: Attempts that were no recoveries.
    has_failed: bool  #: It is a failed node of a completed run.


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that a row names."""

    run_id: RunId
    step_id: StepRunId
    key: str
    map_index: int | None
    result: ResultRef

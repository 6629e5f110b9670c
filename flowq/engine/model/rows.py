"""The values that cross the engine's ports: what is inserted, claimed, recorded, sent and shown.

All are frozen. Rows of the database stay in the records; other code gets these values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowq.core.errors import LeaseLost
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.results import ResultRef
from flowq.core.spec import CallSpec, FlowSpec, Gate, StepKind
from flowq.core.states import DONE_STEP_STATES, RunState, StepState, StopKind
from flowq.core.usage import Usage
from flowq.engine.model.stops import StopReason

if TYPE_CHECKING:
    from flowq.engine.model.reruns import NewRerun


@dataclass(frozen=True, slots=True)
class Message:
    """One step run on its way to a worker: ids and routing, no data."""

    id: StepRunId
    run_id: RunId
    name: str  #: Registered name of the step type: the Celery task's name.
    label: str  #: What people see, e.g. `measure[17]`.
    queue: str | None = None
    shadow: str | None = None  #: Routed and shown by this name instead, as Celery calls it.


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages sent together, all of one run.

    When `in_chord`, the completion of all of them calls `advance` with the batch id; otherwise each
    one advances the run when it completes.
    """

    id: BatchId
    messages: Sequence[Message]
    in_chord: bool
    priority: int = 0  #: That of the run.
    reused: int = 0  #: Further items of the map, which a rerun reuses.
    share: str | None = None  #: Its steps are queued in the lines of this share, and sent in turn.


@dataclass(frozen=True, slots=True)
class NewStep:
    """A node of a run, to be inserted."""

    id: StepRunId
    key: str
    name: str
    order: int
    pending: int  #: How many dependencies it has.
    inputs: Any  #: Its arguments as templates.
    batch: BatchId | None = None  #: The batch in which it is queued now; None leaves it pending.
    observed: int | None = None  #: Of a program: how many events it has seen, so none.


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted with its steps: as `running`, or `pending` if it waits."""

    id: RunId
    flow_name: str
    spec: FlowSpec
    inputs: Mapping[str, Any]
    steps: tuple[NewStep, ...]
    user_id: str | None = None
    parent: StepRunId | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_new: bool = True  #: Its id is new, so no row can have it.
    idempotency_key: str | None = None
    deadline: datetime | timedelta | None = None  #: A timedelta counts by the database's clock.
    budget: BudgetSpec | None = None
    document_id: UUID | None = None  #: The stored document that it was started from.
    priority: int = 0
    schedule: str | None = None  #: The name of the schedule that has started it.
    waits: bool = False  #: It begins later.
    starts: datetime | timedelta | None = None  #: Not before then; a timedelta as for `deadline`.
    mode: str = "async"  #: How it was started: `async` on workers, `sync` in this process.
    rerun: "NewRerun | None" = None  #: Of a rerun: what it repeats.


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
    priority: int = 0


@dataclass(frozen=True, slots=True)
class RunEnding:
    """What decides whether, and how, a run ends."""

    status: RunState
    has_open: bool  #: A step has not ended.
    has_failed: bool  #: A step has failed.
    stop: StopReason | None  #: Why it is paused or was stopped.
    cancel_requested: bool
    continued: bool = False  #: It continues as another run, which its parent waits for now.


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
    inputs: Any  #: None of a program.
    rows: tuple[StoredStep, ...] = ()  #: The nodes that were read with it.
    spec: CallSpec | None = None  #: Of a call of a program; its items have none.
    used: Usage = field(default_factory=Usage)  #: What its earlier attempts have used,
    execution_time_ms: int = 0  #: and how long their code ran.
    in_chord: bool = False  #: It was sent in a chord, whose body advances the run.
    began_at: datetime | None = None  #: When it was claimed, by the database's clock.

    @property
    def gate(self) -> Gate:
        """What it gates."""
        return Gate.of(is_item=self.map_index is not None, is_called=self.spec is not None)

    def lost(self) -> LeaseLost:
        """Return the error of an attempt that no longer holds its lease."""
        return LeaseLost(f"attempt {self.attempt} of {self.key} no longer holds its lease")


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """How the dependents of a step are queued if it is their last open dependency.

    Attributes:
        batch: Their batch: all of them have the same dependencies, and the same dependents.
        siblings: Their other dependencies; if all of these have completed they may be queued.
        resend_after: When they are due to be resent.
    """

    batch: BatchId
    siblings: tuple[str, ...]
    resend_after: timedelta


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached result."""

    step_id: StepRunId  #: The step that made it.
    ref: ResultRef
    copy: bytes | None  #: The encoded value of a small one.
    usage: Usage  #: What it cost.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt records in its row."""

    result: ResultRef | None = None
    copy: bytes | None = None  #: Encoded value, the durable copy of a small result.
    execution_time_ms: int = 0
    error_type: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] | None = None
    failed_step_id: StepRunId | None = None  #: Of a program: the call that failed it.
    hit: CacheEntry | None = None  #: The cached result, if it is one.
    ended_at: datetime | None = None  #: When its code has ended; None: when it is recorded.


@dataclass(frozen=True, slots=True)
class StepRef:
    """The place of a step run: its run, key and index."""

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
    worker: str | None  #: The process of its last attempt, as `host:pid`; None for a map.
    error_type: str | None
    error_message: str | None
    metadata: Mapping[str, Any]
    inputs: Any
    called: StepKind | None = None  #: Of a row that a program has called: what kind of call.
    unpriced: int = 0  #: Calls of models whose cost is unknown, so not in `cost`.
    failed_step_id: StepRunId | None = None  #: Of a failed program: the call that has failed it.
    hits: int = 0  #: How many of its results were taken from the cache.
    saved_tokens: int = 0  #: The tokens that those results had used when they were made.
    saved_cost: Decimal = Decimal(0)  #: The cost of those results when they were made.

    @property
    def total(self) -> int:
        """How many step runs it stands for."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many of them have ended other than by a cancel."""
        return sum(self.counts.get(state, 0) for state in DONE_STEP_STATES)

    @property
    def failed(self) -> int:
        """How many of them have failed."""
        return self.counts.get(StepState.FAILED, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What people see of a run also in a list."""

    id: RunId
    flow_name: str
    status: RunState
    user_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    total: int  #: The number of step runs.
    done: int  #: How many of them are terminal.
    tokens: int
    cost: Decimal
    unpriced: int = 0  #: Calls of models whose cost is unknown, so not in `cost`.
    error: str | None
    priority: int = 0
    starts_at: datetime | None = None  #: Of a pending run: when it begins.


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(RunFacts):
    """A run as people see it."""

    parent: StepRunId | None
    inputs: Any
    outputs: Any
    stop_kind: StopKind | None = None  #: Why it is paused or stopped; `error` says it in words.
    failed_step_id: StepRunId | None = None  #: The node that failed it, if any.
    steps: tuple[StepView, ...] = ()
    budget: BudgetSpec | None = None
    continued_as: RunId | None = None  #: The run as which it continues.
    rerun_of: RunId | None = None  #: The run that it repeats.

    @property
    def hits(self) -> int:
        """The number of cache hits, if its steps were read."""
        return sum(step.hits for step in self.steps)

    @property
    def saved(self) -> Usage:
        """What those results cost when they were made."""
        return Usage(
            sum(step.saved_tokens for step in self.steps),
            sum((step.saved_cost for step in self.steps), Decimal(0)),
        )


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The progress of a step run, from which its events are made."""

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
    """A condition that always holds, or holds again after a short time."""

    name: str
    text: str  #: One sentence: what must hold.


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that breaks an invariant."""

    invariant: str  #: Name of the invariant.
    run_id: RunId | None  #: None when the row is that of a schedule, which `what` names.
    what: str  #: What is wrong with the row.
    step_id: StepRunId | None = None  #: None when the row is the run's.
    key: str | None = None
    map_index: int | None = None

    @property
    def where(self) -> str:
        """The row, as people can find it."""
        if self.step_id is None:
            return "schedules" if self.run_id is None else f"run {self.run_id}"
        index = "" if self.map_index is None else f"[{self.map_index}]"
        return f"run {self.run_id}, step {self.key}{index} ({self.step_id})"

    def __str__(self) -> str:
        """Return the violation as one line."""
        return f"{self.invariant}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node of a run with its position in the graph."""

    id: StepRunId
    key: str
    status: StepState
    pending: int  #: How many open dependencies it has.
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

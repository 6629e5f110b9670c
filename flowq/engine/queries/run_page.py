"""What the page of one run shows; values have only what is shown.

A map is one row with counts; its items are read page by page. Inputs of steps are not read: they
may be large, and private.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowq.core.ids import RunId, StepRunId
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import RunView

#: Items of a map whose inputs are read at once.
MAX_INPUTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class RunLink:
    """A related run: the parent or a child."""

    id: RunId
    flow_name: str
    status: RunState
    step: str  #: The key of the step that has started it, or this run.


@dataclass(frozen=True, slots=True)
class SignalWait:
    """A signal that a run waits for."""

    key: str
    name: str
    since: datetime
    until: datetime | None  #: When the wait times out.
    schema: Mapping[str, Any] | None  #: The schema of its message; None when any message fits.


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """How a run was enqueued.

    Attributes:
        mode: `async` on workers, `sync` in the process that has started it.
        metadata: What its caller has stored with it.
        idempotency_key: Another run of its flow with this key is not started.
        deadline: When it is cancelled, at the latest.
    """

    mode: str
    metadata: Mapping[str, Any]
    idempotency_key: str | None
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """The head of a run's page.

    Attributes:
        run: The run without its steps; progress and totals as its rows are now.
        states: How many step runs are in each state; of a map its items.
        hits: How many results were taken from the cache.
        saved: What those cost when they were made.
        spent: What its own budget has been charged; None without one.
        warned_at: When a warning was given that much of that budget is spent.
        parent: The run whose step has started it.
        children: Runs that its steps have started, the first of them.
        child_count: The number of child runs.
        takes_signals: Whether it is the run of a program.
        waits: The signals it waits for, the first of them.
        origin: How it was enqueued.
    """

    run: RunView
    states: Mapping[StepState, int]
    hits: int
    saved: Usage
    spent: Usage | None
    warned_at: datetime | None
    parent: RunLink | None
    children: tuple[RunLink, ...]
    child_count: int
    takes_signals: bool
    waits: tuple[SignalWait, ...]
    origin: RunOrigin


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items of a map are wanted; both have to fit.

    Attributes:
        status: Only those in this state.
        text: Only those with this in their worker, or in the class or text of their error,
        or_indexes: and those of these indexes.
    """

    status: StepState | None = None
    text: str | None = None
    or_indexes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item of a map as people see it."""

    id: StepRunId
    index: int
    status: StepState
    attempts: int
    recoveries: int
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    tokens: int
    cost: Decimal
    worker: str | None
    error_type: str | None
    error_message: str | None
    is_hit: bool  #: Its result was taken from the cache.
    unpriced: int  #: Calls of models whose cost is unknown, so not in `cost`.


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A step, or one item of a map, that has failed."""

    id: StepRunId
    key: str
    index: int | None
    attempts: int
    recoveries: int
    completed_at: datetime | None
    worker: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None
    item: Any  #: Of an item of a map: its input.
    causes: Any = None  #: The causes of its error, see `engine.runtime.causes`.
    failed_step_id: StepRunId | None = None  #: Of a program: the call that failed it.

    @property
    def label(self) -> str:
        """The step as people name it."""
        return self.key if self.index is None else f"{self.key}[{self.index}]"


@dataclass(frozen=True, slots=True)
class StepCost:
    """What the step runs of one key have used, and what the cache has saved.

    Attributes:
        calls: Calls of models.
        failed: Those that failed, were cancelled or are lost.
        unknown: Those whose cost is unknown, so not in the sum.
        hits: Results that were taken from the cache.
    """

    key: str
    calls: int
    failed: int
    unknown: int
    tokens: int
    cost: Decimal
    hits: int
    saved_tokens: int
    saved_cost: Decimal

"""The definition of a flow as a frozen value that survives JSON: `FlowSpec` and `StepSpec`.

Every way of writing a flow (Python, YAML, JSON) produces a spec, and every run is executed from
one. A spec is stored with its run, so a run keeps the graph it began with whatever is deployed
meanwhile. A spec contains templates (see `references`) and no code: a step has the registered name
of its callable. It contains no results but given values, which exist before the run.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowq.core.limits.budgets import BudgetSpec
from flowq.core.limits.queueing import QueueingSpec
from flowq.core.limits.slots import LimitSpec
from flowq.core.references import Template
from flowq.core.results import ResultRef
from flowq.core.retries import RetryPolicy


class _SpecModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepKind(StrEnum):
    """What a node runs."""

    STEP = "step"
    FLOW = "flow"  #: A child run of another flow.
    PROGRAM = "program"  #: The code of an `async def` flow itself; it calls the other steps.
    TIMER = "timer"  #: A wait of a program.
    SIGNAL = "signal"  #: A message from outside that a program waits for.


class Gate(StrEnum):
    """What a row of a run gates; every row is one of these."""

    NODE = "node"  #: Its dependents in the graph; after the last node the run ends.
    ITEM = "item"  #: Its map, when the other items allow that.
    CALL = "call"  #: The program that called it.

    @classmethod
    def of(cls, *, is_item: bool, is_called: bool) -> "Gate":
        """Return the gate of a row; an item is one whether or not its map was called."""
        if is_item:
            return cls.ITEM
        return cls.CALL if is_called else cls.NODE


class FailurePolicy(StrEnum):
    """What the failure of a step does to its run."""

    FAIL_FAST = "fail_fast"  #: Nothing new begins; running steps end; the run fails.
    CONTINUE = "continue"  #: Everything that does not depend on it still runs; then the run fails.


class Tolerance(_SpecModel):
    """How many items of a map may fail before the map does. The default is none."""

    count: int | None = Field(default=None, ge=0)
    percent: float | None = Field(default=None, ge=0, le=100)

    @classmethod
    def parse(cls, value: int | str | None) -> Self:
        """Read `3`, `"3"`, `"5%"` or None.

        Raises:
            ValueError: it is none of these.
        """
        if value is None:
            return cls()
        text = str(value).strip()
        return cls(percent=float(text[:-1])) if text.endswith("%") else cls(count=int(text))

    def allows(self, *, failed: int, total: int) -> bool:
        """Return whether a map of `total` items is still good with `failed` of them failed."""
        if self.percent is not None:
            return failed * 100 <= self.percent * total
        return failed <= (self.count or 0)


class MapSpec(_SpecModel):
    """Makes a step run once per item of a list."""

    parameter: str  #: The parameter that gets the item.
    items: Template  #: A list, possibly with references in it, or a reference to one.
    tolerance: Tolerance = Tolerance()


class CacheSpec(_SpecModel):
    """The cache options of a step."""

    ttl: timedelta
    version: str = "1"
    shared: bool = False  #: Shared by all flows, not only by runs of the same one.


class StepSpec(_SpecModel):
    """One node of a flow."""

    key: str  #: Unique in the flow; used by references.
    name: str  #: Registered name of the step type, or of the flow for a child run.
    kind: StepKind = StepKind.STEP
    arguments: dict[
        str, Template
    ] = {}  #: By parameter; `*args` and `**kwargs` under their own name.
    map: MapSpec | None = None
    when: Template | None = None  #: Condition; false skips the step.
    after: tuple[str, ...] = ()  #: Keys of steps that come before, without data.
    accept_skipped: bool = False  #: Runs although some, not all, steps before it were skipped.
    allow_failure: bool = False  #: If it fails, the run continues; dependents get a StepFailure.
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None  #: For one attempt.
    queue: str | None = None  #: None leaves it to Celery's `task_routes`.
    #: The name by which `task_routes` route its Celery task and events show it; None: its own.
    shadow: str | None = None
    cache: CacheSpec | None = None
    limits: tuple[LimitSpec, ...] = ()
    log_prints: bool = False  #: Printed lines are kept as logged ones are.


class Reused(_SpecModel):
    """Of a call whose end is that of the same call in an earlier run."""

    ended_at: datetime  #: Its end there, for the clock of the program.
    seed: UUID  #: What the program's random numbers derive from after it has seen this end.


class CallSpec(StepSpec):
    """A call of a program: it is in no graph, so its row has this spec."""

    group: int = 1  #: How many calls the program awaits as a group; 1 for a single one.
    lazy: bool = False  #: The program gets the result as a `LazyResult`.
    local: bool = False  #: The process that runs the program runs it too, without a message.
    reused: Reused | None = None
    reruns: bool = False  #: A child run that reruns the one of the same call in the earlier run.


class RerunSpec(_SpecModel):
    """What a run reuses of an earlier run while it runs.

    Steps that are reused from the start have completed rows already.
    """

    of: UUID  #: The earlier run.
    #: Keys of maps, items and child runs that run again from their start.
    fresh: tuple[str, ...] = ()
    #: Of a program: the calls that are reused beyond those that have rows from the start.
    only: tuple[str, ...] | None = None
    #: Of a program: when the clock of its first run began, and its first random numbers.
    began_at: datetime | None = None
    seed: UUID | None = None


class FlowSpec(_SpecModel):
    """A named graph of steps."""

    name: str
    steps: tuple[StepSpec, ...]
    #: Values that were given with the inputs: references name them as they name steps.
    given: dict[str, ResultRef] = {}
    output: Template = None  #: What the run returns.
    on_failure: FailurePolicy = FailurePolicy.FAIL_FAST
    budget: BudgetSpec | None = None  #: Of the run as it was enqueued; its row has the present one.
    monthly_budget: BudgetSpec | None = None  #: Of all runs of the flow in a month.
    queueing: QueueingSpec | None = None  #: When the run begins, beside others of its keys.
    #: The trace of the run, as W3C's header of this name; None: no trace was made.
    traceparent: str | None = None
    charged_to: tuple[str, ...] = ()  #: Of a child run: the meters of its ancestors.
    rerun: RerunSpec | None = None  #: Of a rerun.
    #: Of a program that only passes results on: a rerun runs all calls that have failed, and all
    #: that get other inputs; the others are reused, in whatever order they ended.
    reruns_failures: bool = False
    labels: dict[str, str] = {}  #: Metadata of the outermost run, by which costs are grouped.

    def step(self, key: str) -> StepSpec:
        """Return a step by its key.

        Raises:
            KeyError: there is none.
        """
        return self.by_key[key]

    @property
    def program(self) -> StepSpec | None:
        """The one node of a flow that is a program; None of a graph."""
        only = self.steps[0] if len(self.steps) == 1 else None
        return only if only is not None and only.kind is StepKind.PROGRAM else None

    @property
    def share(self) -> str | None:
        """The share of the run; None if its steps are sent at once."""
        return None if self.queueing is None else self.queueing.share

    @property
    def by_key(self) -> dict[str, StepSpec]:
        """The steps by their keys; made once per spec."""
        index: dict[str, StepSpec] | None = self.__dict__.get("_by_key")
        if index is None:
            index = self.__dict__["_by_key"] = {step.key: step for step in self.steps}
        return index

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; defaults are left out, so that a stored spec stays small."""
        return self.model_dump(mode="json", exclude_defaults=True)

"""The engine: its ports, policies and caches, in one value.

`bootstrap` builds one per process; tests build one from in-memory adapters. The functions of
`runs`, `advance`, `attempts` and `sweeper` take it as their first argument and hold no state of
their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from threading import Lock
from uuid import UUID

from cachetools import LRUCache

from flowq.core.errors import InvalidFlow, RunNotFound, RunUnreadable
from flowq.core.graph import Graph
from flowq.core.ids import RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.planner import plan
from flowq.core.references import references
from flowq.core.spec import FlowSpec, Gate, StepSpec
from flowq.core.states import StepState
from flowq.engine.model.rows import Definition, ReleasePlan, StepRef
from flowq.engine.ports import Dispatcher, Events, Records, Tracing
from flowq.engine.registry.registry import Registry
from flowq.engine.results.store import ResultStore
from flowq.engine.results.value_cache import ValueCache
from flowq.engine.runtime.heartbeat import LeaseKeeper
from flowq.engine.runtime.logs.writer import LogWriter
from flowq.engine.runtime.model_calls import Guard
from flowq.engine.runtime.program_cache import ProgramCache
from flowq.engine.runtime.request_log import RequestLog
from flowq.engine.runtime.run_ends import RunEndWatcher

#: With more dependents, a completing step only decrements their counters.
_MAX_SIBLINGS = 16
#: Specs of called steps that are cached for a run.
_MAX_CALLED = 100
#: Of all cached definitions together, in bytes as `footprint` estimates them.
_MAX_CACHED = 64 * 1024 * 1024
#: And the most of them, however small they are.
_MAX_DEFINITIONS = 512
#: What a step without arguments takes, and each value in its arguments beside its characters.
_STEP_BYTES = 2048
_VALUE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Policies:
    """Numbers that the operator sets."""

    lease: timedelta = timedelta(seconds=30)
    resend_after: timedelta = timedelta(seconds=15)
    #: The pause before a step is resent doubles each time, up to this.
    max_resend_after: timedelta = timedelta(minutes=5)
    #: Terminal runs are deleted when they are older than this; None keeps them.
    retention: timedelta | None = None
    #: Objects that no row references are deleted when they are older than this.
    orphans_after: timedelta = timedelta(days=1)
    max_recoveries: int = 5
    #: How many steps of a line of a share are sent and not claimed yet, at most.
    share_window: int = 20
    #: How long a worker waits for an unreachable database or store before it gives up.
    outage_wait: timedelta = timedelta(0)
    input_limit_bytes: int = 1024 * 1024
    #: Batches of at least this size are chords; steps of a smaller one advance the run themselves.
    chord_from: int = 8
    #: A run whose maps over known lists have more items than this is expanded by a worker, so that
    #: its submission returns soon.
    expand_at_once: int = 500
    #: How often running attempts ask whether their run was cancelled.
    cancel_every: timedelta = timedelta(seconds=2)
    #: What each run may spend, and each flow and each user in a month.
    run_budget: BudgetSpec | None = None
    flow_budget: BudgetSpec | None = None
    user_budget: BudgetSpec | None = None
    #: What budgets count for a call of unknown cost, in USD.
    unknown_cost: Decimal = Decimal(0)
    #: How long the code of a cancelled step has in each of the two stages of stopping it.
    cancel_grace: timedelta = timedelta(seconds=10)
    #: How long a program may run on after it has seen the cancel.
    cleanup: timedelta = timedelta(seconds=60)
    #: Maximum number of calls of one program.
    max_calls: int = 10_000
    #: Waiting programs that are kept in memory by this process.
    live_programs: int = 500
    #: Whether events other than the end of each run are published.
    events: bool = True
    #: Whether the sweeper records the flows of the code, so that pages can ask for their runs.
    record_flows: bool = True
    #: Whether the clock of the database runs while code runs; that of tests stands still.
    clock_runs: bool = True
    #: How many bytes are kept of what one attempt logs; None keeps nothing.
    logs_bytes: int | None = None
    #: Logged lines are deleted when they are older than this; None keeps them as long as the run.
    logs_kept: timedelta | None = None


class RunDefinition:
    """A run's definition with what is computed from it."""

    def __init__(
        self, definition: Definition, records: Records, graph: Graph | None = None
    ) -> None:
        self.definition = definition
        self._records = records
        self._called: dict[str, StepSpec] = {}
        self.graph = graph or Graph.of(definition.spec)

    def is_called(self, key: str) -> bool:
        """Return whether a step is a call of a program and not a node of the graph."""
        return key not in self.definition.spec.by_key

    def gate(self, place: StepRef) -> Gate:
        """Return what a row of the run gates; the same as `Claim.gate`."""
        return Gate.of(is_item=place.map_index is not None, is_called=self.is_called(place.key))

    def step(self, key: str) -> StepSpec:
        """Return a step of the run; calls of a program are read from the database, and cached.

        Raises:
            RunNotFound: there is no such step, so the run was deleted.
        """
        known = self.definition.spec.by_key.get(key) or self._called.get(key)
        if known is not None:
            return known
        run_id = self.definition.run_id
        found = self._records.autocommit(lambda tx: tx.steps.call_spec(run_id, key))
        if found is None:
            raise RunNotFound(f"run {run_id} has no step {key!r}", hint="flowq runs ls")
        if found.map is not None:
            found = found.model_copy(update={"map": found.map.model_copy(update={"items": []})})
        if len(self._called) >= _MAX_CALLED:
            self._called.clear()
        self._called[key] = found
        return found

    @cached_property
    def keys(self) -> Mapping[StepRunId, str]:
        """From the id of a node to its key."""
        run_id = self.definition.run_id
        return {node_id(run_id, step.key): step.key for step in self.definition.spec.steps}

    def reads(self, step_id: StepRunId) -> list[str]:
        """Return the keys of the nodes whose results a node reads; none for an item of a map."""
        key, spec = self.keys.get(step_id), self.definition.spec
        if key is None or spec.program is not None:
            return []
        named = dict.fromkeys(ref.step for ref in references(spec.step(key).arguments))
        return [name for name in named if name not in spec.given]

    def release_plan(self, key: str, resend_after: timedelta) -> ReleasePlan | None:
        """Return how the dependents of a step are queued if it completes last, if they are plain.

        They are plain if they have the same dependencies, and are one batch of steps without
        conditions and maps.
        """
        dependents = self.graph.dependents[key]
        wait_for = self.graph.dependencies[dependents[0]]
        if len(wait_for) > _MAX_SIBLINGS + 1:
            return None  # checking all of them at each completion would be quadratic
        if any(set(self.graph.dependencies[one]) != set(wait_for) for one in dependents[1:]):
            return None
        completed = dict.fromkeys(wait_for, StepState.COMPLETED)
        batches = plan(self.definition.spec, self.graph, dependents, completed, {}).batches
        if len(batches) != 1 or set(batches[0]) != set(dependents):
            return None
        run_id = self.definition.run_id
        batch = batch_of_nodes(run_id, node_id(run_id, batches[0][0]))
        return ReleasePlan(batch, tuple(one for one in wait_for if one != key), resend_after)


def footprint(spec: FlowSpec) -> int:
    """Estimate how many bytes of memory a spec and its graph take.

    Most specs take a few kilobytes; one with a list of 100,000 items in it takes some megabytes.
    """
    lists = [step.map.items for step in spec.steps if step.map is not None]
    values: list[object] = [*lists, *(step.arguments for step in spec.steps), spec.output]
    total = _STEP_BYTES * (1 + len(spec.steps))
    while values:
        value = values.pop()
        total += _VALUE_BYTES
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
    return total


class DefinitionCache:
    """Definitions and graphs of the most recently used runs; they never change.

    It is bounded by memory, since runs with large literal inputs are large. The newest definition
    is kept whatever its size: the next steps of its run need it.
    """

    def __init__(self, records: Records, most_bytes: int = _MAX_CACHED) -> None:
        self._records = records
        self._lock = Lock()
        least = most_bytes // _MAX_DEFINITIONS

        def weight(known: RunDefinition) -> int:
            return min(max(footprint(known.definition.spec), least), most_bytes)

        self._known: LRUCache[RunId, RunDefinition] = LRUCache(most_bytes, weight)

    def get(self, run_id: RunId) -> RunDefinition:
        """Return the definition of a run.

        Raises:
            RunNotFound: there is no such run (any more).
            RunUnreadable: its rows cannot be read.
        """
        if (known := self.cached(run_id)) is not None:
            return known
        try:
            definition = self._records.autocommit(lambda tx: tx.runs.definition(run_id))
            if definition is None:
                raise RunNotFound.of(run_id)
            return self.add(definition)
        except RunUnreadable as error:
            error.run_id = run_id
            raise
        except (InvalidFlow, LookupError, ValueError) as error:
            unreadable = RunUnreadable(f"its flow is not a valid graph: {error}")
            unreadable.run_id = run_id
            raise unreadable from error

    def cached(self, run_id: RunId) -> RunDefinition | None:
        """Return the definition of a run if it is cached."""
        with self._lock:
            return self._known.get(run_id)

    def shown(self, run_id: RunId) -> RunDefinition:
        """Return the definition of a run for people; if it cannot be read, one without steps.

        Raises:
            RunNotFound: there is no such run (any more).
        """
        try:
            return self.get(run_id)
        except RunUnreadable:
            definition = self._records.autocommit(lambda tx: tx.runs.stand_in(run_id))
            if definition is None:
                raise RunNotFound.of(run_id) from None
            return RunDefinition(definition, self._records)

    def add(self, definition: Definition, graph: Graph | None = None) -> RunDefinition:
        """Cache a definition, with its graph if that is known, and drop the one longest unused."""
        known = RunDefinition(definition, self._records, graph)
        with self._lock:
            self._known[definition.run_id] = known
        return known

    def forget(self, run_id: RunId) -> None:
        """Drop the cached definition of a run."""
        with self._lock:
            self._known.pop(run_id, None)


@dataclass(frozen=True, eq=False)
class Engine:
    """Everything that the engine's functions need.

    Attributes:
        new_id: Makes a UUIDv7.
        chance: Makes a random number in [0, 1).
        tracing: Makes spans; None makes none.
    """

    records: Records
    results: ResultStore
    dispatcher: Dispatcher
    events: Events
    registry: Registry
    new_id: Callable[[], UUID]
    chance: Callable[[], float]
    worker: str
    policies: Policies = Policies()
    tracing: Tracing | None = None
    definitions: DefinitionCache = field(init=False)
    leases: LeaseKeeper = field(init=False)
    value_cache: ValueCache = field(init=False, default_factory=ValueCache)
    program_cache: ProgramCache = field(init=False)
    requests: RequestLog = field(init=False)
    run_ends: RunEndWatcher = field(init=False)
    logs: LogWriter | None = field(init=False, default=None)
    #: Called before each model call.
    model_guards: list[Guard] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definitions", DefinitionCache(self.records))
        leases = LeaseKeeper(
            self.records,
            self.policies.lease,
            cancel_every=self.policies.cancel_every,
            cancel_grace=self.policies.cancel_grace,
        )
        object.__setattr__(self, "leases", leases)
        object.__setattr__(self, "program_cache", ProgramCache(self.policies.live_programs))
        requests = RequestLog(self.records, self.policies.outage_wait)
        object.__setattr__(self, "requests", requests)
        object.__setattr__(self, "run_ends", RunEndWatcher(self.records))
        if self.policies.logs_bytes is not None:
            writer = LogWriter(self.records, lambda: self.results.objects, self.policies.logs_bytes)
            object.__setattr__(self, "logs", writer)

"""The engine: its ports, policies and caches, in one value.

`bootstrap` builds one per process; tests build one from in-memory adapters. The functions of
`runs`, `advance`, `attempts` and `sweeper` take it as their first argument and hold no state of
their own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from flowq.core.limits.budgets import BudgetSpec
from flowq.engine.definitions import DefinitionCache
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

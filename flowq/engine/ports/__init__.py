"""All ports of the engine: the interfaces through which it uses the outside world.

    Records       the rows: the truth about runs and steps        adapters/records
    Cache         small results, for a while                      adapters/results/redis.py
    ObjectStore   large results                                   adapters/results/objects.py
    Dispatcher    sends batches to workers                        adapters/dispatch
    Events        a stream for each run, for readers              adapters/events
    Wakeups       requests for a pass of a sweeper                adapters/dispatch/wakeups.py
    Tracing       spans for a tracing system                      adapters/tracing

Each port has one contract suite under tests/contract that every adapter passes. The values that go
through them are in `rows`.
"""

from flowq.engine.ports.cached import CachedResults
from flowq.engine.ports.invariants import Invariants
from flowq.engine.ports.limits.meters import Meters
from flowq.engine.ports.limits.shares import Line, Shares
from flowq.engine.ports.limits.slots import Limits
from flowq.engine.ports.limits.token_rates import TokenRates
from flowq.engine.ports.llm_requests import LlmRequests
from flowq.engine.ports.messaging import (
    ADVANCE_TASK,
    Dispatcher,
    Events,
    StreamEntry,
    StreamPage,
    Wakeups,
    Worker,
)
from flowq.engine.ports.records import EnlistedTransaction, Records, Transaction
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.steps import StepRows
from flowq.engine.ports.stores import ObjectStore, ResultCache
from flowq.engine.ports.sweeps import Sweeps
from flowq.engine.ports.tracing import Tracing

__all__ = [
    "ADVANCE_TASK",
    "CachedResults",
    "Dispatcher",
    "EnlistedTransaction",
    "Events",
    "Invariants",
    "Limits",
    "Line",
    "LlmRequests",
    "Meters",
    "ObjectStore",
    "Records",
    "ResultCache",
    "RunRows",
    "Shares",
    "StepRows",
    "StreamEntry",
    "StreamPage",
    "Sweeps",
    "TokenRates",
    "Tracing",
    "Transaction",
    "Wakeups",
    "Worker",
]

"""One transaction: the repositories that work within it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session
from typing_extensions import override

from flowq.adapters.records.cached import SqlCachedResults
from flowq.adapters.records.control.actions import SqlActions
from flowq.adapters.records.control.signals import SqlSignals
from flowq.adapters.records.documents import SqlDocuments
from flowq.adapters.records.limits.meters import SqlMeters
from flowq.adapters.records.limits.shares import SqlShares
from flowq.adapters.records.limits.slots import SqlLimits
from flowq.adapters.records.limits.token_rates import SqlTokenRates
from flowq.adapters.records.llm_requests import LlmRequestRepo
from flowq.adapters.records.logs import SqlLogs
from flowq.adapters.records.requested import SqlRequestedRuns
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.adapters.records.schedules import SqlSchedules
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.adapters.records.sweeps.steps import SqlSweeps
from flowq.engine.ports.records import Transaction

if TYPE_CHECKING:
    from flowq.adapters.records.invariants.invariants import SqlInvariants
    from flowq.adapters.records.queries.overview import SqlOverview


_Rows = TypeVar("_Rows")


def _within(rows: Callable[[Session | Connection], _Rows]) -> cached_property[_Rows]:
    return cached_property(lambda transaction: rows(transaction.within))


@dataclass(frozen=True)
class SqlTransaction(Transaction):
    """The repositories within one transaction.

    Modules that only the doctor and the pages use are imported at first use.
    """

    within: Session | Connection

    runs = _within(FlowRunRepo)
    reruns = _within(SqlReruns)
    steps = _within(FlowStepRunRepo)
    signals = _within(SqlSignals)
    actions = _within(SqlActions)
    llm_requests = _within(LlmRequestRepo)
    sweeps = _within(SqlSweeps)
    cached = _within(SqlCachedResults)
    meters = _within(SqlMeters)
    limits = _within(SqlLimits)
    shares = _within(SqlShares)
    token_rates = _within(SqlTokenRates)
    documents = _within(SqlDocuments)
    logs = _within(SqlLogs)
    schedules = _within(SqlSchedules)
    requested = _within(SqlRequestedRuns)

    @cached_property
    @override
    def invariants(self) -> "SqlInvariants":
        from flowq.adapters.records.invariants.invariants import SqlInvariants  # noqa: PLC0415 - see above

        return SqlInvariants(self.within)

    @cached_property
    @override
    def overview(self) -> "SqlOverview":
        from flowq.adapters.records.queries.overview import SqlOverview  # noqa: PLC0415 - see above

        return SqlOverview(self.within)

"""One transaction: the repositories that work within it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.orm import Session
from typing_extensions import override

from flowq.adapters.records.cached import SqlCachedResults
from flowq.adapters.records.control.signals import SqlSignals
from flowq.adapters.records.limits.meters import SqlMeters
from flowq.adapters.records.limits.slots import SqlLimits
from flowq.adapters.records.limits.token_rates import SqlTokenRates
from flowq.adapters.records.llm_requests import LlmRequestRepo
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.adapters.records.sweeps.steps import SqlSweeps
from flowq.engine.ports.records import Transaction

if TYPE_CHECKING:
    from flowq.adapters.records.invariants.invariants import SqlInvariants
    from flowq.adapters.records.queries.overview import SqlOverview


@dataclass(frozen=True)
class SqlTransaction(Transaction):
    """The repositories within one transaction.

    Modules that only the doctor and the pages use are imported at first use.
    """

    within: Session | Connection

    @cached_property
    @override
    def runs(self) -> FlowRunRepo:
        return FlowRunRepo(self.within)

    @cached_property
    @override
    def steps(self) -> FlowStepRunRepo:
        return FlowStepRunRepo(self.within)

    @cached_property
    @override
    def signals(self) -> SqlSignals:
        return SqlSignals(self.within)

    @cached_property
    @override
    def llm_requests(self) -> LlmRequestRepo:
        return LlmRequestRepo(self.within)

    @cached_property
    @override
    def sweeps(self) -> SqlSweeps:
        return SqlSweeps(self.within)

    @cached_property
    @override
    def cached(self) -> SqlCachedResults:
        return SqlCachedResults(self.within)

    @cached_property
    @override
    def meters(self) -> SqlMeters:
        return SqlMeters(self.within)

    @cached_property
    @override
    def limits(self) -> SqlLimits:
        return SqlLimits(self.within)

    @cached_property
    @override
    def token_rates(self) -> SqlTokenRates:
        return SqlTokenRates(self.within)

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

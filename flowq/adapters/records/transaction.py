"""One transaction: the repositories that work within it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from flowq.adapters.records.cached import SqlCachedResults
from flowq.adapters.records.control.signals import SqlSignals
from flowq.adapters.records.limits.meters import SqlMeters
from flowq.adapters.records.limits.slots import SqlLimits
from flowq.adapters.records.limits.token_rates import SqlTokenRates
from flowq.adapters.records.llm_requests import LlmRequestRepo
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.adapters.records.sweeps.steps import SqlSweeps

if TYPE_CHECKING:
    from flowq.adapters.records.invariants.invariants import SqlInvariants
    from flowq.adapters.records.queries.overview import SqlOverview


@dataclass(frozen=True)
class SqlTransaction:
    """The repositories within one transaction.

    What only the doctor and the pages ask is loaded when they do: a worker needs none of it.
    """

    within: Session | Connection

    @cached_property
    def runs(self) -> FlowRunRepo:
        """The runs."""
        return FlowRunRepo(self.within)

    @cached_property
    def steps(self) -> FlowStepRunRepo:
        """The step runs."""
        return FlowStepRunRepo(self.within)

    @cached_property
    def signals(self) -> SqlSignals:
        """The signals."""
        return SqlSignals(self.within)

    @cached_property
    def llm_requests(self) -> LlmRequestRepo:
        """The calls of models."""
        return LlmRequestRepo(self.within)

    @cached_property
    def sweeps(self) -> SqlSweeps:
        """What the sweeper asks."""
        return SqlSweeps(self.within)

    @cached_property
    def cached(self) -> SqlCachedResults:
        """Results that other steps may take."""
        return SqlCachedResults(self.within)

    @cached_property
    def meters(self) -> SqlMeters:
        """What was spent."""
        return SqlMeters(self.within)

    @cached_property
    def limits(self) -> SqlLimits:
        """The slots of limits."""
        return SqlLimits(self.within)

    @cached_property
    def token_rates(self) -> SqlTokenRates:
        """What was used of rates of tokens."""
        return SqlTokenRates(self.within)

    @cached_property
    def invariants(self) -> "SqlInvariants":
        """What must hold between the rows."""
        from flowq.adapters.records.invariants.invariants import SqlInvariants  # noqa: PLC0415 - see above

        return SqlInvariants(self.within)

    @cached_property
    def overview(self) -> "SqlOverview":
        """What pages show."""
        from flowq.adapters.records.queries.overview import SqlOverview  # noqa: PLC0415 - see above

        return SqlOverview(self.within)

"""The page of costs: `/flows/cost`, by day, flow, model and user, and the remaining budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from tornado.web import authenticated

from flowq.core.errors import InvalidInput
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.spec import FlowSpec
from flowq.core.usage import Tokens, Usage
from flowq.engine.engine import Engine, Policies
from flowq.engine.model.model_calls import CostBy, CostGroup, CostLine
from flowq.engine.ports import Transaction
from flowq.engine.queries.lists import BudgetedRun, BudgetUsage, CacheSavings
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages import windows

WINDOWS: Final = (windows.WEEK, windows.MONTH, windows.QUARTER)
_MAX_LENGTH: Final = 200

#: Groups of one table that are read; the page shows the first of them.
_MAX_GROUPS: Final = 1_000
_BY_DAY: Final = CostGroup(CostBy.DAY)


@dataclass(frozen=True, slots=True)
class Day:
    """The cost of one day; `height` is its percentage of the most expensive day."""

    day: date
    line: CostLine
    height: float


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """A budget, and how much of it is spent."""

    name: str
    used: Usage
    budget: BudgetSpec | None  #: None when it is unknown to this process.

    @property
    def share(self) -> float:
        """The spent share, from 0 to 1; of dollars and tokens, the larger one."""
        return 0.0 if self.budget is None else self.budget.share_of(self.used)

    @property
    def words(self) -> str:
        """What is spent of it, in words."""
        if self.budget is None:
            return (
                f"{formatting.money(self.used.cost)}, {formatting.count(self.used.tokens)} tokens"
            )
        usd, tokens = self.budget.usd, self.budget.tokens
        said = [f"{formatting.money(self.used.cost)} of {formatting.money(usd)}"] if usd else []
        said += (
            [f"{formatting.count(self.used.tokens)} of {formatting.count(tokens)} tokens"]
            if tokens
            else []
        )
        return ", ".join(said)

    @property
    def left(self) -> str:
        """What is left of it, in words."""
        if self.budget is None:
            return "budget not known to Flower"
        if self.share >= 1:
            is_pause = self.budget.action is BudgetAction.PAUSE
            return "spent: runs pause" if is_pause else "spent: steps fail"
        usd, tokens = self.budget.usd, self.budget.tokens
        said = [formatting.money(usd - self.used.cost)] if usd else []
        said += [f"{formatting.count(tokens - self.used.tokens)} tokens"] if tokens else []
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Costs:
    """The data of the page."""

    by: Mapping[CostGroup, Sequence[CostLine]]
    saved: CacheSavings
    monthly: Sequence[BudgetUsage]
    specs: Mapping[str, FlowSpec]
    runs: Sequence[BudgetedRun]
    policies: Policies


class CostPage(PageHandler):
    """`/flows/cost`."""

    @authenticated
    async def get(self) -> None:
        """Show the cost of model calls."""
        now = datetime.now(UTC)
        window = windows.chosen(self.get_query_argument("window", ""), WINDOWS, windows.MONTH)
        whose = {
            name: self.get_query_argument(name, "").strip()[:_MAX_LENGTH] or None
            for name in ("flow", "user")
        }
        first = now.date() - timedelta(days=window.length.days - 1)
        since = datetime(first.year, first.month, first.day, tzinfo=UTC)
        key = self.get_query_argument("key", "").strip()[:_MAX_LENGTH]
        if not self.shows_content and key not in self.labels:
            key = ""  # its values are content, unless a setting names it
        try:
            groups = _groups(key)
        except InvalidInput:
            key, groups = "", _groups("")
        costs = await self.read(
            partial(
                _read, groups=groups, since=since, flow_name=whose["flow"], user_id=whose["user"]
            )
        )
        lines = costs.by[_BY_DAY]
        self.show(
            "cost",
            window=window,
            windows=WINDOWS,
            whose=whose,
            days=days(lines, first, now.date()),
            total=CostLine.total(lines),
            by=costs.by,
            groups=groups[1:],
            key=key,
            may_group=self.shows_content or bool(self.labels),
            saved=costs.saved,
            monthly=monthly_lines(costs),
            runs=[(run, BudgetLine(run.flow_name, run.used, run.budget)) for run in costs.runs],
        )


def _groups(key: str) -> tuple[CostGroup, ...]:
    """Return what costs are grouped by; raises `InvalidInput` for an impossible key."""
    plain = tuple(CostGroup(by) for by in (CostBy.DAY, CostBy.FLOW, CostBy.MODEL, CostBy.USER))
    return (*plain, CostGroup.parse(f"metadata.{key}")) if key else plain


def days(lines: Sequence[CostLine], first: date, last: date) -> list[Day]:
    """Return every day from the first to the last, also those without a call."""
    of_day = {line.name: line for line in lines}
    most = max((line.cost for line in lines), default=Decimal(0))
    found = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        line = of_day.get(day.isoformat()) or _nothing(day.isoformat())
        found.append(Day(day, line, float(round(100 * line.cost / most, 1)) if most else 0.0))
    return found


def monthly_lines(costs: Costs) -> list[tuple[str, BudgetLine]]:
    """Return the monthly budgets, the one with the largest spent share first."""
    found = []
    for spent in costs.monthly:
        budget = costs.policies.user_budget
        if spent.kind == "flow":
            spec = costs.specs.get(spent.name)
            budget = (spec.monthly_budget if spec else None) or costs.policies.flow_budget
        found.append((spent.kind, BudgetLine(spent.name, spent.used, budget)))
    return sorted(found, key=lambda one: (-one[1].share, one[0], one[1].name))


def _nothing(name: str) -> CostLine:
    return CostLine(name, 0, 0, 0, Tokens(), Decimal(0))


def _read(
    engine: Engine,
    groups: Sequence[CostGroup],
    since: datetime,
    flow_name: str | None,
    user_id: str | None,
) -> Costs:
    def read(tx: Transaction) -> Costs:
        by = {
            one: tx.llm_requests.costs(
                one, since=since, flow_name=flow_name, user_id=user_id, limit=_MAX_GROUPS
            )
            for one in groups
        }
        monthly = tx.overview.monthly_budgets()
        return Costs(
            by=by,
            saved=tx.overview.saved(since=since, flow_name=flow_name, user_id=user_id),
            monthly=monthly,
            specs=tx.overview.latest_specs([one.name for one in monthly if one.kind == "flow"]),
            runs=tx.overview.budgeted_runs(),
            policies=engine.policies,
        )

    return engine.records.autocommit(read)

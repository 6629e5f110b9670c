"""Budgets with what was spent of them, and what the cache has saved, for the page of costs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Text, and_, cast, func, or_, select, true
from typing_extensions import override

from flowq.adapters.records.limits import meters
from flowq.adapters.records.runs.views import budget_of_row
from flowq.adapters.records.sql.reading import shown_spec
from flowq.adapters.records.sql.repository import METERS, RUNS, STEPS, Repository
from flowq.adapters.records.sql.tables import OPEN_RUN
from flowq.adapters.records.sql.types import total_cost
from flowq.core.ids import RunId
from flowq.core.limits.budgets import run_meter
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.engine.queries.lists import BudgetedRun, BudgetUsage, CacheSavings
from flowq.engine.queries.port import Lists

_R, _S, _M = RUNS.c, STEPS.c, METERS.c
_BUDGETED: Final = (
    select(_R.id, _R.flow_name, _R.status, _R.budget_usd, _R.budget_tokens, _R.budget_action)
    .where(OPEN_RUN, _R.budget_action.is_not(None))
    .order_by(_R.id.desc())
)


class CostReads(Repository, Lists):
    """The budgets and savings of `Overview`."""

    @override
    def monthly_budgets(self, *, limit: int = 100) -> list[BudgetUsage]:
        ending = f":{meters.month_of_meters():%Y-%m}"
        query = (
            select(_M.key, _M.used, _M.cost)
            .where(
                or_(_M.key.startswith("flow:"), _M.key.startswith("user:")),
                _M.key.endswith(ending),
            )
            .order_by(_M.cost.desc(), _M.used.desc(), _M.key)
            .limit(limit)
        )
        return [_spent(row, ending) for row in self._run(query)]

    @override
    def latest_specs(self, flow_names: Sequence[str]) -> dict[str, FlowSpec]:
        found: dict[str, FlowSpec] = {}
        for name in flow_names:
            spec = select(cast(_R.spec, Text)).where(_R.flow_name == name)
            row = self._run(spec.order_by(_R.id.desc()).limit(1)).first()
            if row is not None:
                found[name] = shown_spec(row[0], name)
        return found

    @override
    def budgeted_runs(self, *, limit: int = 20) -> list[BudgetedRun]:
        rows = self._run(_BUDGETED.limit(limit)).all()
        keys = [run_meter(row.id) for row in rows]
        spent = self._run(select(_M.key, _M.used, _M.cost).where(_M.key.in_(keys)))
        used = {row.key: Usage(int(row.used), row.cost) for row in spent}
        return [
            BudgetedRun(
                RunId(row.id),
                row.flow_name,
                RunState(row.status),
                budget_of_row(row.budget_usd, row.budget_tokens, row.budget_action),
                used.get(run_meter(row.id), Usage()),
            )
            for row in rows
        ]

    @override
    def saved(
        self, *, since: datetime, flow_name: str | None = None, user_id: str | None = None
    ) -> CacheSavings:
        query = select(
            func.count(),
            func.coalesce(func.sum(_S.saved_tokens), 0),
            total_cost(_S.saved_cost),
        ).where(_S.cached_from.is_not(None), _S.completed_at >= since)
        whose = [
            None if flow_name is None else _R.flow_name == flow_name,
            None if user_id is None else _R.user_id == user_id,
        ]
        given = [one for one in whose if one is not None]
        if given:
            query = query.join(RUNS, _R.id == _S.flow_run_id).where(and_(true(), *given))
        row = self._run(query).one()
        return CacheSavings(row[0], Usage(int(row[1]), row[2]))


def _spent(row: Any, ending: str) -> BudgetUsage:
    kind, _, name = row.key.removesuffix(ending).partition(":")
    return BudgetUsage(kind, name, Usage(int(row.used), row.cost))

"""The present state of runs, which the live list polls for all pages at once.

It reads the newest runs and the open ones, each by an index. It does not ask for ids or times above
the last seen, so a row that is committed late is not missed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Integer, bindparam, func, select, union
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.tables import OPEN_RUN
from flowq.adapters.records.sql.types import total_cost
from flowq.core.ids import RunId
from flowq.core.states import DONE_STEP_STATES, RunState
from flowq.core.usage import Usage
from flowq.engine.queries.live import RunSummary
from flowq.engine.queries.port import LiveRuns

_R, _S = RUNS.c, STEPS.c
_LEAF = _S.map_size.is_(None)
_KEYS: Any = bindparam("p_keys", expanding=True)

_NEWEST = select(_R.id).order_by(_R.id.desc()).limit(bindparam("p_newest", type_=Integer))
_OPEN = (
    select(_R.id).where(OPEN_RUN).order_by(_R.id.desc()).limit(bindparam("p_open", type_=Integer))
)
_CHOSEN = union(
    select(_NEWEST.subquery("newest").c.id), select(_OPEN.subquery("open").c.id)
).subquery("chosen")
_COLUMNS = (
    *(_R.id, _R.flow_name, _R.status, _R.created_at, _R.started_at, _R.execution_time_ms),
    *(_R.step_progress, _R.total_steps, _R.total_tokens, _R.total_cost, _R.unpriced_calls),
)
_RECENT: Final = select(*_COLUMNS).join(_CHOSEN, _CHOSEN.c.id == _R.id)
_ALSO: Final = select(*_COLUMNS).where(_R.id.in_(_KEYS))
_PROGRESS: Final = (
    select(
        _S.flow_run_id,
        func.count().filter(_LEAF, _S.status.in_(DONE_STEP_STATES)),
        func.count().filter(_LEAF),
        func.coalesce(func.sum(_S.tokens_used), 0),
        total_cost(_S.cost_estimate),
        func.coalesce(func.sum(_S.unpriced_calls), 0),
    )
    .where(_S.flow_run_id.in_(_KEYS))
    .group_by(_S.flow_run_id)
)


class LiveReads(Repository, LiveRuns):
    """The present state of runs."""

    @override
    def recent(self, *, newest: int, unended: int, also: Sequence[RunId] = ()) -> list[RunSummary]:
        found: dict[RunId, RunSummary] = {}
        if newest or unended:
            for row in self._run(_RECENT, {"p_newest": newest, "p_open": unended}):
                found[row.id] = _line(row)
        if missing := [run_id for run_id in also if run_id not in found]:
            lines = [_line(row) for row in self._run_parts(_ALSO, {}, missing)]
            found |= {line.id: line for line in lines}
        return sorted(found.values(), key=lambda line: line.id)

    @override
    def progress(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[int, int, Usage]]:
        rows = self._run_parts(_PROGRESS, {}, runs)
        return {
            RunId(row[0]): (row[1], row[2], Usage(int(row[3]), row[4], int(row[5]))) for row in rows
        }


def _line(row: Any) -> RunSummary:
    return RunSummary(
        id=RunId(row.id),
        flow_name=row.flow_name,
        status=RunState(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        execution_time_ms=row.execution_time_ms,
        done=row.step_progress,
        total=row.total_steps or 0,
        used=Usage(row.total_tokens, row.total_cost, row.unpriced_calls),
    )

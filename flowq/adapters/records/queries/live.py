"""The present state of runs, which live pages poll."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import total_cost
from flowq.core.ids import RunId
from flowq.core.states import DONE_STEP_STATES, RunState
from flowq.core.usage import Usage
from flowq.engine.queries.port import LiveRuns

_R, _S = RUNS.c, STEPS.c
_LEAF = _S.map_size.is_(None)
_KEYS: Any = bindparam("p_keys", expanding=True)

_STATES: Final = select(_R.id, _R.status, _R.total_steps).where(_R.id.in_(_KEYS))
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
    def states(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[RunState, int]]:
        rows = self._run_parts(_STATES, {}, runs)
        return {RunId(row[0]): (RunState(row[1]), row[2] or 0) for row in rows}

    @override
    def progress(self, runs: Sequence[RunId]) -> Mapping[RunId, tuple[int, int, Usage]]:
        rows = self._run_parts(_PROGRESS, {}, runs)
        return {
            RunId(row[0]): (row[1], row[2], Usage(int(row[3]), row[4], int(row[5]))) for row in rows
        }

"""The tree of child runs of a run: one query a level, however many child runs there are.

The ids of child runs have the time of their parent's, so a level is a range of the primary key; of
each step its runs are counted, and the first few are returned.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import case, func, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId, ids_of_same_moment
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.queries.children import (
    MAX_LEVELS,
    MAX_OF_LEVEL,
    MAX_OF_STEP,
    ChildrenOfStep,
    ChildRun,
)
from flowq.engine.queries.port import RunPages

_R, _S = RUNS.c, STEPS.c
_RANK: Final = case(
    (_R.status == RunState.FAILED, 0), (_R.status.in_(sorted(OPEN_RUN_STATES)), 1), else_=2
)
_STEP: Final = (_S.flow_run_id, _S.step_key)


class ChildReads(Repository, RunPages):
    """The part of `flowq.engine.queries.port.RunPages` that reads child runs."""

    @override
    def child_runs(self, run_id: RunId) -> tuple[ChildrenOfStep, ...]:
        levels: list[list[Any]] = []
        parents = [run_id]
        while parents and len(levels) < MAX_LEVELS:
            rows = self._level(run_id, parents)
            levels.append(rows)
            parents = [RunId(row.id) for row in rows]
        below: dict[Any, tuple[ChildrenOfStep, ...]] = {}
        for rows in reversed(levels):
            below = _grouped(rows, below)
        return below.get(run_id, ())

    def _level(self, root: RunId, parents: Sequence[RunId]) -> list[Any]:
        """Return some child runs of runs, in the order of their parents and steps."""
        place = func.row_number().over(
            partition_by=_STEP, order_by=(_RANK, _S.map_index, _S.step_order)
        )
        ranked = (
            select(
                *(_R.id, _R.flow_name, _R.status, _R.started_at, _R.completed_at),
                *(_R.step_progress, _R.total_steps),
                *(_R.total_tokens, _R.total_cost, _R.unpriced_calls),
                *(_S.flow_run_id, _S.step_key, _S.map_index, _S.step_order),
                place.label("place"),
                func.count().over(partition_by=_STEP).label("many"),
                func.count()
                .filter(_R.status == RunState.FAILED)
                .over(partition_by=_STEP)
                .label("failed"),
            )
            .select_from(RUNS.join(STEPS, _S.id == _R.parent_step_run_id))
            .where(_R.id.between(*ids_of_same_moment(root)), _S.flow_run_id.in_(parents))
            .subquery("ranked")
        )
        of = ranked.c
        query = select(ranked).where(of.place <= MAX_OF_STEP)
        query = query.order_by(of.flow_run_id, of.step_order, of.step_key, of.place)
        return list(self._run(query.limit(MAX_OF_LEVEL)))


def _grouped(
    rows: Sequence[Any], below: dict[Any, tuple[ChildrenOfStep, ...]]
) -> dict[Any, tuple[ChildrenOfStep, ...]]:
    """Return the child runs of each run of a level, with those below them."""
    found: dict[Any, tuple[ChildrenOfStep, ...]] = {}
    for (parent, key), of_step in groupby(rows, key=lambda row: (row.flow_run_id, row.step_key)):
        runs = list(of_step)
        group = ChildrenOfStep(
            key, runs[0].many, runs[0].failed, tuple(_child(row, below) for row in runs)
        )
        found[parent] = (*found.get(parent, ()), group)
    return found


def _child(row: Any, below: dict[Any, tuple[ChildrenOfStep, ...]]) -> ChildRun:
    return ChildRun(
        id=RunId(row.id),
        flow_name=row.flow_name,
        status=RunState(row.status),
        index=row.map_index,
        started_at=row.started_at,
        completed_at=row.completed_at,
        done=row.step_progress,
        total=row.total_steps or 0,
        tokens=row.total_tokens,
        cost=row.total_cost,
        unpriced=row.unpriced_calls,
        steps=below.get(row.id, ()),
    )

"""The tree of child runs of a run: one query a level, however many child runs there are.

The ids of child runs have the time of their parent's, so a level is ranges of the primary key; of a
child run that continues as new, the last run is the child run. Of each step its runs are counted,
and the first few are returned.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import case, func, select, union
from typing_extensions import override

from flowq.adapters.records.runs.continued import chains, last_of, near
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.queries.children import (
    MAX_LEVELS,
    MAX_OF_LEVEL,
    MAX_OF_STEP,
    ChildrenOfRun,
    ChildrenOfStep,
    ChildRun,
)
from flowq.engine.queries.port import RunPages

_R, _S = RUNS.c, STEPS.c
_RANK: Final = case(
    (_R.status == RunState.FAILED, 0), (_R.status.in_(sorted(OPEN_RUN_STATES)), 1), else_=2
)
_STEP: Final = (_S.flow_run_id, _S.step_key)
_FAILED: Final = func.count().filter(_R.status == RunState.FAILED)


class ChildReads(Repository, RunPages):
    """The part of `flowq.engine.queries.port.RunPages` that reads child runs."""

    @override
    def child_runs(self, run_id: RunId) -> ChildrenOfRun:
        levels: list[list[Any]] = []
        parents = [run_id]
        while parents and len(levels) < MAX_LEVELS:
            rows = self._level(run_id, parents)
            levels.append(rows)
            parents = [RunId(row.id) for row in rows]
        below: dict[Any, ChildrenOfRun] = {}
        for rows in reversed(levels):
            below = _grouped(rows, below)
        return below.get(run_id, ChildrenOfRun())

    def _level(self, root: RunId, parents: Sequence[RunId]) -> list[Any]:
        """Return some child runs of runs, in the order of their parents and steps.

        At least one of each parent is among them, since no level has more than `MAX_OF_LEVEL`; then
        the failed ones of all parents come first, and the parents take turns.
        """
        place = func.row_number().over(
            partition_by=_STEP, order_by=(_RANK, _S.map_index, _S.step_order)
        )
        turn = func.row_number().over(
            partition_by=_S.flow_run_id, order_by=(_RANK, _S.step_order, _S.step_key, _S.map_index)
        )
        near_ids = union(select(_R.id).where(near(parents)), last_of(chains({root, *parents})))
        ranked = (
            select(
                *(_R.id, _R.flow_name, _R.status, _R.started_at, _R.completed_at),
                *(_R.step_progress, _R.total_steps),
                *(_R.total_tokens, _R.total_cost, _R.unpriced_calls),
                *(_S.flow_run_id, _S.step_key, _S.map_index, _S.step_order),
                *(_RANK.label("rank"), place.label("place"), turn.label("turn")),
                func.count().over(partition_by=_STEP).label("many"),
                _FAILED.over(partition_by=_STEP).label("failed"),
                func.count().over(partition_by=_S.flow_run_id).label("many_of_run"),
                _FAILED.over(partition_by=_S.flow_run_id).label("failed_of_run"),
            )
            .select_from(RUNS.join(STEPS, _S.id == _R.parent_step_run_id))
            .where(_R.id.in_(near_ids), _S.flow_run_id.in_(parents))
            .subquery("ranked")
        )
        of = ranked.c
        query = select(ranked).where(of.place <= MAX_OF_STEP)
        query = query.order_by(of.turn > 1, of.rank, of.turn, of.flow_run_id).limit(MAX_OF_LEVEL)
        return sorted(
            self._run(query),
            key=lambda row: (row.flow_run_id, row.step_order, row.step_key, row.place),
        )


def _grouped(rows: Sequence[Any], below: dict[Any, ChildrenOfRun]) -> dict[Any, ChildrenOfRun]:
    """Return the child runs of each run of a level, with those below them."""
    found: dict[Any, ChildrenOfRun] = {}
    for parent, of_run in groupby(rows, key=lambda row: row.flow_run_id):
        some = list(of_run)
        steps = tuple(
            _of_step(key, list(of_step), below)
            for key, of_step in groupby(some, key=lambda row: row.step_key)
        )
        found[parent] = ChildrenOfRun(some[0].many_of_run, some[0].failed_of_run, steps)
    return found


def _of_step(key: str, rows: Sequence[Any], below: dict[Any, ChildrenOfRun]) -> ChildrenOfStep:
    runs = tuple(_child(row, below) for row in rows)
    return ChildrenOfStep(key, rows[0].many, rows[0].failed, runs)


def _child(row: Any, below: dict[Any, ChildrenOfRun]) -> ChildRun:
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
        below=below.get(row.id),
    )

"""The latest runs of a flow, and the figures of their steps, for the page of the flow."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, and_, bindparam, case, cast, func, or_, select
from typing_extensions import override

from flowq.adapters.records.sql.reading import shown_spec
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId, earliest_id, ids_of_same_moment
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.queries.flow_page import (
    GRID_RUNS,
    GRID_STEPS,
    MAX_CHILDREN,
    MAX_RUNS,
    MAX_RUNS_OF_STEPS,
    MAX_STEPS,
    ChildUsage,
    FlowGrid,
    FlowHistory,
    GridCell,
    GridRun,
    PastRun,
    StepFigures,
    with_child_runs,
)
from flowq.engine.queries.port import Lists

_R, _S = RUNS.c, STEPS.c
_NEWEST: Final = select(_R.id, _R.created_at, cast(_R.spec, Text).label("spec")).order_by(
    _R.id.desc()
)
_USED: Final = (_R.total_tokens, _R.total_cost, _R.unpriced_calls)
_PAST: Final = select(_R.id, _R.status, _R.execution_time_ms, *_USED).order_by(_R.id.desc())
_CHILDREN: Final = select(_R.id, _S.flow_run_id, *_USED).join(STEPS, _S.id == _R.parent_step_run_id)
#: Child runs are looked up for so many runs at a time (SQLite joins 1,000 conditions).
_RUNS_AT_ONCE: Final = 200
#: The name of a step: each call of a program has a different key.
_NAME: Final = case((_S.spec.is_not(None), _S.step_name), else_=_S.step_key)


#: Of several calls the first of these states is shown.
_WORST_FIRST: Final = (
    StepState.FAILED,
    StepState.RETRYING,
    StepState.RUNNING,
    StepState.WAITING,
    StepState.QUEUED,
    StepState.PENDING,
    StepState.CANCELLED,
    StepState.COMPLETED,
    StepState.SKIPPED,
)


def _grid() -> Any:
    """Return the query of a grid: a row for each step of each run, and for a run without steps."""
    latest = (
        select(*(_R.id, _R.status, _R.created_at, _R.execution_time_ms))
        .add_columns(_R.total_cost, _R.unpriced_calls)
        .where(_R.flow_name == bindparam("p_flow", type_=_R.flow_name.type))
        .order_by(_R.id.desc())
        .limit(GRID_RUNS)
        .subquery("latest")
    )
    worst = case({state: rank for rank, state in enumerate(_WORST_FIRST)}, value=_S.status)
    joined = latest.outerjoin(STEPS, and_(_S.flow_run_id == latest.c.id, _S.map_index.is_(None)))
    return (
        select(
            *latest.c,
            _NAME.label("name"),
            func.min(worst).label("worst"),
            func.count(_S.id).label("many"),
            func.min(_S.step_key).label("key"),
            func.sum(_S.execution_time_ms).label("ms"),
            func.min(_S.step_order).label("place"),
        )
        .select_from(joined)
        .group_by(*latest.c, _NAME)
        .order_by(latest.c.id, func.min(_S.step_order), _NAME)
    )


_GRID: Final = _grid()


class FlowReads(Repository, Lists):
    """The figures of flows of `Overview`."""

    @override
    def history(self, flow_name: str, *, since: datetime) -> FlowHistory | None:
        newest = self._run(_NEWEST.where(_R.flow_name == flow_name).limit(1)).first()
        if newest is None:
            return None
        past = _PAST.where(_R.flow_name == flow_name, _R.id >= earliest_id(since))
        runs = tuple(_past_run(row) for row in self._run(past.limit(MAX_RUNS)))
        children, lacks_children = self._below(runs)
        looked_at = [run.id for run in runs[:MAX_RUNS_OF_STEPS]]
        return FlowHistory(
            name=flow_name,
            newest=RunId(newest.id),
            newest_at=newest.created_at,
            spec=shown_spec(newest.spec, flow_name),
            runs=with_child_runs(runs, children),
            runs_of_steps=len(looked_at),
            steps=self._steps(looked_at) if looked_at else (),
            lacks_children=lacks_children,
        )

    @override
    def grid(self, flow_name: str) -> FlowGrid:
        rows = self._run(_GRID, {"p_flow": flow_name}).all()
        places: dict[str, int] = {}
        for row in rows:
            if row.name is not None:
                places[row.name] = min(row.place, places.get(row.name, row.place))
        names = sorted(places, key=lambda name: (places[name], name))
        shown = set(names[:GRID_STEPS])
        runs = tuple(_grid_run(of, shown) for _, of in groupby(rows, key=lambda row: row.id))
        return FlowGrid(tuple(names[:GRID_STEPS]), runs, left=max(len(names) - GRID_STEPS, 0))

    def _below(self, runs: Sequence[PastRun]) -> tuple[list[ChildUsage], bool]:
        """Return the child runs of runs, with theirs, and whether there are more.

        Ids of child runs have the time of their parent's, so they are found by the primary key.
        """
        near = list(dict.fromkeys(ids_of_same_moment(run.id) for run in runs))
        found: list[ChildUsage] = []
        for place in range(0, len(near), _RUNS_AT_ONCE):
            spans = near[place : place + _RUNS_AT_ONCE]
            query = _CHILDREN.where(or_(*(_R.id.between(*span) for span in spans)))
            left = MAX_CHILDREN - len(found)
            rows = self._run(query.order_by(_R.id).limit(left + 1)).all()
            found += [ChildUsage(RunId(row[0]), RunId(row[1]), _used(row)) for row in rows[:left]]
            if len(rows) > left:
                return found, True
        return found, False

    def _steps(self, runs: Sequence[UUID]) -> tuple[StepFigures, ...]:
        """Sum the step runs of runs, by step; a map's items count, not the map itself."""
        some = (
            select(
                _NAME.label("name"),
                _S.status,
                _S.execution_time_ms.label("ms"),
                _S.tokens_used,
                _S.cost_estimate,
                _S.unpriced_calls,
            )
            .where(_S.flow_run_id.in_(runs), _S.map_size.is_(None), _S.attempt > 0)
            .limit(MAX_STEPS)
            .subquery("some")
        )
        # Those without a time come last, so the others are ranked from 1.
        name = some.c.name
        place = func.row_number().over(partition_by=name, order_by=some.c.ms.nulls_last())
        timed = func.count(some.c.ms).over(partition_by=name)
        columns = [*some.c, place.label("place"), timed.label("timed")]
        placed = select(*columns).subquery("placed")

        def least(share: float) -> Any:
            reached = placed.c.place >= share * placed.c.timed
            return func.min(placed.c.ms).filter(reached)

        query = select(
            placed.c.name,
            func.count(),
            func.count().filter(placed.c.status == StepState.FAILED),
            least(0.5),
            least(0.95),
            func.sum(placed.c.tokens_used),
            func.sum(placed.c.cost_estimate),
            func.sum(placed.c.unpriced_calls),
        ).group_by(placed.c.name)
        return tuple(_figures(row) for row in self._run(query.order_by(placed.c.name)))


def _grid_run(rows: Iterable[Any], shown: set[str]) -> GridRun:
    of_run = list(rows)
    first = of_run[0]
    cells = {
        row.name: GridCell(
            status=_WORST_FIRST[row.worst],
            count=row.many,
            key=row.key if row.many == 1 else None,
            ms=None if row.ms is None else int(row.ms),
        )
        for row in of_run
        if row.name in shown
    }
    return GridRun(
        RunId(first.id),
        RunState(first.status),
        first.created_at,
        first.execution_time_ms,
        first.total_cost,
        first.unpriced_calls,
        cells,
    )


def _past_run(row: Any) -> PastRun:
    return PastRun(RunId(row.id), RunState(row.status), row.execution_time_ms, _used(row))


def _used(row: Any) -> Usage:
    return Usage(int(row.total_tokens), row.total_cost, int(row.unpriced_calls))


def _figures(row: Any) -> StepFigures:
    return StepFigures(row[0], row[1], row[2], row[3], row[4], int(row[5]), row[6], int(row[7]))

"""The latest runs of a flow, and the figures of their steps, for the page of the flow."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, bindparam, case, cast, func, select, union_all
from typing_extensions import override

from flowq.adapters.records.runs.continued import chains, near
from flowq.adapters.records.sql.reading import shown_spec
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId, earliest_id
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.queries.flow_page import (
    GRID_RUNS,
    GRID_STEPS,
    MAX_CHILDREN,
    MAX_NODES,
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


_LATEST: Final = (
    select(_R.id, _R.status, _R.created_at, _R.execution_time_ms, *_USED)
    .where(_R.flow_name == bindparam("p_flow", type_=_R.flow_name.type))
    .order_by(_R.id.desc())
    .limit(GRID_RUNS)
)


def _cells(runs: Sequence[UUID]) -> Any:
    """Return the query of the cells of runs: of the first names, and of the first nodes of each."""
    columns = (
        *(_S.flow_run_id, _NAME.label("name"), _S.step_key, _S.step_order),
        *(_S.status, _S.execution_time_ms),
    )
    nodes = union_all(
        *(
            select(
                select(*columns)
                .where(_S.flow_run_id == run, _S.map_index.is_(None))
                .order_by(_S.step_key)
                .limit(MAX_NODES + 1)
                .subquery()
            )
            for run in runs
        )
    ).cte("nodes")
    of = nodes.c
    named = (
        select(of.name, func.min(of.step_order).label("place")).group_by(of.name).subquery("named")
    )
    place = func.row_number().over(order_by=(named.c.place, named.c.name))
    ranked = select(named.c.name, place.label("rank"), func.count().over().label("names"))
    shown = ranked.subquery("shown")
    read = select(of.flow_run_id, func.count().label("read")).group_by(of.flow_run_id)
    counted = read.subquery("counted")
    worst = case({state: rank for rank, state in enumerate(_WORST_FIRST)}, value=of.status)
    return (
        select(
            *(of.flow_run_id, of.name, shown.c.rank, shown.c.names, counted.c.read),
            func.min(worst).label("worst"),
            func.count().label("many"),
            func.min(of.step_key).label("key"),
            func.sum(of.execution_time_ms).label("ms"),
        )
        .join(shown, shown.c.name == of.name)
        .join(counted, counted.c.flow_run_id == of.flow_run_id)
        .where(shown.c.rank <= GRID_STEPS)
        .group_by(of.flow_run_id, of.name, shown.c.rank, shown.c.names, counted.c.read)
        .order_by(shown.c.rank)
    )


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
        latest = self._run(_LATEST, {"p_flow": flow_name}).all()[::-1]
        if not latest:
            return FlowGrid((), ())
        children, lacks_children = self._below([_past_run(row) for row in latest])
        runs = with_child_runs([_past_run(row) for row in latest], children)
        rows = self._run(_cells([row.id for row in latest])).all()
        cells: dict[UUID, dict[str, GridCell]] = {row.id: {} for row in latest}
        for row in rows:
            cells[row.flow_run_id][row.name] = _cell(row)
        names = tuple(dict.fromkeys(row.name for row in rows))
        return FlowGrid(
            names,
            tuple(
                GridRun(
                    *(run.id, run.status, row.created_at, run.execution_time_ms),
                    *(run.used.cost, run.used.unpriced, cells[row.id]),
                )
                for row, run in zip(latest, runs, strict=True)
            ),
            left=rows[0].names - len(names) if rows else 0,
            is_cut=any(row.read > MAX_NODES for row in rows),
            lacks_children=lacks_children,
        )

    def _below(self, runs: Sequence[PastRun]) -> tuple[list[ChildUsage], bool]:
        """Return the child runs of runs, with theirs, and whether there are more.

        All runs of a child run that continues as new count, and the child runs of each.
        """
        found: dict[RunId, ChildUsage] = {}
        parents: list[RunId] = [run.id for run in runs]
        while parents:
            some, parents = parents[:_RUNS_AT_ONCE], parents[_RUNS_AT_ONCE:]
            left = MAX_CHILDREN - len(found)
            rows = self._run(_CHILDREN.where(near(some)).order_by(_R.id).limit(left + 1)).all()
            continued = self._continued(some, left + 1)
            new = [ChildUsage(RunId(row[0]), RunId(row[1]), _used(row)) for row in rows]
            parents += [one.id for one in continued if one.id not in found]
            found.update((one.id, one) for one in [*new, *continued])
            if len(found) > MAX_CHILDREN or max(len(rows), len(continued)) > left:
                return list(found.values())[:MAX_CHILDREN], True
        return list(found.values()), False

    def _continued(self, parents: Sequence[RunId], limit: int) -> list[ChildUsage]:
        """Return the runs of chains that began as child runs near some runs."""
        chain = chains(parents)
        query = (
            select(chain.c.first, _R.id, _S.flow_run_id, *_USED)
            .join(chain, chain.c.id == _R.id)
            .outerjoin(STEPS, _S.id == _R.parent_step_run_id)
            .order_by(chain.c.first, _R.id)
            .limit(limit)
        )
        found: list[ChildUsage] = []
        for _, rows in groupby(self._run(query), key=lambda row: row.first):
            of_chain = list(rows)
            # The last one has it.
            parent = next((row.flow_run_id for row in of_chain if row.flow_run_id), None)
            if parent is not None:
                found += [ChildUsage(RunId(row.id), RunId(parent), _used(row)) for row in of_chain]
        return found

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


def _cell(row: Any) -> GridCell:
    return GridCell(
        status=_WORST_FIRST[row.worst],
        count=row.many,
        key=row.key if row.many == 1 else None,
        ms=None if row.ms is None else int(row.ms),
    )


def _past_run(row: Any) -> PastRun:
    return PastRun(RunId(row.id), RunState(row.status), row.execution_time_ms, _used(row))


def _used(row: Any) -> Usage:
    return Usage(int(row.total_tokens), row.total_cost, int(row.unpriced_calls))


def _figures(row: Any) -> StepFigures:
    return StepFigures(row[0], row[1], row[2], row[3], row[4], int(row[5]), row[6], int(row[7]))

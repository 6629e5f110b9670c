"""The latest runs of a flow, and the figures of their steps, for the page of the flow."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, case, cast, func, select
from typing_extensions import override

from flowq.adapters.records.sql.reading import shown_spec
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId, earliest_id
from flowq.core.states import RunState, StepState
from flowq.engine.queries.flow_page import (
    MAX_RUNS,
    MAX_RUNS_OF_STEPS,
    MAX_STEPS,
    FlowHistory,
    PastRun,
    StepFigures,
)
from flowq.engine.queries.port import Lists

_R, _S = RUNS.c, STEPS.c
_NEWEST: Final = select(_R.id, _R.created_at, cast(_R.spec, Text).label("spec")).order_by(
    _R.id.desc()
)
_PAST: Final = select(
    *(_R.id, _R.status, _R.execution_time_ms),
    *(_R.total_tokens, _R.total_cost, _R.unpriced_calls),
).order_by(_R.id.desc())
#: The name of a step: each call of a program has a different key.
_NAME: Final = case((_S.spec.is_not(None), _S.step_name), else_=_S.step_key)


class FlowReads(Repository, Lists):
    """The figures of flows of `Overview`."""

    @override
    def history(self, flow_name: str, *, since: datetime) -> FlowHistory | None:
        newest = self._run(_NEWEST.where(_R.flow_name == flow_name).limit(1)).first()
        if newest is None:
            return None
        past = _PAST.where(_R.flow_name == flow_name, _R.id >= earliest_id(since))
        runs = tuple(_past_run(row) for row in self._run(past.limit(MAX_RUNS)))
        looked_at = [run.id for run in runs[:MAX_RUNS_OF_STEPS]]
        return FlowHistory(
            name=flow_name,
            newest=RunId(newest.id),
            newest_at=newest.created_at,
            spec=shown_spec(newest.spec, flow_name),
            runs=runs,
            runs_of_steps=len(looked_at),
            steps=self._steps(looked_at) if looked_at else (),
        )

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


def _past_run(row: Any) -> PastRun:
    return PastRun(RunId(row.id), RunState(row.status), *row[2:])


def _figures(row: Any) -> StepFigures:
    return StepFigures(row[0], row[1], row[2], row[3], row[4], int(row[5]), row[6], int(row[7]))

"""Steps, failures and costs of one run, a page at a time."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    cast,
    exists,
    func,
    or_,
    select,
)
from typing_extensions import override

from flowq.adapters.records.queries.run_items import RunItemReads
from flowq.adapters.records.runs.views import STEP_COLUMNS, counted_items, step_view
from flowq.adapters.records.sql.repository import REQUESTS, STEPS
from flowq.adapters.records.sql.types import json_text, total_cost
from flowq.adapters.records.steps.reads import PROGRESS, step_progress
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import StepState
from flowq.core.usage import CostStatus, RequestStatus
from flowq.engine.model.rows import StepProgress, StepView
from flowq.engine.queries.run_page import FailedStep, StepCost

_C, _Q = STEPS.c, REQUESTS.c
_node: Final = STEPS.alias("node")
_IS_NODE: Final = _C.map_index.is_(None)
COST: Final = total_cost(_C.cost_estimate).label("cost")
SAVED_COST: Final = total_cost(_C.saved_cost)
_ENDED_WELL: Final = (RequestStatus.STARTED, RequestStatus.COMPLETED)
_FAILED: Final = (
    _C.id,
    _C.step_key,
    _C.map_index,
    _C.attempt,
    _C.recoveries,
    _C.completed_at,
    _C.worker,
    _C.error_type,
    _C.error_message,
    _C.failed_step_id,
    # As a whole: PostgreSQL extracts no part from a document with a NUL.
    _C.step_metadata,
)


class RunStepReads(RunItemReads):
    """The part of `flowq.engine.queries.port.RunPages` that reads steps."""

    @override
    def steps(
        self,
        run_id: RunId,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        status: StepState | None = None,
        text: str | None = None,
        key: str | None = None,
    ) -> list[StepView]:
        query = select(*STEP_COLUMNS).where(_C.flow_run_id == run_id, _IS_NODE)
        if key is not None:
            query = query.where(_C.step_key == key)
        if status is not None:
            query = query.where(_in_state(status))
        if text:
            searched = (_C.step_key, _C.step_name, _C.worker, _C.error_type, _C.error_message)
            query = query.where(or_(*(one.icontains(text, autoescape=True) for one in searched)))
        rows = self._between(query, _C.step_order, after, before, limit)
        maps = [row.step_key for row in rows if row.map_size is not None]
        items = counted_items(self._connection, run_id, maps) if maps else {}
        return [step_view(row, items.get(row.step_key, ())) for row in rows]

    @override
    def failures(
        self, run_id: RunId, *, limit: int, step: StepRunId | None = None
    ) -> list[FailedStep]:
        query = select(*_FAILED).where(
            _C.flow_run_id == run_id,
            _C.status == StepState.FAILED,
            or_(_C.map_index.is_not(None), _C.map_size.is_(None)),
        )
        if step is not None:
            key = select(_node.c.step_key).where(_node.c.id == step).scalar_subquery()
            query = query.where(_C.step_key == key)
        query = query.order_by(_C.completed_at, _C.step_order, _C.map_index).limit(limit)
        return [_failed_step(row) for row in self._run(query)]

    @override
    def step_costs(self, run_id: RunId, *, limit: int, by_name: bool = False) -> list[StepCost]:
        name = _C.step_name if by_name else _C.step_key
        calls = (
            select(
                name.label("name"),
                func.count().label("calls"),
                func.sum(case((_Q.status.in_(_ENDED_WELL), 0), else_=1)).label("failed"),
                func.sum(case((_Q.cost_status == CostStatus.UNKNOWN, 1), else_=0)).label("unknown"),
            )
            .join(STEPS, _C.id == _Q.flow_step_run_id)
            .where(_Q.flow_run_id == run_id)
            .group_by(name)
            .subquery("calls")
        )
        tokens, hits = func.sum(_C.tokens_used), func.count(_C.cached_from)
        used = (
            select(
                name.label("name"),
                tokens.label("tokens"),
                COST,
                hits.label("hits"),
                func.coalesce(func.sum(_C.saved_tokens), 0).label("saved_tokens"),
                SAVED_COST.label("saved_cost"),
            )
            .where(_C.flow_run_id == run_id)
            .group_by(name)
            .subquery("used")
        )
        query = (
            select(
                used.c.name,
                func.coalesce(calls.c.calls, 0),
                func.coalesce(calls.c.failed, 0),
                func.coalesce(calls.c.unknown, 0),
                used.c.tokens,
                used.c.cost,
                used.c.hits,
                used.c.saved_tokens,
                used.c.saved_cost,
            )
            .outerjoin_from(used, calls, used.c.name == calls.c.name)
            .where(or_(used.c.tokens > 0, used.c.cost > 0, used.c.hits > 0, calls.c.calls > 0))
            .order_by(used.c.cost.desc(), used.c.tokens.desc(), used.c.name)
            .limit(limit)
        )
        return [_step_cost(row) for row in self._run(query)]

    @override
    def newest_progress(self, run_id: RunId, *, limit: int) -> list[StepProgress]:
        moment = func.coalesce(_C.completed_at, _C.started_at)
        query = (
            select(*PROGRESS)
            .where(_C.flow_run_id == run_id, moment.is_not(None))
            .order_by(moment.desc(), _C.step_order.desc(), _C.map_index.desc())
            .limit(limit)
        )
        marks = [step_progress(row) for row in self._run(query)]
        return sorted(marks, key=lambda mark: (mark.order, mark.map_index or 0))

    @override
    def result_bytes(self, run_id: RunId, keys: Sequence[str]) -> int:
        size = func.sum(cast(json_text(_C.result, "size"), BigInteger))
        query = select(size).where(_C.flow_run_id == run_id, _C.step_key.in_(keys))
        return int(self._run(query).scalar() or 0)


def _in_state(status: StepState) -> ColumnElement[bool]:
    """Return the condition of nodes in a state, and of maps that have an item in it."""
    items = STEPS.alias("items")
    has_item = exists().where(
        items.c.flow_run_id == _C.flow_run_id,
        items.c.step_key == _C.step_key,
        items.c.map_index.is_not(None),
        items.c.status == status,
    )
    return or_(_C.status == status, and_(_C.map_size.is_not(None), has_item))


def _failed_step(row: Sequence[Any]) -> FailedStep:
    metadata = row[10] or {}
    kept = [metadata.get(name) for name in ("traceback", "item", "causes")]
    call = None if row[9] is None else StepRunId(row[9])
    return FailedStep(StepRunId(row[0]), *[*row[1:9], *kept, call])


def _step_cost(row: Sequence[Any]) -> StepCost:
    return StepCost(
        key=row[0],
        calls=row[1],
        failed=int(row[2]),
        unknown=int(row[3]),
        tokens=int(row[4]),
        cost=row[5],
        hits=row[6],
        saved_tokens=int(row[7]),
        saved_cost=row[8],
    )

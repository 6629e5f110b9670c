"""The data of the page of one step: three reads by index, whatever the size of the run."""

from typing import Any, Final

from sqlalchemy import func, select
from typing_extensions import override

from flowq.adapters.records.llm_requests import request_view
from flowq.adapters.records.sql.reading import result_ref, shown_kind
from flowq.adapters.records.sql.repository import (
    ATTEMPTS,
    FIRST_STARTED,
    REQUESTS,
    STEPS,
    Repository,
)
from flowq.adapters.records.sql.types import json_text
from flowq.core.errors import RunUnreadable
from flowq.core.ids import RunId, StepRunId
from flowq.core.results import ResultRef
from flowq.core.states import AttemptEnd, StepState
from flowq.engine.model.model_calls import RequestView
from flowq.engine.queries.graph import PastAttempt
from flowq.engine.queries.port import RunPages
from flowq.engine.queries.step_page import MAX_ATTEMPTS, MAX_CALLS, StepPage

_C, _A, _Q = STEPS.c, ATTEMPTS.c, REQUESTS.c
_STEP: Final = select(
    *(_C.id, _C.step_key, _C.map_index, _C.step_name, _C.status, _C.map_size),
    *(_C.attempt, _C.recoveries, _C.created_at, FIRST_STARTED),
    _C.started_at.label("attempt_at"),
    *(_C.completed_at, _C.wake_at, _C.execution_time_ms),
    *(_C.tokens_used, _C.cost_estimate, _C.unpriced_calls, _C.worker),
    *(_C.error_type, _C.error_message, _C.step_metadata),
    *(_C.inputs, _C.outputs, _C.result, _C.cached_from, _C.saved_cost),
    _C.spec.is_not(None).label("is_called"),
    json_text(_C.spec, "kind").label("kind"),
)
#: The size of the map of an item.
_node: Final = STEPS.alias("node").c
_SIBLINGS: Final = (
    select(_node.map_size)
    .where(
        _node.flow_run_id == _C.flow_run_id,
        _node.step_key == _C.step_key,
        _node.map_index.is_(None),
        _C.map_index.is_not(None),
    )
    .scalar_subquery()
)
_PAST: Final = select(
    *(_A.attempt, _A.claimed_at, _A.ended_at, _A.outcome, _A.worker),
    *(_A.error_type, _A.error_message, func.count().over().label("in_all")),
).order_by(_A.place.desc())
_CALLS: Final = select(REQUESTS, func.count().over().label("in_all")).order_by(_Q.id.desc())


class StepPageReads(Repository, RunPages):
    """The part of `flowq.engine.queries.port.RunPages` that reads one step."""

    @override
    def step_page(self, run_id: RunId, key: str, index: int | None = None) -> StepPage | None:
        is_this = _C.map_index.is_(None) if index is None else _C.map_index == index
        query = _STEP.add_columns(_SIBLINGS.label("siblings")).where(
            _C.flow_run_id == run_id, _C.step_key == key, is_this
        )
        row = self._run(query).first()
        if row is None:
            return None
        past, past_count = self._past(row.id)
        calls, call_count = self._calls(row.id)
        return StepPage(
            id=StepRunId(row.id),
            key=row.step_key,
            index=row.map_index,
            name=row.step_name,
            status=StepState(row.status),
            kind=shown_kind(row.kind) if row.is_called else None,
            map_size=row.map_size,
            siblings=row.siblings or 0,
            attempt=row.attempt,
            recoveries=row.recoveries,
            created_at=row.created_at,
            started_at=row.started_at,
            attempt_at=row.attempt_at,
            completed_at=row.completed_at,
            wake_at=row.wake_at,
            execution_time_ms=row.execution_time_ms,
            tokens=row.tokens_used,
            cost=row.cost_estimate,
            unpriced=row.unpriced_calls,
            worker=row.worker,
            error_type=row.error_type,
            error_message=row.error_message,
            metadata=row.step_metadata if isinstance(row.step_metadata, dict) else {},
            inputs=row.inputs,
            outputs=row.outputs,
            result=_shown_result(row.result),
            cached_from=None if row.cached_from is None else StepRunId(row.cached_from),
            saved_cost=row.saved_cost,
            past=past,
            past_count=past_count,
            calls=calls,
            call_count=call_count,
        )

    def _past(self, step_id: StepRunId) -> tuple[tuple[PastAttempt, ...], int]:
        rows = self._run(_PAST.where(_A.step_run_id == step_id).limit(MAX_ATTEMPTS)).all()
        found = (PastAttempt(row[0], row[1], row[2], AttemptEnd(row[3]), *row[4:7]) for row in rows)
        return tuple(found)[::-1], rows[0].in_all if rows else 0

    def _calls(self, step_id: StepRunId) -> tuple[tuple[RequestView, ...], int]:
        rows = self._run(_CALLS.where(_Q.flow_step_run_id == step_id).limit(MAX_CALLS)).all()
        return tuple(request_view(row) for row in rows)[::-1], rows[0].in_all if rows else 0


def _shown_result(value: Any) -> ResultRef | None:
    try:
        return result_ref(value)
    except RunUnreadable:
        return None  # from a newer flowq: the page says only that there is one

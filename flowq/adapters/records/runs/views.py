"""Runs as people see them: one row per step, a map's items counted, not listed."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from flowq.adapters.records.sql.reading import shown_kind
from flowq.adapters.records.sql.repository import FIRST_STARTED, RUNS, STEPS
from flowq.adapters.records.sql.tables import FlowRun
from flowq.adapters.records.sql.types import json_text
from flowq.core.ids import RunId, StepRunId
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.rows import RunView, StepView

_C = STEPS.c
_SAVED = (func.count(_C.cached_from), func.sum(_C.saved_tokens), func.sum(_C.saved_cost))


def view(connection: Connection, run_id: RunId, *, steps: bool = True) -> RunView | None:
    """Return a run, with its steps as they are now unless they are not wanted."""
    row = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).first()
    if row is None:
        return None
    return _run(row, _steps(connection, run_id) if steps else ())


def listed(rows: Sequence[FlowRun]) -> list[RunView]:
    """Return runs without their steps, with the progress last written to their rows."""
    return [_run(row, ()) for row in rows]


def _run(row: Any, steps: tuple[StepView, ...]) -> RunView:
    total = sum(step.total for step in steps) if steps else row.total_steps or 0
    done = sum(step.done for step in steps) if steps else row.step_progress
    return RunView(
        **written(row),
        parent=row.parent_step_run_id,
        total=total,
        done=done,
        tokens=sum(step.tokens for step in steps) if steps else row.total_tokens,
        cost=sum((step.cost for step in steps), Decimal(0)) if steps else row.total_cost,
        unpriced=sum(step.unpriced for step in steps) if steps else row.unpriced_calls,
        inputs=row.inputs,
        outputs=row.outputs,
        stop_kind=StopKind(row.stop_kind) if row.stop_kind else None,
        failed_step_id=StepRunId(row.failed_step_id) if row.failed_step_id else None,
        steps=steps,
        continued_as=row.continued_as,
        rerun_of=RunId(row.rerun_of) if row.rerun_of else None,
        budget=budget_of_row(row.budget_usd, row.budget_tokens, row.budget_action),
    )


def written(row: Any) -> dict[str, Any]:
    """Return the `RunFacts` that a row of `flow_runs` has itself."""
    return {
        "id": RunId(row.id),
        "flow_name": row.flow_name,
        "status": RunState(row.status),
        "user_id": row.user_id,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "execution_time_ms": row.execution_time_ms,
        "error": row.error_message,
        "priority": row.priority,
        "starts_at": row.starts_at if row.status == RunState.PENDING else None,
    }


def budget_of_row(usd: Decimal | None, tokens: int | None, action: str | None) -> Any:
    """Return the budget of a run; None if it has none."""
    if action is None:
        return None
    return BudgetSpec(usd=usd, tokens=tokens, action=BudgetAction(action))


def _steps(connection: Connection, run_id: RunId) -> tuple[StepView, ...]:
    items = counted_items(connection, run_id)
    content = (_C.step_metadata, _C.inputs)
    nodes = select(*STEP_COLUMNS, *content).where(_C.flow_run_id == run_id, _C.map_index.is_(None))
    rows = connection.execute(nodes.order_by(_C.step_order)).all()
    return tuple(
        step_view(row, items.get(row.step_key, ()), inputs=row.inputs, metadata=row.step_metadata)
        for row in rows
    )


def counted_items(
    connection: Connection, run_id: RunId, keys: Sequence[str] | None = None
) -> dict[str, list[Sequence[Any]]]:
    """Return sums over the items of a run's maps, or of some of them, by key and state."""
    counted = (
        select(
            _C.step_key,
            _C.status,
            func.count(),
            func.max(_C.attempt),
            func.sum(_C.tokens_used),
            func.sum(_C.cost_estimate),
            *_SAVED,
            func.sum(_C.unpriced_calls),
        )
        .where(_C.flow_run_id == run_id, _C.map_index.is_not(None))
        .group_by(_C.step_key, _C.status)
    )
    if keys is not None:
        counted = counted.where(_C.step_key.in_(keys))
    items: dict[str, list[Sequence[Any]]] = {}
    for row in connection.execute(counted):
        items.setdefault(row[0], []).append(row[1:])
    return items


#: The columns of a node that `step_view` needs.
STEP_COLUMNS = (
    _C.step_key,
    _C.step_name,
    _C.step_order,
    _C.status,
    _C.map_size,
    _C.attempt,
    _C.recoveries,
    FIRST_STARTED,
    _C.completed_at,
    _C.execution_time_ms,
    _C.tokens_used,
    _C.cost_estimate,
    _C.unpriced_calls,
    _C.worker,
    _C.error_type,
    _C.error_message,
    _C.failed_step_id,
    _C.spec.is_not(None).label("is_called"),
    json_text(_C.spec, "kind").label("kind"),
    _C.cached_from,
    _C.saved_tokens,
    _C.saved_cost,
)


def step_view(
    row: Any, items: Sequence[Sequence[Any]], *, inputs: Any = None, metadata: Any = None
) -> StepView:
    """Return a node, with the sums of its items."""
    counts = {StepState(item[0]): item[1] for item in items}
    one = {StepState(row.status): 1} if row.map_size is None else counts
    return StepView(
        key=row.step_key,
        name=row.step_name,
        order=row.step_order,
        status=StepState(row.status),
        map_size=row.map_size,
        counts=one,
        attempts=max([row.attempt, *(item[2] for item in items)]),
        recoveries=row.recoveries,
        started_at=row.started_at,
        completed_at=row.completed_at,
        execution_time_ms=row.execution_time_ms,
        tokens=row.tokens_used + sum(int(item[3]) for item in items),
        cost=row.cost_estimate + sum((item[4] for item in items), Decimal(0)),
        unpriced=row.unpriced_calls + sum(int(item[8]) for item in items),
        hits=int(row.cached_from is not None) + sum(item[5] for item in items),
        saved_tokens=(row.saved_tokens or 0) + sum(int(item[6] or 0) for item in items),
        saved_cost=sum((item[7] or Decimal(0) for item in items), row.saved_cost or Decimal(0)),
        worker=row.worker,
        error_type=row.error_type,
        error_message=row.error_message,
        failed_step_id=StepRunId(row.failed_step_id) if row.failed_step_id else None,
        metadata=metadata or {},
        inputs=inputs,
        called=shown_kind(row.kind) if row.is_called else None,
    )

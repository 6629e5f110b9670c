"""The SQL of reruns: reads the rows of an earlier run, inserts those that a rerun reuses.

A reused row is made of the earlier one by the database, so the durable copies of results do not
pass through this process. As a cache hit, it names the step that made its result (`cached_from`)
and what that cost; in contrast to one it has had no attempt. The transaction that inserts a rerun
locks the earlier run's row, as does the one that would delete that run.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal_column,
    select,
)
from typing_extensions import override

from flowq.adapters.records.runs.views import budget_of_row
from flowq.adapters.records.sql.reading import call_spec, flow_spec, result_ref
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import DbNow, total_cost
from flowq.core.ids import RunId, StepRunId
from flowq.core.spec import CallSpec, StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.model.reruns import OldRun, OldStep, ReusedStep
from flowq.engine.ports.reruns import Reruns

_C, _R = STEPS.c, RUNS.c
#: How many reruns of one run are shown.
_SHOWN: Final = 20

_OLD_RUN = select(RUNS, cast(_R.spec, Text).label("spec_text")).where(_R.id == bindparam("p_run"))
#: What a row itself cost when its result was made.
_TOKENS = func.coalesce(_C.saved_tokens, _C.tokens_used)
_COST = func.coalesce(_C.saved_cost, _C.cost_estimate)
_KEYS: BindParameter[Any] = bindparam("p_keys", expanding=True)


def _spent_below(*which: ColumnElement[bool]) -> Select[Any]:
    """Return what the child runs of rows of a run have cost, with all child runs below them."""
    first = (
        select(_C.id.label("row_id"), _R.id.label("run_id"))
        .join_from(STEPS, RUNS, _R.parent_step_run_id == _C.id)
        .where(_C.flow_run_id == bindparam("p_run"), *which)
        .cte("below", recursive=True)
    )
    below = first.union_all(
        select(first.c.row_id, _R.id)
        .join_from(first, STEPS, _C.flow_run_id == first.c.run_id)
        .join(RUNS, _R.parent_step_run_id == _C.id)
    ).c
    return (
        select(below.row_id, func.sum(_TOKENS), total_cost(_COST))
        .join(STEPS, _C.flow_run_id == below.run_id)
        .group_by(below.row_id)
    )


_BELOW, _BELOW_SOME = _spent_below(), _spent_below(_C.step_key.in_(_KEYS))
_OLD_STEPS = (
    select(
        _C.id,
        _C.step_key,
        _C.step_name,
        _C.step_order,
        _C.map_index,
        _C.map_size,
        _C.status,
        _C.result,
        _C.inputs,
        _C.spec,
        _C.observed,
        _C.completed_at,
        _C.failed_step_id,
        _TOKENS,
        _COST,
        _C.error_type,
        _C.error_message,
    )
    .where(_C.flow_run_id == bindparam("p_run"))
    .order_by(_C.step_order, _C.step_key, _C.map_index.is_not(None), _C.map_index)
)
_SOME_STEPS = _OLD_STEPS.where(_C.step_key.in_(_KEYS))
_KEEP = select(_R.id).where(_R.id == bindparam("p_run")).with_for_update(read=True, key_share=True)
_RERUNS = (
    select(_R.id)
    .where(_R.rerun_of == bindparam("p_run"), literal_column("rerun_of IS NOT NULL"))
    .order_by(_R.id.desc())
    .limit(_SHOWN)
)

_made = STEPS.alias("made").c
#: The columns of a reused row, from those of the earlier one and from parameters.
_REUSED: Final[dict[str, Any]] = {
    "id": bindparam("p_id", type_=_C.id.type),
    "flow_run_id": bindparam("p_run", type_=_C.id.type),
    "step_name": _C.step_name,
    "step_order": bindparam("p_order", type_=_C.step_order.type),
    "status": _C.status,
    "inputs": _C.inputs,
    "outputs": select(_made.outputs)
    .where(_made.id == bindparam("p_copied_from", type_=_C.id.type))
    .scalar_subquery(),
    "tokens_used": literal_column("0"),
    "cost_estimate": bindparam("p_free", type_=_C.cost_estimate.type),
    "unpriced_calls": literal_column("0"),
    "error_message": _C.error_message,
    "step_metadata": _C.step_metadata,
    "created_at": DbNow(),
    "completed_at": DbNow(),
    "step_key": _C.step_key,
    "map_index": _C.map_index,
    "map_size": bindparam("p_size", type_=_C.map_size.type),
    "batch_id": bindparam("p_batch", type_=_C.batch_id.type),
    "pending_dependencies": literal_column("0"),
    "advanced": literal_column("true"),
    # A program may ask how many attempts a call that failed had.
    "attempt": case((_C.status == StepState.FAILED, _C.attempt), else_=0),
    "recoveries": literal_column("0"),
    "resends": literal_column("0"),
    "result": bindparam("p_result", type_=_C.result.type),
    "error_type": _C.error_type,
    "spec": bindparam("p_spec", type_=_C.spec.type),
    "observed": bindparam("p_observed", type_=_C.observed.type),
    "cached_from": case(
        (bindparam("p_hit", type_=_C.advanced.type), func.coalesce(_C.cached_from, _C.id))
    ),
    "saved_tokens": bindparam("p_tokens", type_=_C.saved_tokens.type),
    "saved_cost": bindparam("p_cost", type_=_C.saved_cost.type),
}
_INSERT = insert(STEPS).from_select(
    list(_REUSED), select(*_REUSED.values()).where(_C.id == bindparam("p_old", type_=_C.id.type))
)


class SqlReruns(Repository, Reruns):
    """Implements `flowq.engine.ports.Reruns`."""

    @override
    def old_run(self, run_id: RunId) -> OldRun | None:
        row = self._run(_OLD_RUN, {"p_run": run_id}).first()
        if row is None:
            return None
        return OldRun(
            id=run_id,
            flow_name=row.flow_name,
            status=RunState(row.status),
            inputs=row.inputs,
            spec=flow_spec(row.spec_text),
            user_id=row.user_id,
            metadata=row.flow_metadata or {},
            budget=budget_of_row(row.budget_usd, row.budget_tokens, row.budget_action),
            document_id=row.document_id,
            priority=row.priority,
            started_at=row.started_at,
            continued_as=RunId(row.continued_as) if row.continued_as else None,
        )

    @override
    def old_steps(self, run_id: RunId, keys: Sequence[str] | None = None) -> list[OldStep]:
        given = {"p_run": run_id}
        if keys is None:
            rows: Iterable[Sequence[Any]] = self._run(_OLD_STEPS, given).all()
            below: Iterable[Sequence[Any]] = self._run(_BELOW, given)
        else:
            rows = list(self._run_parts(_SOME_STEPS, given, keys))
            below = self._run_parts(_BELOW_SOME, given, keys)
        spent = {row[0]: (int(row[1]), row[2]) for row in below}
        return [_old_step(row, *spent.get(row[0], (0, Decimal(0)))) for row in rows]

    @override
    def keep(self, run_id: RunId) -> bool:
        return self._run(_KEEP, {"p_run": run_id}).first() is not None

    @override
    def insert_reused(self, run_id: RunId, steps: Sequence[ReusedStep]) -> None:
        if steps:
            self._run(_INSERT, [_parameters(run_id, step) for step in steps])

    @override
    def reruns_of(self, run_id: RunId) -> list[RunId]:
        return [RunId(row[0]) for row in self._run(_RERUNS, {"p_run": run_id})]


def _old_step(row: Sequence[Any], tokens_below: int, cost_below: Decimal) -> OldStep:
    spec, failed = row[9], row[12]
    return OldStep(
        id=StepRunId(row[0]),
        key=row[1],
        name=row[2],
        order=row[3],
        map_index=row[4],
        map_size=row[5],
        status=StepState(row[6]),
        result=result_ref(row[7]),
        inputs=row[8],
        call=None if spec is None else call_spec(spec, row[8]),
        observed=row[10],
        completed_at=row[11],
        failed_step_id=StepRunId(failed) if failed else None,
        tokens=int(row[13]) + tokens_below,
        cost=row[14] + cost_below,
        error_type=row[15],
        error_message=row[16],
    )


def _parameters(run_id: RunId, step: ReusedStep) -> Mapping[str, Any]:
    old, ref = step.old, step.result
    hit = _is_hit(step)
    return {
        "p_id": step.id,
        "p_run": run_id,
        "p_old": old.id,
        "p_order": step.order,
        "p_copied_from": step.copied_from,
        "p_free": Decimal(0),
        # Items are reused with a map that has completed only.
        "p_size": old.map_size if old.status is StepState.COMPLETED else None,
        "p_batch": step.batch,
        "p_result": None if ref is None else ref.model_dump(mode="json", exclude_defaults=True),
        "p_spec": None if step.call is None else _recorded(step.call),
        "p_observed": step.observed,
        "p_hit": hit,
        "p_tokens": old.tokens if hit else None,
        "p_cost": old.cost if hit else None,
    }


def _is_hit(step: ReusedStep) -> bool:
    """Return whether a row has the result of a step, and so is counted as a hit."""
    old = step.old
    waits = old.call is not None and old.call.kind in (StepKind.TIMER, StepKind.SIGNAL)
    return old.status is StepState.COMPLETED and old.map_size is None and not waits


def _recorded(call: CallSpec) -> Mapping[str, Any]:
    return call.model_dump(mode="json", exclude_defaults=True, exclude={"arguments"})

"""What must hold for runs: something continues each run, or all of it has ended."""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, exists, false, func, or_, select

from flowq.adapters.records.invariants.base import (
    CALLED,
    ENDED,
    IS_MAP,
    IS_PROGRAM,
    LEASED,
    LONG_AGO,
    NODE,
    RUN_ENDED,
    Check,
    R,
    S,
    in_state,
    runs,
    steps,
)
from flowq.adapters.records.sql.repository import DOCUMENTS, RUNS, STEPS
from flowq.adapters.records.sql.types import json_text
from flowq.core.spec import StepKind
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState, StopKind

_K = RUNS.alias("child").c


def _has(*where: Any) -> ColumnElement[bool]:
    """Return whether a run has a step of this kind."""
    return exists().where(S.flow_run_id == R.id, *where).correlate(RUNS)


_MOVES = case(
    (
        R.status == RunState.RUNNING,
        _has(
            or_(
                in_state(StepState.QUEUED, StepState.RETRYING, StepState.WAITING),
                and_(in_state(StepState.PENDING), S.pending_dependencies == 0),
                LEASED,
            )
        ),
    ),
    else_=_has(or_(in_state(StepState.WAITING), LEASED, and_(~ENDED, S.shielded_until > LONG_AGO))),
)
_LAST = func.coalesce(
    select(func.max(S.completed_at)).where(S.flow_run_id == R.id).correlate(RUNS).scalar_subquery(),
    R.started_at,
    R.created_at,
)
_AT_REST = runs(
    and_(
        R.status.in_((RunState.RUNNING, RunState.CANCELLING)),
        ~_MOVES,
        _LAST <= LONG_AGO,
        or_(R.cancel_requested_at.is_(None), R.cancel_requested_at <= LONG_AGO),
    ),
    "it is {status}, but no step of it moves",
)

_TIMES = runs(
    R.completed_at.is_not(None) != RUN_ENDED, "it is {status}, completed_at is {completed_at}"
)
_STILL_OPEN = steps(
    and_(S.flow_run_id == R.id, RUN_ENDED, ~ENDED),
    "the run is {run}, this step {status}",
    run=R.status,
    of=STEPS.join(RUNS),
)

#: Items of a map are counted, not its node. Cancelled steps were not done.
_SUMS = (
    select(
        S.flow_run_id.label("run_id"),
        func.count().filter(~IS_MAP).label("total"),
        func.count()
        .filter(
            ~IS_MAP,
            in_state(StepState.COMPLETED, StepState.SKIPPED, StepState.FAILED),
        )
        .label("done"),
        func.sum(S.tokens_used).label("tokens"),
        func.sum(S.cost_estimate).label("cost"),
        func.sum(S.unpriced_calls).label("unpriced"),
    )
    .group_by(S.flow_run_id)
    .subquery("sums")
)

_WRITTEN: Final = {
    "total": R.total_steps,
    "done": R.step_progress,
    "tokens": R.total_tokens,
    "cost": R.total_cost,
    "unpriced": R.unpriced_calls,
}
_SUMMED = {name: func.coalesce(_SUMS.c[name], 0) for name in _WRITTEN}
_TOTALS = runs(
    and_(
        RUN_ENDED,
        or_(*(_WRITTEN[name].is_distinct_from(total) for name, total in _SUMMED.items())),
    ),
    "".join(
        f"{one.key} is {{{one.key}}}, its steps make {{{name}}}; " for name, one in _WRITTEN.items()
    ),
    of=RUNS.outerjoin(_SUMS, _SUMS.c.run_id == R.id),
    **_SUMMED,
)


_OUTCOME = [
    steps(
        and_(NODE, ~CALLED, R.status == RunState.COMPLETED, in_state(StepState.CANCELLED)),
        "the run is completed, this step cancelled",
        of=STEPS.join(RUNS),
    ),
    runs(
        and_(R.status == RunState.FAILED, R.error_message.is_(None)),
        "it has failed without an error",
    ),
    runs(
        and_(R.status == RunState.COMPLETED, R.error_message.is_not(None)),
        "it has completed with the error {error_message}",
    ),
]

_failed_step = STEPS.alias("failed_step").c
_STOP = runs(
    or_(
        R.stop_kind.is_(None) != R.error_message.is_(None),
        func.coalesce(R.stop_kind == StopKind.FAILED, false()) != R.failed_step_id.is_not(None),
        and_(
            R.failed_step_id.is_not(None),
            ~exists().where(
                _failed_step.id == R.failed_step_id,
                _failed_step.flow_run_id == R.id,
                _failed_step.map_index.is_(None),
                _failed_step.status == StepState.FAILED,
            ),
        ),
    ),
    "stop_kind is {stop_kind}, failed_step_id is {failed_step_id}, "
    "error_message is {error_message}",
)

_OPEN_CHILD = exists().where(
    _K.parent_step_run_id == S.id, _K.status.not_in(tuple(TERMINAL_RUN_STATES))
)
_OF_FLOW = or_(and_(~CALLED, ~IS_PROGRAM), and_(CALLED, json_text(S.spec, "kind") == StepKind.FLOW))
_CHILDLESS = steps(
    and_(in_state(StepState.WAITING), _OF_FLOW, ~_OPEN_CHILD),
    "it waits for no child run that is open",
)
_PARENT = RUNS.outerjoin(STEPS, S.id == R.parent_step_run_id)
_ALONE = runs(
    and_(
        R.parent_step_run_id.is_not(None),
        # A child that is being cancelled may end after its parent step.
        R.status.in_((RunState.PENDING, RunState.RUNNING, RunState.PAUSED)),
        or_(
            S.id.is_(None),
            and_(
                ~in_state(StepState.WAITING),
                or_(S.completed_at.is_(None), S.completed_at <= LONG_AGO),
            ),
        ),
    ),
    "it is {status}, the step {parent_step_run_id} that waits for it is {step}",
    step=S.status,
    of=_PARENT,
)

_NO_DOCUMENT = runs(
    and_(R.document_id.is_not(None), ~exists().where(DOCUMENTS.c.id == R.document_id)),
    "it was started from the document {document_id}, which does not exist",
)

_O = RUNS.alias("earlier").c
_EARLIER_GONE = runs(
    and_(R.rerun_of.is_not(None), ~exists().where(_O.id == R.rerun_of)),
    "it reruns {rerun_of}, which does not exist",
)
_NOT_RUN = steps(
    and_(
        in_state(StepState.COMPLETED),
        S.cached_from.is_not(None),
        S.attempt == 0,
        R.rerun_of.is_(None),
    ),
    "it has a result without an attempt, and its run is no rerun",
    of=STEPS.join(RUNS),
)

RUN_CHECKS: Final = (
    Check("run moves", "A run that is open has a step that will move it.", [_AT_REST]),
    Check("run ends", "Exactly the terminal runs have an end time.", [_TIMES]),
    Check("run is whole", "All steps of a terminal run are terminal.", [_STILL_OPEN]),
    Check(
        "run totals",
        "Totals and progress of a terminal run are sums over its steps.",
        [_TOTALS],
    ),
    Check(
        "run outcome",
        "A failed run has an error; a completed one has none, and no cancelled step.",
        _OUTCOME,
    ),
    Check(
        "run stop",
        "Why a run is paused or has stopped has a text and a kind; exactly the kind `failed` names "
        "a node of the run, which has failed.",
        [_STOP],
    ),
    Check(
        "child run",
        "A step waits exactly as long as its child run is open.",
        [_CHILDLESS, _ALONE],
    ),
    Check(
        "run document",
        "The stored document that a run was started from exists.",
        [_NO_DOCUMENT],
    ),
    Check(
        "rerun",
        "The run that a rerun repeats exists, and only a rerun has results without an attempt.",
        [_EARLIER_GONE, _NOT_RUN],
    ),
)

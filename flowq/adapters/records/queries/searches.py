"""Conditions and orders of lists of runs that the indexes of `flow_runs` do not answer.

They are tried on the newest `MAX_SEARCHED` runs that match everything else: so a search takes as
long with a million runs as with ten thousand. A run needs attention if it is paused, or a step of
it waits for a signal, was sent to a queue several times while no step of its name ran, or is held
by a worker that has not renewed its lease; or if it has made no progress for long, and nothing will
wake it. What waits in a line is woken: a run for its singleton key, a step in the line of its share
or of a limit. So is what waits for a child run: that run, or one before it, needs attention.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, exists, func, literal_column, or_, select

from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.sql.tables import LEASED, OPEN, OPEN_RUN, QUEUED
from flowq.adapters.records.sql.types import DbNow, ElapsedMs, json_entry, json_text
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.queries.lists import RunFilter, RunSort

_R, _S = RUNS.c, STEPS.c
#: A message that was sent so often was not taken for about a minute.
_RESENT: Final = 3
#: A queued step that is due after more seconds is in a line.
_FAR: Final = 86_400.0
#: Seconds after the end of a lease, and without progress.
_LOST, _STALLED = 30.0, 3600.0
_FAILED: Final[ColumnElement[str]] = literal_column(f"'{StepState.FAILED}'")
_child, _leased = RUNS.alias("child"), STEPS.alias("leased")
#: As `LEASED`, of another row; a literal, so that the partial index is used.
_IS_LEASED: Final = and_(
    _leased.c.status == literal_column(f"'{StepState.RUNNING}'"),
    _leased.c.lease_expires_at.is_not(None),
)
_AT: Final = func.coalesce(_S.completed_at, _S.started_at)


def searched(wanted: RunFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter that are tried on each run."""
    found: list[ColumnElement[bool]] = []
    if wanted.user_part is not None:
        found.append(_R.user_id.icontains(wanted.user_part, autoescape=True))
    if wanted.step is not None:
        of_run = select(_S.id).where(
            _S.flow_run_id == _R.id,
            or_(_S.step_key == wanted.step, _S.step_name == wanted.step),
        )
        found.append(of_run.exists())
    for column, entries in ((_R.flow_metadata, wanted.metadata), (_R.inputs, wanted.inputs)):
        found += [json_entry(column, key) == text for key, text in entries]
    return found


def has_failed_with(error_type: str) -> ColumnElement[bool]:
    """Return whether a step of a run has failed with an error of a class."""
    failed = select(_S.flow_run_id).where(_S.status == _FAILED, _S.error_type == error_type)
    return _R.id.in_(failed)


def needs_attention() -> ColumnElement[bool]:
    """Return whether a run needs somebody."""
    waits = and_(_S.status == StepState.WAITING, json_text(_S.spec, "kind") == StepKind.SIGNAL)
    taken = exists().where(_IS_LEASED, _leased.c.step_name == _S.step_name)
    steps = [
        and_(OPEN, _S.spec.is_not(None), waits),
        and_(QUEUED, _S.resends >= _RESENT, _S.wake_at < DbNow(_FAR), ~taken),
        and_(LEASED, _S.lease_expires_at < DbNow(-_LOST)),
    ]
    recent = select(_S.id).where(
        _S.flow_run_id == _R.id,
        or_(
            DbNow(-_STALLED) < _AT,
            and_(_S.status.in_((StepState.WAITING, StepState.RETRYING)), _S.wake_at > DbNow()),
            and_(_S.status == StepState.QUEUED, _S.wake_at > DbNow(_FAR)),
            exists().where(_child.c.parent_step_run_id == _S.id, _child.c.completed_at.is_(None)),
        ),
    )
    in_line = and_(_R.singleton_key.is_not(None), _R.status == RunState.PENDING)
    since = func.coalesce(_R.starts_at, _R.started_at, _R.created_at)
    stalled = and_(since < DbNow(-_STALLED), ~in_line, ~recent.exists())
    those = [_R.id.in_(select(_S.flow_run_id).where(one)) for one in steps]
    return and_(OPEN_RUN, or_(_R.status == RunState.PAUSED, *those, stalled))


def order_of(sort: RunSort) -> list[Any]:
    """Return the order of a list; the id decides between equal runs."""
    if sort is RunSort.OLDEST:
        return [_R.id]
    by: dict[RunSort, Any] = {
        RunSort.LONGEST: func.coalesce(
            _R.execution_time_ms, case((_R.completed_at.is_(None), ElapsedMs(_R.started_at))), 0
        ).desc(),
        RunSort.COSTLIEST: _R.total_cost.desc(),
        RunSort.STALLED: func.coalesce(
            select(func.max(_AT)).where(_S.flow_run_id == _R.id).scalar_subquery(), _R.created_at
        ),
    }
    # Of two that take equally many milliseconds the earlier one takes longer.
    return [by[sort], _R.id if sort is RunSort.LONGEST else _R.id.desc()]

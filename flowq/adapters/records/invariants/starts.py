"""What must hold for runs that have not begun: nothing of them is sent, and something starts them.

That at most one run of a singleton key is in flight needs no check here: a unique index holds it.
"""

from typing import Final

from sqlalchemy import and_, exists, or_

from flowq.adapters.records.invariants.base import LONG_AGO, RUN_ENDED, Check, R, S, in_state, runs
from flowq.adapters.records.sql.repository import RUNS
from flowq.core.states import RunState, StepState

_other = RUNS.alias("other").c
_HAS_BEGUN: Final = exists().where(
    S.flow_run_id == R.id, ~in_state(StepState.PENDING, StepState.CANCELLED)
)
_BEGUN_TOO_EARLY: Final = runs(
    and_(R.status == RunState.PENDING, or_(_HAS_BEGUN, R.started_at.is_not(None))),
    "it is pending, but a step of it was queued, or it has a time at which it began",
)
#: The run that has the key now, or has had it a moment ago.
_KEY_TAKEN: Final = exists().where(
    _other.flow_name == R.flow_name,
    _other.singleton_key == R.singleton_key,
    _other.id != R.id,
    or_(
        and_(_other.started_at.is_not(None), _other.completed_at.is_(None)),
        _other.completed_at > LONG_AGO,
    ),
)
_NEVER: Final = runs(
    and_(
        R.status == RunState.PENDING,
        R.starts_at.is_(None),
        R.created_at <= LONG_AGO,
        or_(R.singleton_key.is_(None), ~_KEY_TAKEN),
    ),
    "it is pending, has no time to begin, and waits for no run; its singleton_key is "
    "{singleton_key}",
)
_OVERDUE: Final = runs(
    and_(R.status == RunState.PENDING, R.starts_at <= LONG_AGO),
    "it is pending, and should have begun at {starts_at}",
)
_BEGUN: Final = runs(
    and_(~RUN_ENDED, R.status == RunState.RUNNING, R.starts_at.is_not(None)),
    "it is {status}, and still has a time to begin, {starts_at}",
)

START_CHECKS: Final = (
    Check("run is pending", "Nothing of a pending run was queued.", [_BEGUN_TOO_EARLY, _BEGUN]),
    Check(
        "run begins",
        "A pending run has a time to begin, which is not long past, or waits for another run of "
        "its singleton key.",
        [_NEVER, _OVERDUE],
    ),
)

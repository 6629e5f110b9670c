"""How a program is woken: by the end of a call, by time, or by a cancel.

The end of a call locks the program's row, also if the program is running: then the program sees the
end when it suspends, see `suspend`. It locks it before the rows of ended calls, as a suspension
does, so there are no deadlocks.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import STEPS, Repository, state_of
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.adapters.records.steps.attempts import COMPLETED, completion_parameters
from flowq.core.ids import BatchId, RunId, StepRunId, parse_batch
from flowq.core.results import NO_RESULT
from flowq.core.spec import StepKind
from flowq.core.states import ACTIVE_STEP_STATES, TERMINAL_STEP_STATES, StepState
from flowq.engine.model.rows import Claim, Outcome, StepRef
from flowq.engine.ports.steps import ProgramRows

_C = STEPS.c
_WAITING = StepState.WAITING
_RESEND = DbNow(bindparam("p_resend", type_=Float))
#: Written out, so that the indexes of what is called serve.
_ENDED = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STEP_STATES))

_one = STEPS.alias("one")
_member = STEPS.alias("member")


_OPEN_MEMBER: ColumnElement[bool] = literal_column(
    "member.status IN (" + ", ".join(f"'{s}'" for s in sorted(ACTIVE_STEP_STATES)) + ")"
)


def has_ended(row: Any) -> Any:
    """Return whether a call lets its program be woken: its group has ended, or a call failed."""
    open_member = exists().where(
        _member.c.flow_run_id == row.c.flow_run_id,
        _member.c.batch_id == row.c.batch_id,
        _OPEN_MEMBER,
    )
    ended: ColumnElement[bool] = literal_column(f"{row.name}.status IN ({_ENDED})")
    return and_(ended, or_(row.c.status == StepState.FAILED, ~open_member))


_OF_BATCH = and_(_one.c.flow_run_id == bindparam("p_run"), _one.c.batch_id == bindparam("p_batch"))
_READY = Prepared(select(_one.c.id).where(_OF_BATCH, has_ended(_one)).limit(1))
#: Its lock is taken also while it runs: then it sees ended calls when it suspends.
TO_WAKE = and_(_C.id == bindparam("p_program"), state_of(STEPS).in_((_WAITING, StepState.RUNNING)))
WAKING = (
    update(STEPS)
    .where(TO_WAKE)
    .values(
        status=case((_C.status == _WAITING, StepState.QUEUED), else_=_C.status),
        wake_at=case((_C.status == _WAITING, _RESEND), else_=_C.wake_at),
    )
    .returning(_C.status)
)
WAKE = Prepared(WAKING)
_GO_ON = Prepared(
    update(STEPS)
    .where(
        _C.flow_run_id == bindparam("p_run"),
        _C.batch_id == bindparam("p_batch"),
        _C.advanced.is_(False),
        _C.status.in_(tuple(TERMINAL_STEP_STATES)),
    )
    .values(advanced=True)
)

_COMPLETE_CALL = Prepared(COMPLETED.returning(_C.batch_id))

#: A message may be slightly early by the database's clock.
_EARLY: Final = 0.02


def of_kind(kind: StepKind) -> Any:
    """Return whether a call is of a kind."""
    return json_text(_C.spec, "kind") == kind


#: The kinds of calls that wait.
_WAITED_FOR: Final = (StepKind.TIMER, StepKind.SIGNAL, StepKind.FLOW)


def of_unknown_kind(row: Any) -> ColumnElement[bool]:
    """Return whether a waiting call is of an unknown kind, or of one that cannot wait."""
    waiting: ColumnElement[bool] = literal_column(f"{row.name}.status = '{_WAITING}'")
    kind = func.coalesce(json_text(row.c.spec, "kind"), "")
    return and_(waiting, row.c.spec.is_not(None), kind.not_in(_WAITED_FOR))


#: How a timed wait ends when its time has come: by kind.
ENDINGS: Final[Mapping[StepKind, Mapping[str, Any]]] = {
    StepKind.TIMER: {
        "status": StepState.COMPLETED,
        "result": NO_RESULT.model_dump(mode="json", exclude_defaults=True),
        "completed_at": DbNow(),
        "wake_at": None,
    },
    StepKind.SIGNAL: {
        "status": StepState.FAILED,
        "error_type": "SignalTimeout",
        "error_message": "the signal did not arrive in time",
        "completed_at": DbNow(),
        "wake_at": None,
    },
}
_TIMED = and_(_C.flow_run_id == bindparam("p_run"), _C.status == _WAITING, _C.wake_at.is_not(None))
_END_TIMERS = [
    update(STEPS)
    .where(_TIMED, _C.wake_at <= DbNow(_EARLY), of_kind(kind))
    .values(**values)
    .returning(_C.batch_id)
    for kind, values in ENDINGS.items()
]
_NEXT_TIMER = select(func.min(_C.wake_at), DbNow()).where(_TIMED)

_NEVER_BEGUN = _C.started_at.is_(None)
_SLEEPS = _C.status.in_((_WAITING, StepState.RETRYING))
_SHIELD = Prepared(
    update(STEPS)
    .where(
        _C.flow_run_id == bindparam("p_run"),
        _C.map_index.is_(None),
        _C.spec.is_(None),
        _C.observed.is_not(None),
        _C.shielded_until.is_(None),
        _C.status.in_(tuple(ACTIVE_STEP_STATES)),
    )
    .values(
        status=case(
            (_NEVER_BEGUN, StepState.CANCELLED), (_SLEEPS, StepState.QUEUED), else_=_C.status
        ),
        shielded_until=case((_NEVER_BEGUN, None), else_=DbNow(bindparam("p_limit", type_=Float))),
        # A queued one may have been parked by a pause.
        wake_at=case((_NEVER_BEGUN, None), (_C.status == StepState.RUNNING, None), else_=_RESEND),
        completed_at=case((_NEVER_BEGUN, DbNow())),
        advanced=case((_NEVER_BEGUN, True), else_=_C.advanced),
    )
    .returning(_C.step_key, _C.status)
)


class ProgramWakes(Repository, ProgramRows):
    """The programs' part of `FlowStepRunRepo` that wakes."""

    @override
    def wake(self, program: StepRunId, batch: BatchId, resend_after: timedelta) -> bool:
        run = {"p_run": parse_batch(batch)[1], "p_batch": batch}
        if self._run(_READY, run).first() is None:
            return False
        given = {"p_program": program, "p_resend": resend_after.total_seconds()}
        state = self._run(WAKE, given).scalar()
        self._run(_GO_ON, run)
        return bool(state == StepState.QUEUED)

    @override
    def complete_call(self, claim: Claim, outcome: Outcome) -> BatchId | None:
        given = completion_parameters(claim, outcome, advanced=False)
        batch = self._run(_COMPLETE_CALL, given).scalar()
        return None if batch is None else BatchId(batch)

    @override
    def end_timers(self, run_id: RunId) -> list[BatchId]:
        return [
            BatchId(row[0])
            for statement in _END_TIMERS
            for row in self._run(statement, {"p_run": run_id})
        ]

    @override
    def next_timer(self, run_id: RunId) -> timedelta | None:
        row = self._run(_NEXT_TIMER, {"p_run": run_id}).first()
        return None if row is None or row[0] is None else row[0] - row[1]

    @override
    def shield(self, run_id: RunId, limit: timedelta, resend_after: timedelta) -> StepRef | None:
        given = {"p_run": run_id, "p_limit": limit.total_seconds()}
        given["p_resend"] = resend_after.total_seconds()
        row = self._run(_SHIELD, given).first()
        if row is None or row[1] == StepState.CANCELLED:
            return None
        return StepRef(run_id, row[0], None)

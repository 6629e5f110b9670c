"""The end of a call that its program awaits alone, and what follows: it is queued, or resumed.

On PostgreSQL the completion and the program's UPDATE are one statement: the second runs only if the
first has changed its row, and both are committed together. Whoever keeps the live program claims it
in that UPDATE, and the statement reads what the program observes; the completed call comes from
RETURNING, since a statement does not see its own changes. SQLite has no data-modifying CTEs: there
it is a few statements in one transaction.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, and_, bindparam, case, exists, or_, select, true, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempts import (
    CLAIM_COLUMNS,
    COMPLETED,
    AttemptWrites,
    claim_of_row,
    completion_parameters,
)
from flowq.adapters.records.steps.program_reads import (
    CALL,
    ENDED_SINCE,
    STATE,
    ProgramReads,
    call_columns,
    called_row,
    program_state,
    state_columns,
)
from flowq.adapters.records.steps.wake import TO_WAKE, WAKE, WAKING, ProgramWakes
from flowq.core.ids import StepRunId
from flowq.core.states import RunState, StepState
from flowq.engine.model.programs import ResumedProgram, Resuming, WokenProgram
from flowq.engine.model.rows import Claim, Outcome

_C = STEPS.c
_IS_WAITING = _C.status == StepState.WAITING
#: Its run is running, or the program cleans up after a cancel.
_GOES_ON = and_(
    _IS_WAITING,
    or_(
        RUNS.c.status == RunState.RUNNING,
        and_(_C.shielded_until > DbNow(), RUNS.c.status == RunState.CANCELLING),
    ),
)


def _if_resumed(column: Any, value: Any) -> Any:
    return case((_GOES_ON, value), else_=column)


_done = COMPLETED.returning(*call_columns(STEPS)).cte("done")
_IS_DONE = exists(select(_done.c.id))
_woken = WAKING.where(_IS_DONE).cte("woken")
_COMPLETE_AND_WAKE = Prepared(
    select(_done.c.id, _woken.c.status).select_from(_done.outerjoin(_woken, true()))
)
_resumed = (
    update(STEPS)
    .where(TO_WAKE, RUNS.c.id == _C.flow_run_id, _IS_DONE)
    .values(
        status=case(
            (_GOES_ON, StepState.RUNNING), (_IS_WAITING, StepState.QUEUED), else_=_C.status
        ),
        attempt=_if_resumed(_C.attempt, _C.attempt + 1),
        lease_token=_if_resumed(_C.lease_token, bindparam("p_next", type_=_C.lease_token.type)),
        lease_expires_at=_if_resumed(_C.lease_expires_at, DbNow(bindparam("p_lease", type_=Float))),
        started_at=_if_resumed(_C.started_at, DbNow()),
        wake_at=case(
            (_GOES_ON, None),
            (_IS_WAITING, DbNow(bindparam("p_resend", type_=Float))),
            else_=_C.wake_at,
        ),
        resends=_if_resumed(_C.resends, 0),
        worker=_if_resumed(_C.worker, bindparam("p_worker", type_=_C.worker.type)),
    )
    .returning(*state_columns(STEPS), _C.lease_token, *CLAIM_COLUMNS)
    .cte("resumed")
)
_CALL: Final = len(_done.c)
_CLAIM: Final = _CALL + STATE + 1
_ROW: Final = _CALL + len(_resumed.c)
_COMPLETE_AND_RESUME = Prepared(
    select(*_done.c, *_resumed.c, *call_columns(CALL)).select_from(
        _done.outerjoin(_resumed, true()).outerjoin(
            CALL, and_(CALL.c.flow_run_id == _resumed.c.flow_run_id, ENDED_SINCE)
        )
    )
)
_COMPLETE = Prepared(COMPLETED)


class ProgramResumes(AttemptWrites, ProgramReads, ProgramWakes):
    """The programs' part of `FlowStepRunRepo` that ends a call and resumes its program."""

    @override
    def complete_and_wake(
        self,
        claim: Claim,
        outcome: Outcome,
        program: StepRunId,
        resend_after: timedelta,
        resuming: Resuming | None = None,
    ) -> WokenProgram | None:
        given = completion_parameters(claim, outcome, advanced=True)
        waking = {"p_program": program, "p_resend": resend_after.total_seconds()}
        if self._connection.dialect.name == "sqlite":
            if not self._changes(_COMPLETE, given):
                return None
            queued = self._run(WAKE, waking).scalar() == StepState.QUEUED
            resumed = self._claimed(program, resuming) if queued and resuming else None
            return WokenProgram(queued and resumed is None, resumed)
        if resuming is None:
            row = self._run(_COMPLETE_AND_WAKE, {**given, **waking}).first()
            return None if row is None else WokenProgram(row[1] == StepState.QUEUED)
        claiming = {
            "p_next": resuming.token,
            "p_lease": resuming.lease.total_seconds(),
            "p_worker": resuming.worker,
            "p_after": resuming.after,
        }
        rows = self._run(_COMPLETE_AND_RESUME, {**given, **waking, **claiming}).all()
        return _woken_program(program, rows, resuming) if rows else None

    def _claimed(self, program: StepRunId, resuming: Resuming) -> ResumedProgram | None:
        """Claim a queued program and read it; None if its run does not go on."""
        claim = self.claim(
            program, token=resuming.token, lease=resuming.lease, worker=resuming.worker
        )
        state = self.program(program, after=resuming.after) if claim is not None else None
        if claim is None or state is None:
            return None
        return ResumedProgram(claim, state, resuming.after)


def _woken_program(
    program: StepRunId, rows: Sequence[Sequence[Any]], resuming: Resuming
) -> WokenProgram:
    first = rows[0]
    if first[_CLAIM - 1] != resuming.token:
        return WokenProgram(queued=first[_CLAIM - 2] == StepState.QUEUED)
    claim = claim_of_row(program, resuming.token, first[_CLAIM:_ROW], [])
    others = [called_row(row[_ROW:]) for row in rows if row[_ROW] is not None]
    state = program_state(first[_CALL : _CALL + STATE], [called_row(first[:_CALL]), *others])
    return WokenProgram(resumed=ResumedProgram(claim, state, resuming.after))

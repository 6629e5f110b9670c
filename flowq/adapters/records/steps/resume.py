"""The end of a call that its program awaits alone, and what follows: it is queued, or resumed.

On PostgreSQL the completion and the program's UPDATE are one statement: the second runs only if the
first has changed its row, and both are committed together. The process that keeps the live program
claims it in that UPDATE. The completed call comes from RETURNING, since a statement does not see
its own changes; if other calls have ended too, a second statement reads the program's state. A
program that cannot be claimed now is woken by a second statement, after the commit of the end; if
the process dies in between, the sweeper finds the unseen call. SQLite has no data-modifying CTEs:
there it is one transaction.
"""

from datetime import timedelta
from typing import Final

from sqlalchemy import Float, bindparam, exists, select, true, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared, Row
from flowq.adapters.records.sql.repository import GOES_ON, RUNS, STEPS, state_of
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
    program_state,
    state_columns,
)
from flowq.adapters.records.steps.wake import WAKE, WAKING, ProgramWakes
from flowq.core.ids import BatchId, StepRunId
from flowq.core.states import StepState
from flowq.engine.model.programs import CalledRow, ResumedProgram, Resuming, WokenProgram
from flowq.engine.model.rows import Claim, Outcome, StoredStep

_C = STEPS.c

_done = COMPLETED.returning(_C.id, _C.batch_id, _C.completed_at, _C.step_metadata).cte("done")
_woken = WAKING.where(exists(select(_done.c.id))).cte("woken")
_COMPLETE_AND_WAKE = Prepared(
    select(_done.c.id, _woken.c.status).select_from(_done.outerjoin(_woken, true()))
)
_resumed = (
    update(STEPS)
    .where(
        _C.id == bindparam("p_program"),
        state_of(STEPS) == StepState.WAITING,
        RUNS.c.id == _C.flow_run_id,
        GOES_ON,
        exists(select(_done.c.id)),
    )
    .values(
        status=StepState.RUNNING,
        attempt=_C.attempt + 1,
        lease_token=bindparam("p_next", type_=_C.lease_token.type),
        lease_expires_at=DbNow(bindparam("p_lease", type_=Float)),
        started_at=DbNow(),
        wake_at=None,
        resends=0,
        worker=bindparam("p_worker", type_=_C.worker.type),
    )
    .returning(*state_columns(STEPS), *CLAIM_COLUMNS)
    .cte("resumed")
)
_CALL: Final = len(_done.c)
_CLAIM: Final = _CALL + STATE
_ROW: Final = _CALL + len(_resumed.c)
_others = exists().where(CALL.c.flow_run_id == _resumed.c.flow_run_id, ENDED_SINCE)
_COMPLETE_AND_RESUME = Prepared(
    select(*_done.c, *_resumed.c, _others).select_from(_done.outerjoin(_resumed, true()))
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
            resumed = self.resume(program, resuming) if queued and resuming else None
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
        row = self._run(_COMPLETE_AND_RESUME, {**given, **waking, **claiming}).first()
        if row is None:
            return None
        if row[_CLAIM] is None:  # the run's id
            # Running, or its run is not. The end is committed, so nothing is missed.
            queued = self._run(WAKE, waking).scalar() == StepState.QUEUED
            return WokenProgram(queued)
        own = claim_of_row(program, resuming.token, row[_CLAIM:_ROW], [])
        state = program_state(row[_CALL:_CLAIM], [_completed(row, claim, outcome)])
        if row[_ROW]:  # other calls have ended
            state = self.program(program, after=resuming.after) or state
        return WokenProgram(resumed=ResumedProgram(own, state, resuming.after))

    @override
    def resume(self, program: StepRunId, resuming: Resuming) -> ResumedProgram | None:
        claim = self.claim(
            program, token=resuming.token, lease=resuming.lease, worker=resuming.worker
        )
        state = self.program(program, after=resuming.after) if claim is not None else None
        if claim is None or state is None:
            return None
        return ResumedProgram(claim, state, resuming.after)


def _completed(row: Row, claim: Claim, outcome: Outcome) -> CalledRow:
    """Return a call as its row is now; most of it was read by its claim."""
    assert claim.spec is not None
    _, batch, completed_at, metadata = row[:_CALL]
    state, result = StepState.COMPLETED, outcome.result
    stored = StoredStep(claim.key, None, state, claim.attempt, result, None, None, None, metadata)
    return CalledRow(claim.id, claim.spec, BatchId(batch), None, completed_at, stored)

"""What a program that awaits one call records, in one statement: its next call, what it has seen.

Such a program either runs, and its lease guards the statement; or it waits, and the statement also
ends the call that it awaits. In the second case the live program has seen the end before this is
recorded (see `engine.attempts.programs.ahead`). The statement first locks the row of the program,
and only where that still waits after as many events as the live one had seen. So it writes
everything or nothing, and nobody else can continue the program meanwhile. As elsewhere the row of
the program is locked before those of calls.

A local call runs in the same process, so its row is inserted as it is after a claim, and no
statement claims it. If the process dies, the row's lease expires, as after any claim. A run that is
paused begins no attempts: there nothing is written, and the call is inserted by an ordinary
suspension. SQLite has no data-modifying CTEs: there it is one transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Exists,
    Float,
    and_,
    bindparam,
    exists,
    insert,
    literal,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS, state_of
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempts import COMPLETED, AttemptWrites, completion_parameters
from flowq.adapters.records.steps.suspend import NEW_ROW, SUSPENDED, ProgramWrites, call_row
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.model.programs import Claiming, NewCall, NextCall, Suspension, WaitingProgram
from flowq.engine.model.rows import Claim, Outcome

_C = STEPS.c
_PROGRAM = bindparam("p_program", type_=_C.id.type)
_OBSERVED = bindparam("p_observed", type_=_C.observed.type)

#: The columns of a `next_call`, which is no item and no map, and has not begun; others are NULL.
_QUEUED: Final[Mapping[str, Any]] = {
    **{
        name: value
        for name, value in NEW_ROW.items()
        if name not in ("map_index", "map_size", "started_at", "completed_at", "shielded_until")
    },
    "id": bindparam("p_call", type_=_C.id.type),
    "advanced": False,
}
_CLAIMED: Final[Mapping[str, Any]] = {
    **{name: value for name, value in _QUEUED.items() if name != "wake_at"},
    "attempt": 1,
    "started_at": DbNow(),
    "first_started_at": DbNow(),
    "lease_token": bindparam("p_call_token", type_=_C.lease_token.type),
    "lease_expires_at": DbNow(bindparam("p_lease", type_=Float)),
    "worker": bindparam("p_worker", type_=_C.worker.type),
}


def _run_is(states: Sequence[RunState]) -> ColumnElement[bool]:
    """Return whether the run is in one of these states, and no cancel has reached the program.

    A cancel for whose lock the statement has waited is visible in the program's row only.
    """
    run = exists().where(RUNS.c.id == _C.flow_run_id, state_of(RUNS).in_(states))
    return and_(_C.shielded_until.is_(None), run)


#: A program that waits, and has seen as many events as the live one.
_WAITS = select(_C.id).where(
    _C.id == _PROGRAM,
    state_of(STEPS) == StepState.WAITING,
    _C.observed == bindparam("p_after", type_=_C.observed.type),
    _run_is((RunState.RUNNING,)),
)
#: It sees the end of its call with this statement, so this is its new number of events too.
_ENDED = COMPLETED.values(observed=_OBSERVED)
_SEEN = update(STEPS).where(_C.id == _PROGRAM).values(observed=_OBSERVED)


def _has(rows: CTE) -> Exists:
    return exists(select(rows.c.id))


def _made(row: Mapping[str, Any], after: CTE) -> Prepared:
    """Return the statement that inserts a call, if what comes before it has changed a row."""

    def column(name: str, value: Any) -> ColumnElement[Any]:
        given = literal(value, _C[name].type) if isinstance(value, int) else value
        labelled: ColumnElement[Any] = given.label(name)
        return labelled

    columns = [column(name, value) for name, value in row.items()]
    made = insert(STEPS).from_select(
        list(row), select(*columns).where(_has(after)), include_defaults=False
    )
    return Prepared(select(made.returning(_C.id, _C.started_at).cte("made")))


def _suspending(row: Mapping[str, Any], states: Sequence[RunState]) -> Prepared:
    """Return the statement of a program that runs."""
    suspended = (
        update(STEPS)
        .where(
            _C.id == _PROGRAM,
            _C.lease_token == bindparam("p_token"),
            state_of(STEPS) == StepState.RUNNING,
            _run_is(states),
        )
        .values(**SUSPENDED)
        .returning(_C.id)
        .cte("suspended")
    )
    seen = (
        update(STEPS)
        .where(_C.id == bindparam("p_seen", type_=_C.id.type), _has(suspended))
        .values(observed=bindparam("p_place", type_=_C.observed.type))
        .returning(_C.id)
        .cte("seen")
    )
    made = _made(row, suspended)
    return Prepared(made.statement.add_cte(seen))


def _ending(row: Mapping[str, Any]) -> Prepared:
    """Return the statement of a program that waits for a call that has ended."""
    waits = _WAITS.with_for_update(of=STEPS).cte("waits")
    ended = _ENDED.where(_has(waits)).returning(_C.id).cte("ended")
    seen = _SEEN.where(_has(ended)).returning(_C.id).cte("seen")
    return _made(row, seen)


# By whether the call is claimed:
#: the states of a run in which a suspension makes a call,
_STATES: Final = {False: (RunState.RUNNING, RunState.PAUSED), True: (RunState.RUNNING,)}
#: and the statements.
_SUSPEND: Final = {
    False: _suspending(_QUEUED, _STATES[False]),
    True: _suspending(_CLAIMED, _STATES[True]),
}
_COMPLETE: Final = {False: _ending(_QUEUED), True: _ending(_CLAIMED)}

_WAITS_STILL = Prepared(_WAITS)
_COMPLETE_AS_SEEN = Prepared(_ENDED)
_SEE = Prepared(_SEEN)


class NextCalls(AttemptWrites, ProgramWrites):
    """The programs' part of `FlowStepRunRepo` that records the one call that is awaited next."""

    @override
    def suspend_for_next(
        self, claim: Claim, suspension: Suspension, claiming: Claiming | None = None
    ) -> NextCall | None:
        call = suspension.next_call
        if call is None:
            return None
        if self._connection.dialect.name == "sqlite":
            if FlowRunRepo(self._within).status(claim.run_id) not in _STATES[claiming is not None]:
                return None
            if self.suspend(claim, suspension) is None:
                return None
            return self._claimed(call, claiming)
        seen = next(iter(suspension.seen.items()), (None, None))
        given = {
            **_row(claim.run_id, suspension, call),
            "p_program": claim.id,
            "p_token": claim.token,
            "p_observed": suspension.observed,
            "p_seen": seen[0],
            "p_place": seen[1],
        }
        return self._made(_SUSPEND, given, claim.run_id, call, claiming)

    @override
    def complete_for_next(
        self,
        claim: Claim,
        outcome: Outcome,
        program: WaitingProgram,
        suspension: Suspension,
        claiming: Claiming | None = None,
    ) -> NextCall | None:
        call = suspension.next_call
        if call is None:
            return None
        waits = {"p_program": program.id, "p_after": program.after}
        observed = {"p_observed": suspension.observed}
        ended = {**completion_parameters(claim, outcome, advanced=True), **observed}
        if self._connection.dialect.name == "sqlite":
            if self._run(_WAITS_STILL, waits).first() is None:
                return None
            if not self._changes(_COMPLETE_AS_SEEN, ended):
                return None
            self._run(_SEE, {"p_program": program.id, **observed})
            self._insert_calls(claim.run_id, suspension, None, refused=False)
            return self._claimed(call, claiming)
        given = {**_row(claim.run_id, suspension, call), **ended, **waits}
        return self._made(_COMPLETE, given, claim.run_id, call, claiming)

    def _made(
        self,
        statements: Mapping[bool, Prepared],
        given: dict[str, Any],
        run_id: RunId,
        call: NewCall,
        claiming: Claiming | None,
    ) -> NextCall | None:
        """Run a statement that inserts a call; return what it has inserted, None if nothing."""
        if claiming is None:
            return NextCall() if self._run(statements[False], given).all() else None
        given |= {
            "p_state": StepState.RUNNING,
            "p_call_token": claiming.token,
            "p_lease": claiming.lease.total_seconds(),
            "p_worker": claiming.worker,
        }
        made = self._run(statements[True], given).first()
        if made is None:
            return None
        spec, token = call.spec, claiming.token
        return NextCall(
            Claim(
                call.id, run_id, spec.key, None, 1, 0, token, spec.arguments, spec=spec,
                began_at=made[1],
            )
        )  # fmt: skip

    def _claimed(self, call: NewCall, claiming: Claiming | None) -> NextCall:
        """Claim a call that was inserted in the same transaction."""
        if claiming is None:
            return NextCall()
        lease, worker = claiming.lease, claiming.worker
        return NextCall(self.claim(call.id, token=claiming.token, lease=lease, worker=worker))


def _row(run_id: RunId, suspension: Suspension, call: NewCall) -> dict[str, Any]:
    """Return the parameters of `_QUEUED`."""
    resend = suspension.resend_after.total_seconds()
    return {**call_row(run_id, call, resend, None, refused=False), "p_call": call.id}

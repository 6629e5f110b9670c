"""The writes and reads of a cancel: of a run, its child runs, and its running attempts.

A cancel is a durable state of the run's row: every later claim, start or completion checks it. Two
things need more than a guard in a WHERE. A step that is about to start a child run locks the row of
its own run first, so that either the cancel waits and finds the child, or the step waits and finds
the cancel. And a running attempt is notified by its heartbeat, which reads the runs of its leases
by the index of the leased rows.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, and_, bindparam, case, exists, literal_column, select, update
from typing_extensions import override

from flowq.adapters.records.control.stops import stop_parameters, stop_unless
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import HELD, RUNS, STEPS, USED, Repository, state_of
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import LeaseToken, RunId
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.model.rows import Claim, Outcome
from flowq.engine.model.stops import StopReason
from flowq.engine.model.sweeps import Orphan
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.steps import AttemptRows

_R, _C = RUNS.c, STEPS.c
_OPEN_RUN = _R.status.not_in(tuple(TERMINAL_RUN_STATES))
_ASKED = _R.cancel_requested_at.is_not(None)
_STOPPED = _R.error_message.is_not(None)

_REQUEST = (
    update(RUNS)
    .where(_R.id.in_(bindparam("p_keys", expanding=True)), _OPEN_RUN, ~_ASKED)
    .values(
        status=RunState.CANCELLING,
        cancel_requested_at=DbNow(),
        # If a run was failing already the failure stays the reason; the reason of a pause is
        # replaced.
        **stop_unless(and_(_STOPPED, _R.status != RunState.PAUSED)),
    )
    .returning(_R.id)
)

#: Child runs whose parent step has ended, and that are not cancelled yet.
ORPHANS = (
    select(_R.id, _C.step_key, _C.flow_run_id, _C.status)
    .join(STEPS, _C.id == _R.parent_step_run_id)
    .where(_C.status.in_(tuple(TERMINAL_STEP_STATES)), _OPEN_RUN, ~_ASKED)
    .order_by(_R.id)
)
_ORPHANS_OF = ORPHANS.where(_C.flow_run_id.in_(bindparam("p_keys", expanding=True)))

# The state is a literal, so that any plan can use the index of the leased rows.
_LEASED = and_(
    _C.status == literal_column(f"'{StepState.RUNNING}'"),
    _C.lease_expires_at.is_not(None),
    _C.lease_token.in_(bindparam("p_tokens", expanding=True)),
)
# Not by IS NULL: SQLite 3.40 assumes NOT NULL in the RETURNING of an UPDATE.
_IS_CANCELLED = case(
    (_C.shielded_until > DbNow(), 0),
    (exists().where(_R.id == _C.flow_run_id, _ASKED), 1),
    else_=0,
)
_ASKED_TOKENS = Prepared(select(_C.lease_token).where(_LEASED, _IS_CANCELLED == 1))
_RENEW = Prepared(
    update(STEPS)
    .where(_LEASED)
    .values(lease_expires_at=DbNow(bindparam("p_lease", type_=Float)))
    .returning(_C.lease_token, _IS_CANCELLED)
)

_CANCEL_ATTEMPT: Final = (
    update(STEPS)
    .where(
        HELD,
        # Its dependents were cancelled with the run; in a running run they would wait.
        exists().where(_R.id == _C.flow_run_id, state_of(RUNS) == RunState.CANCELLING),
    )
    .values(
        status=StepState.CANCELLED,
        lease_token=None,
        lease_expires_at=None,
        completed_at=DbNow(),
        advanced=True,
        **USED,
    )
)


class RunCancels(Repository, RunRows):
    """The part of `FlowRunRepo` that cancels."""

    @override
    def request_cancel(self, run_ids: Sequence[RunId], reason: StopReason) -> list[RunId]:
        rows = self._run_parts(_REQUEST, stop_parameters(reason), run_ids)
        return [RunId(row[0]) for row in rows]

    @override
    def orphans(self, run_ids: Sequence[RunId]) -> list[Orphan]:
        return [orphan(row) for row in self._run_parts(_ORPHANS_OF, {}, run_ids)]


class StepCancels(Repository, AttemptRows):
    """The part of `FlowStepRunRepo` that renews leases and cancels attempts."""

    @override
    def renew(self, tokens: Sequence[LeaseToken], lease: timedelta) -> dict[LeaseToken, bool]:
        rows = self._run(_RENEW, {"p_tokens": list(tokens), "p_lease": lease.total_seconds()})
        return {LeaseToken(row[0]): bool(row[1]) for row in rows}

    @override
    def cancel_asked(self, tokens: Sequence[LeaseToken]) -> set[LeaseToken]:
        return {LeaseToken(row[0]) for row in self._run(_ASKED_TOKENS, {"p_tokens": list(tokens)})}

    @override
    def cancel(self, claim: Claim, outcome: Outcome) -> bool:
        given = {"p_id": claim.id, "p_token": claim.token, "p_time": outcome.execution_time_ms}
        return self._changes(_CANCEL_ATTEMPT, given)


def orphan(row: Sequence[Any]) -> Orphan:
    """Return the value of a row of `ORPHANS`."""
    return Orphan(RunId(row[0]), row[1], RunId(row[2]), StepState(row[3]))

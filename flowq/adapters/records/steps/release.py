"""Releases of attempts, and checks of attempts whose end is unknown.

A stopping worker releases its attempts: they are queued again as if they had not begun, so neither
an attempt nor a recovery is counted. And after a failed write that may have been committed, the
state of the attempt is read here.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Float, bindparam, select, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import HELD, RUNS, STEPS, state_of
from flowq.adapters.records.sql.tables import LEASED
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempt_log import AttemptLog
from flowq.adapters.records.steps.attempts import CLAIM_COLUMNS, claim_of_row
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.limits.shares import WAITS_FOR_LIMIT
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.model.rows import Claim, StepRef
from flowq.engine.ports.steps import AttemptRows

_C = STEPS.c

_RELEASE = Prepared(
    update(STEPS)
    .where(LEASED, _C.lease_token.in_(bindparam("p_tokens", expanding=True)))
    .values(
        status=StepState.QUEUED,
        attempt=_C.attempt - 1,
        lease_token=None,
        lease_expires_at=None,
        wake_at=DbNow(),
    )
    .returning(_C.flow_run_id, _C.step_key, _C.map_index, _C.id)
)

_REQUEUE = (
    update(STEPS)
    .where(HELD)
    .values(
        status=StepState.QUEUED, attempt=_C.attempt - 1, lease_token=None, lease_expires_at=None
    )
    .returning(select(RUNS.c.status).where(RUNS.c.id == _C.flow_run_id).scalar_subquery())
)
_REQUEUE_FOR = Prepared(_REQUEUE.values(wake_at=DbNow(bindparam("p_delay", type_=Float))))
_PUT_AWAY = Prepared(_REQUEUE.values(wake_at=DbNow(WAITS_FOR_LIMIT.total_seconds())))

_ENDED = Prepared(
    select(_C.status).where(
        _C.id == bindparam("p_id"),
        _C.attempt == bindparam("p_attempt"),
        _C.worker == bindparam("p_worker"),
        _C.lease_token.is_(None),
    )
)


_HELD = Prepared(
    select(*CLAIM_COLUMNS, _C.lease_token).where(
        _C.id == bindparam("p_id"),
        state_of(STEPS) == StepState.RUNNING,
        _C.lease_token.is_not(None),
    )
)
_BATCH = Prepared(select(_C.batch_id).where(_C.id == bindparam("p_id")))


class LeaseReleases(AttemptLog, AttemptRows):
    """The part of `FlowStepRunRepo` that releases attempts and reads their end."""

    @override
    def release_leases(
        self, tokens: Sequence[LeaseToken], why: AttemptEnd = AttemptEnd.RELEASED
    ) -> list[StepRef]:
        rows = self._run(_RELEASE, {"p_tokens": list(tokens)})
        self._append([StepRunId(row[3]) for row in rows], why, counted=False)
        return [StepRef(RunId(row[0]), row[1], row[2]) for row in rows]

    @override
    def requeue(
        self, claim: Claim, delay: timedelta | None, why: AttemptEnd | None = None
    ) -> RunState | None:
        given = {"p_id": claim.id, "p_token": claim.token}
        if delay is None:
            state = self._run(_PUT_AWAY, given).scalar()
        else:
            state = self._run(_REQUEUE_FOR, {**given, "p_delay": delay.total_seconds()}).scalar()
        if state is None:
            return None
        if why is not None:
            self._append([claim.id], why, counted=False)
        return RunState(state)

    @override
    def held(self, step_id: StepRunId) -> Claim | None:
        row = self._run(_HELD, {"p_id": step_id}).first()
        return None if row is None else claim_of_row(step_id, LeaseToken(row[-1]), row, [])

    @override
    def batch_of(self, step_id: StepRunId) -> BatchId | None:
        batch = self._run(_BATCH, {"p_id": step_id}).scalar()
        return None if batch is None else BatchId(batch)

    @override
    def ended(self, claim: Claim, worker: str) -> StepState | None:
        given = {"p_id": claim.id, "p_attempt": claim.attempt, "p_worker": worker}
        row = self._run(_ENDED, given).first()
        return None if row is None else StepState(row[0])

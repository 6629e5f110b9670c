"""The writes of an attempt: claim, complete, fail, retry, wait.

The WHERE of each UPDATE is its whole guard: the state it comes from and, once claimed, the lease
token. So each may be run by any process, at any time, concurrently: one changes the row, the others
get a rowcount of zero.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Float,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from typing_extensions import override

from flowq.adapters.records.sql.payloads import copy_to_json
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import call_spec
from flowq.adapters.records.sql.repository import GOES_ON, HELD, RUNS, STEPS, USED, state_of
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempt_log import AttemptLog
from flowq.adapters.records.steps.stored import (
    NODES,
    STORED_NODES,
    nodes_of,
    stored_columns,
    stored_step,
)
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.results import StorageKind
from flowq.core.spec import Gate
from flowq.core.states import AttemptEnd, StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import Claim, Outcome, ReleasePlan
from flowq.engine.ports.steps import AttemptRows

_C = STEPS.c
#: A due message may be slightly early by the database's clock; it must not be lost.
_EARLY: Final = 1.0


def _seconds(name: str) -> DbNow:
    return DbNow(bindparam(name, type_=Float))


_RUN_GOES_ON = exists().where(RUNS.c.id == _C.flow_run_id, GOES_ON)
_DUE = and_(state_of(STEPS) == StepState.RETRYING, _C.wake_at <= DbNow(_EARLY))

#: The columns for `claim_of_row`. A program, which is claimed again for each call that has ended,
#: has its inputs in its definition. SQLite may take `IS NULL` in a RETURNING for false.
CLAIM_COLUMNS: Final = (
    _C.flow_run_id,
    _C.step_key,
    _C.map_index,
    _C.attempt,
    _C.recoveries,
    case((func.coalesce(_C.observed, -1) < 0, _C.inputs)).label("inputs"),
    _C.spec,
    _C.tokens_used,
    _C.cost_estimate,
    _C.unpriced_calls,
    _C.execution_time_ms,
    _C.started_at,
)
CLAIMED: Final = (
    update(STEPS)
    .where(_C.id == bindparam("p_id"), or_(state_of(STEPS) == StepState.QUEUED, _DUE), _RUN_GOES_ON)
    .values(
        status=StepState.RUNNING,
        attempt=_C.attempt + 1,
        lease_token=bindparam("p_token"),
        lease_expires_at=_seconds("p_lease"),
        started_at=DbNow(),
        first_started_at=func.coalesce(_C.first_started_at, DbNow()),
        wake_at=None,
        resends=0,
        worker=bindparam("p_worker"),
    )
    .returning(*CLAIM_COLUMNS)
)
_CLAIM = Prepared(CLAIMED)


def _leaving(to: StepState, **values: Any) -> Update:
    """Build the UPDATE of an attempt that ends, guarded by its lease."""
    return (
        update(STEPS)
        .where(HELD)
        .values(status=to, lease_token=None, lease_expires_at=None, **values)
    )


_RESULT: Final = {
    "result": bindparam("p_result", type_=_C.result.type),
    "outputs": bindparam("p_outputs", type_=_C.outputs.type),
    "error_type": None,
    "error_message": None,
    "completed_at": DbNow(),
}
#: When the code of the attempt has ended, if it says that; else now.
_ENDED_AT: Final = bindparam("p_ended_at", type_=_C.completed_at.type)
#: The step that made the result, for a cache hit.
_HIT: Final = {
    "cached_from": bindparam("p_cached_from", type_=_C.cached_from.type),
    "saved_tokens": bindparam("p_saved_tokens", type_=_C.saved_tokens.type),
    "saved_cost": bindparam("p_saved_cost", type_=_C.saved_cost.type),
}
_ERROR: Final = {
    "error_type": bindparam("p_error_type"),
    "error_message": bindparam("p_error"),
    "step_metadata": bindparam("p_metadata", type_=_C.step_metadata.type),
}
_ADVANCED: Final[dict[str, Any]] = {"advanced": bindparam("p_advanced")}

COMPLETED = _leaving(StepState.COMPLETED, **USED, **_RESULT, **_HIT, **_ADVANCED).values(
    completed_at=func.coalesce(_ENDED_AT, DbNow())
)
_COMPLETE = Prepared(COMPLETED)
#: Only if this row exists and has failed: a program may raise anything.
_failed_call = STEPS.alias("failed_call")
_CULPRIT = (
    select(_failed_call.c.id)
    .where(
        _failed_call.c.id == bindparam("p_failed_step", type_=_C.failed_step_id.type),
        _failed_call.c.flow_run_id.is_not_distinct_from(_C.flow_run_id),  # no condition of an index
        _failed_call.c.status == StepState.FAILED,
    )
    .scalar_subquery()
)
_FAIL = Prepared(
    _leaving(
        StepState.FAILED,
        **USED,
        **_ERROR,
        **_ADVANCED,
        failed_step_id=_CULPRIT,
        completed_at=DbNow(),
    )
)
_RETRY = Prepared(
    _leaving(
        StepState.RETRYING,
        **USED,
        **_ERROR,
        recoveries=_C.recoveries + bindparam("p_recovered"),
        wake_at=_seconds("p_delay"),
    )
)
_WAIT = Prepared(_leaving(StepState.WAITING))

_WAITING = update(STEPS).where(_C.id == bindparam("p_id"), state_of(STEPS) == StepState.WAITING)
_END_WAITING = {
    StepState.COMPLETED: Prepared(_WAITING.values(status=StepState.COMPLETED, **_RESULT)),
    StepState.FAILED: Prepared(
        _WAITING.values(status=StepState.FAILED, **_ERROR, completed_at=DbNow())
    ),
}


_claimed = CLAIMED.cte("claimed")
_read = STEPS.alias("read")
_CLAIM_AND_READ = Prepared(
    select(*_claimed.c, *stored_columns(_read)).select_from(
        _claimed.outerjoin(_read, nodes_of(_claimed.c.flow_run_id, _read))
    )
)

_sibling = STEPS.alias("sibling")
_SIBLING_NOT_COMPLETED = exists().where(
    _sibling.c.flow_run_id == bindparam("p_run"),
    _sibling.c.step_key.in_(bindparam("p_siblings", expanding=True)),
    _sibling.c.map_index.is_(None),
    _sibling.c.status != StepState.COMPLETED,
)
#: The counter is read under the row's lock, so of two siblings that complete at once one reaches
#: zero; but each may see the other as running, and then the row stays pending.
_FREE = and_(
    bindparam("p_together", type_=Boolean),
    _C.pending_dependencies == 1,
    _C.status == StepState.PENDING,
    ~_SIBLING_NOT_COMPLETED,
)
_RELEASED = (
    update(STEPS)
    .where(NODES)
    .values(
        pending_dependencies=_C.pending_dependencies - 1,
        status=case((_FREE, StepState.QUEUED), else_=_C.status),
        batch_id=case((_FREE, bindparam("p_batch")), else_=_C.batch_id),
        wake_at=case((_FREE, DbNow(bindparam("p_resend", type_=Float))), else_=_C.wake_at),
    )
    .returning(_C.step_key, _C.pending_dependencies, _C.status)
)
_RELEASE = Prepared(_RELEASED)

# Both UPDATEs as one statement: atomic, in one round trip and one commit.
_done = COMPLETED.returning(STEPS.c.id).cte("done")
_released = _RELEASED.where(exists(select(_done.c.id))).cte("released")
_COMPLETE_AND_RELEASE = Prepared(
    select(*_released.c).select_from(_done.outerjoin(_released, true()))
)


class AttemptWrites(AttemptLog, AttemptRows):
    """The attempts' part of `FlowStepRunRepo`."""

    @override
    def claim(
        self,
        step_id: StepRunId,
        *,
        token: LeaseToken,
        lease: timedelta,
        worker: str,
        reads: Sequence[str] = (),
    ) -> Claim | None:
        """Claim and read in one statement; in two on SQLite, without data-modifying CTEs."""
        given = claim_parameters(step_id, token, lease, worker)
        if reads and self._connection.dialect.name != "sqlite":
            rows = self._run(_CLAIM_AND_READ, {**given, "p_keys": list(reads)}).all()
            return (
                claim_of_row(step_id, token, rows[0], [row[len(CLAIM_COLUMNS) :] for row in rows])
                if rows
                else None
            )
        row = self._run(_CLAIM, given).first()
        if row is None:
            return None
        nodes = {"p_run": row[0], "p_keys": list(reads)}
        return claim_of_row(
            step_id, token, row, self._run(STORED_NODES, nodes).all() if reads else []
        )

    @override
    def complete(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        return self._changes(_COMPLETE, completion_parameters(claim, outcome, advanced=advanced))

    @override
    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        release_plan: ReleasePlan | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Write both in one statement; in two on SQLite, without data-modifying CTEs."""
        counting: dict[str, Any] = {
            "p_run": claim.run_id,
            "p_keys": list(dependents),
            "p_together": release_plan is not None,
            "p_siblings": list(release_plan.siblings) if release_plan else [],
            "p_batch": release_plan.batch if release_plan else None,
            "p_resend": release_plan.resend_after.total_seconds() if release_plan else 0.0,
        }
        if self._connection.dialect.name == "sqlite":
            if not self.complete(claim, outcome, advanced=True):
                return None
            rows = self._run(_RELEASE, counting).all()
        else:
            given = {**completion_parameters(claim, outcome, advanced=True), **counting}
            rows = _COMPLETE_AND_RELEASE.run(self._connection, given).all()
            if not rows:
                return None
        return {row[0]: (row[1], StepState(row[2])) for row in rows if row[0] is not None}

    @override
    def fail(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        given = {**_lease(claim), **_used(outcome), **_error(outcome)}
        given |= {"p_failed_step": outcome.failed_step_id}
        return self._changes(_FAIL, {**given, "p_advanced": advanced or claim.gate is Gate.ITEM})

    @override
    def retry(
        self, claim: Claim, outcome: Outcome, delay: timedelta, *, recovered: bool = False
    ) -> bool:
        given = {**_lease(claim), **_used(outcome), **_error(outcome)}
        given |= {"p_delay": delay.total_seconds(), "p_recovered": int(recovered)}
        if not self._changes(_RETRY, given):
            return False
        end = AttemptEnd.DEFERRED if recovered else AttemptEnd.FAILED
        self._append([claim.id], end, given["p_error_type"], given["p_error"])
        return True

    @override
    def wait(self, claim: Claim) -> bool:
        return self._changes(_WAIT, _lease(claim))

    @override
    def end_waiting(self, step_id: StepRunId, state: StepState, outcome: Outcome) -> bool:
        values = result_columns(outcome) if state is StepState.COMPLETED else _error(outcome)
        return self._changes(_END_WAITING[state], {"p_id": step_id, **values})


def claim_parameters(
    step_id: StepRunId, token: LeaseToken, lease: timedelta, worker: str
) -> dict[str, Any]:
    """Return the parameters of `CLAIMED`."""
    seconds = lease.total_seconds()
    return {"p_id": step_id, "p_token": token, "p_lease": seconds, "p_worker": worker}


def claim_of_row(
    step_id: StepRunId, token: LeaseToken, row: Sequence[Any], nodes: Sequence[Sequence[Any]]
) -> Claim:
    """Return the claim of a row of `CLAIM_COLUMNS`."""
    rows = tuple(stored_step(node) for node in nodes if node[0] is not None)
    spec = None if row[6] is None else call_spec(row[6], row[5])
    run_id = RunId(row[0])
    return Claim(
        step_id,
        run_id,
        row[1],
        row[2],
        row[3],
        row[4],
        token,
        row[5],
        rows,
        spec,
        Usage(row[7], row[8], row[9]),
        row[10] or 0,
        began_at=row[11],
    )


def completion_parameters(claim: Claim, outcome: Outcome, *, advanced: bool) -> Mapping[str, Any]:
    """Return the parameters of `COMPLETED`."""
    given = {**_lease(claim), **_used(outcome), **result_columns(outcome), **_hit(outcome)}
    given |= {"p_ended_at": outcome.ended_at}
    return {**given, "p_advanced": advanced or claim.gate is Gate.ITEM}


def _lease(claim: Claim) -> Mapping[str, Any]:
    return {"p_id": claim.id, "p_token": claim.token}


def _used(outcome: Outcome) -> Mapping[str, Any]:
    return {"p_time": outcome.execution_time_ms}


def _hit(outcome: Outcome) -> Mapping[str, Any]:
    hit = outcome.hit
    return {
        "p_cached_from": hit.step_id if hit else None,
        "p_saved_tokens": hit.usage.tokens if hit else None,
        "p_saved_cost": hit.usage.cost if hit else None,
    }


def result_columns(outcome: Outcome) -> Mapping[str, Any]:
    """Return the columns of a result, as parameters."""
    result, copy = outcome.result, outcome.copy
    outputs: Any = None
    if result is not None and copy is not None:
        outputs = copy_to_json(result.codec, copy)
    elif result is not None and result.place is StorageKind.OBJECT:
        outputs = {"$object": result.key, "size": result.size, "media_type": result.media_type}
    return {
        "p_result": result.model_dump(mode="json", exclude_defaults=True) if result else None,
        "p_outputs": outputs,
    }


def _error(outcome: Outcome) -> Mapping[str, Any]:
    # PostgreSQL stores no text with NUL.
    message = (outcome.error_message or "").replace("\0", "\N{SYMBOL FOR NULL}")
    return {
        "p_error_type": outcome.error_type,
        "p_error": message,
        "p_metadata": dict(outcome.metadata) if outcome.metadata else None,
    }

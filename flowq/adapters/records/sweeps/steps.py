"""The sweeper's queries about steps, and its guarded changes.

Each query uses a partial index of only the rows that can match. Rows are taken with SKIP LOCKED, so
that many sweepers share the work instead of waiting for each other; SQLite has only one writer at a
time anyway.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    Float,
    Integer,
    String,
    Update,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.sql.repository import IS_PAUSED, STEPS, state_of, unless_paused
from flowq.adapters.records.sql.tables import (
    EXPANDED,
    LEASED,
    OPEN,
    QUEUED,
    RETRYING,
    TIMED,
    UNADVANCED,
)
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempt_log import AttemptLog
from flowq.adapters.records.steps.wake import ENDINGS, of_kind
from flowq.adapters.records.sweeps.partitions import PartitionSweeps
from flowq.adapters.records.sweeps.retention import RetentionSweeps
from flowq.adapters.records.sweeps.runs import RunSweeps
from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.states import AttemptEnd, StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import StepRef
from flowq.engine.model.sweeps import ExpiredLease, UnclaimedStep
from flowq.engine.ports.sweeps import Sweeps

_C = STEPS.c
#: A retry has its own message, timed for its due moment; this is how many seconds it may be late.
_RETRY_GRACE: Final = 2.0
#: Bound of the exponent of a backoff, against overflow.
_MAX_DOUBLINGS: Final = 20

_LIMIT = bindparam("p_limit", type_=Integer)
_BEFORE = DbNow(bindparam("p_before", type_=Float))
_AGAIN = DbNow(bindparam("p_again", type_=Float))
_PLACE = (_C.flow_run_id, _C.step_key, _C.map_index)


def _taking(condition: Any, oldest: Any) -> Update:
    """Build an UPDATE of the oldest unlocked rows that meet a condition."""
    some = select(_C.id).where(condition).order_by(oldest).limit(_LIMIT)
    return update(STEPS).where(_C.id.in_(some.with_for_update(skip_locked=True)), condition)


_DUE = (
    _taking(and_(RETRYING, _C.wake_at <= _BEFORE), _C.wake_at)
    .values(status=StepState.QUEUED, wake_at=_AGAIN)
    .returning(*_PLACE)
)

_TIMED = [
    _taking(and_(TIMED, _C.wake_at <= DbNow(), of_kind(kind)), _C.wake_at)
    .values(**values)
    .returning(_C.batch_id)
    for kind, values in ENDINGS.items()
]

_PAST = _C.wake_at <= DbNow()
_OVERDUE = and_(QUEUED, _PAST)
_UNCLAIMED = select(_C.id, *_PLACE, _C.resends).where(_OVERDUE).order_by(_C.wake_at).limit(_LIMIT)
_SNOOZE = (
    _taking(
        and_(
            _C.id.in_(bindparam("p_keys", expanding=True)),
            state_of(STEPS) == StepState.QUEUED,
            _PAST,
        ),
        _C.id,
    )
    .values(resends=bindparam("p_resends", type_=Integer), wake_at=unless_paused(_AGAIN))
    .returning(_C.id, case((IS_PAUSED, 1), else_=0))
)

_TOO_OFTEN = _C.recoveries >= bindparam("p_most", type_=Integer)
_LOST = (
    literal("its worker died or stopped responding while it ran (the last one was ", String)
    + func.coalesce(_C.worker, "unknown")
    + literal("), and it had been recovered ", String)
    + cast(_C.recoveries, String)
    + literal(" times, the limit that FLOWQ_MAX_RECOVERIES sets", String)
)
_LAPSED = (
    _taking(and_(LEASED, _C.lease_expires_at < DbNow()), _C.lease_expires_at)
    .values(
        status=case((_TOO_OFTEN, StepState.FAILED), else_=StepState.QUEUED),
        recoveries=_C.recoveries + 1,
        lease_token=None,
        lease_expires_at=None,
        wake_at=case((_TOO_OFTEN, None), else_=_AGAIN),
        completed_at=case((_TOO_OFTEN, DbNow())),
        error_type=case((_TOO_OFTEN, "WorkerLost"), else_=_C.error_type),
        error_message=case((_TOO_OFTEN, _LOST), else_=_C.error_message),
    )
    .returning(
        *(*_PLACE, _C.batch_id, _C.status, _C.attempt, _C.id),
        *(_C.tokens_used, _C.cost_estimate, _C.unpriced_calls),
    )
)

_member = STEPS.alias()
_OPEN_MEMBER = exists().where(
    _member.c.flow_run_id == _C.flow_run_id,
    _member.c.batch_id == _C.batch_id,
    OPEN,
)
_ENDED_NODES = select(_C.batch_id).where(
    UNADVANCED,
    _C.completed_at < _BEFORE,
    _C.batch_id.is_not(None),
    # A failed step may have to stop the run while others of its batch are running.
    or_(_C.status == StepState.FAILED, ~_OPEN_MEMBER),
)
_item = STEPS.alias()
_OPEN_ITEM = exists().where(
    _item.c.flow_run_id == _C.flow_run_id,
    _item.c.step_key == _C.step_key,
    _item.c.map_index.is_not(None),
    OPEN,
)
_ENDED_MAPS = select(_C.batch_id).where(EXPANDED, _C.started_at < _BEFORE, ~_OPEN_ITEM)


class SqlSweeps(RunSweeps, RetentionSweeps, PartitionSweeps, AttemptLog, Sweeps):
    """Implements `flowq.engine.ports.Sweeps`; never commits."""

    @override
    def due(self, *, resend_after: timedelta, limit: int) -> list[StepRef]:
        given = {"p_before": -_RETRY_GRACE, "p_again": resend_after.total_seconds()}
        return _places(self._run(_DUE, {**given, "p_limit": limit}))

    @override
    def timed(self, *, limit: int) -> list[BatchId]:
        return [
            BatchId(row[0])
            for statement in _TIMED
            for row in self._run(statement, {"p_limit": limit})
        ]

    @override
    def unclaimed(self, *, limit: int) -> list[UnclaimedStep]:
        rows = self._run(_UNCLAIMED, {"p_limit": limit})
        return [
            UnclaimedStep(StepRunId(r[0]), StepRef(RunId(r[1]), r[2], r[3]), r[4]) for r in rows
        ]

    @override
    def snooze(
        self, found: Sequence[UnclaimedStep], resend_after: timedelta, longest: timedelta
    ) -> set[StepRunId]:
        by_count: dict[int, list[StepRunId]] = {}
        for one in found:
            by_count.setdefault(one.resends, []).append(one.id)
        ours: set[StepRunId] = set()
        for count, ids in by_count.items():
            pause = min(resend_after * 2 ** min(count + 1, _MAX_DOUBLINGS), longest)
            given = {"p_resends": count + 1, "p_again": pause.total_seconds(), "p_limit": len(ids)}
            rows = self._run(_SNOOZE, {**given, "p_keys": ids})
            ours |= {StepRunId(row[0]) for row in rows if not row[1]}
        return ours

    @override
    def expired_leases(
        self, *, max_recoveries: int, resend_after: timedelta, limit: int
    ) -> list[ExpiredLease]:
        given = {"p_most": max_recoveries, "p_limit": limit}
        rows = self._run(_LAPSED, {**given, "p_again": resend_after.total_seconds()}).all()
        again = [StepRunId(row[6]) for row in rows if row[4] != StepState.FAILED]
        self._append(again, AttemptEnd.LOST)
        return [
            ExpiredLease(
                StepRef(RunId(r[0]), r[1], r[2]),
                BatchId(r[3]),
                r[4] == StepState.FAILED,
                r[5],
                Usage(*r[7:]),
            )
            for r in rows
        ]

    @override
    def unadvanced(self, *, grace: timedelta, limit: int) -> list[BatchId]:
        given = {"p_before": -grace.total_seconds(), "p_limit": limit}
        found: dict[str, None] = {}
        for query in (_ENDED_NODES, _ENDED_MAPS):
            found |= dict.fromkeys(
                row[0] for row in self._run(query.distinct().limit(_LIMIT), given)
            )
        return [BatchId(batch) for batch in found]


def _places(rows: Iterable[Sequence[Any]]) -> list[StepRef]:
    return [StepRef(RunId(row[0]), row[1], row[2]) for row in rows]

"""What the sweeper asks the database, and the guarded changes it makes.

Each query goes over a partial index that holds only rows that can be an answer. Rows are taken with
SKIP LOCKED, so that many sweepers share the work instead of waiting for each other; on SQLite one
writer at a time is the rule anyway.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, and_, case, exists, func, or_, select, update

from flowq.adapters.records.cancel_writes import ORPHANS, orphan
from flowq.adapters.records.repository import RUNS, STEPS, Repository
from flowq.adapters.records.types import DbNow
from flowq.core.ids import BatchId, RunId
from flowq.core.states import (
    ACTIVE_STEP_STATES,
    TERMINAL_RUN_STATES,
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
)
from flowq.engine.rows import Lapsed, Orphan, StepPlace

_C = STEPS.c
#: A retry has a message of its own, sent for the moment it is due; it gets this many seconds to
#: arrive.
_RETRY_GRACE = 2.0


class SqlSweeps(Repository):
    """Implements `flowq.engine.ports.Sweeps`; never commits."""

    def due(self, *, resend_after: timedelta, limit: int) -> list[StepPlace]:
        """Put off queued rows nobody took and queue due retries; returns them, to be sent again."""
        unclaimed = and_(_C.status == StepState.QUEUED, _C.wake_at <= DbNow())
        retry = and_(_C.status == StepState.RETRYING, _C.wake_at <= DbNow(-_RETRY_GRACE))
        query = (
            update(STEPS)
            .where(_C.id.in_(_some(or_(unclaimed, retry), limit)), or_(unclaimed, retry))
            .values(status=StepState.QUEUED, wake_at=DbNow(resend_after.total_seconds()))
            .returning(_C.flow_run_id, _C.step_key, _C.map_index)
        )
        return [StepPlace(RunId(r[0]), r[1], r[2]) for r in self._run(query)]

    def lapsed(self, *, max_recoveries: int, limit: int) -> list[Lapsed]:
        """Queue steps whose lease has lapsed, or fail those that lapsed too often."""
        over = and_(_C.status == StepState.RUNNING, _C.lease_expires_at < DbNow())
        too_often = _C.recoveries >= max_recoveries
        query = (
            update(STEPS)
            .where(_C.id.in_(_some(over, limit)), over)
            .values(
                status=case((too_often, StepState.FAILED), else_=StepState.QUEUED),
                recoveries=_C.recoveries + 1,
                lease_token=None,
                lease_expires_at=None,
                wake_at=case((too_often, None), else_=DbNow()),
                completed_at=case((too_often, DbNow())),
                error_type=case((too_often, "WorkerLost"), else_=_C.error_type),
                error_message=case(
                    (
                        too_often,
                        f"its worker was lost more than {max_recoveries} times while it ran",
                    ),
                    else_=_C.error_message,
                ),
            )
            .returning(_C.flow_run_id, _C.step_key, _C.map_index, _C.batch_id, _C.status)
        )
        return [
            Lapsed(StepPlace(RunId(r[0]), r[1], r[2]), BatchId(r[3]), r[4] == StepState.FAILED)
            for r in self._run(query)
        ]

    def unadvanced(self, *, grace: timedelta, limit: int) -> list[BatchId]:
        """Return batches that have ended without anyone going on."""
        before = DbNow(-grace.total_seconds())
        nodes = select(_C.batch_id).where(
            _C.advanced.is_(False),
            _C.status.in_(tuple(TERMINAL_STEP_STATES)),
            _C.completed_at < before,
            _C.batch_id.is_not(None),
        )
        item = STEPS.alias()
        open_item = exists().where(
            item.c.flow_run_id == _C.flow_run_id,
            item.c.step_key == _C.step_key,
            item.c.map_index.is_not(None),
            item.c.status.in_(tuple(ACTIVE_STEP_STATES)),
        )
        maps = select(_C.batch_id).where(
            _C.status == StepState.RUNNING,
            _C.map_size.is_not(None),
            _C.started_at < before,
            ~open_item,
        )
        found: dict[str, None] = {}
        for query in (nodes, maps):
            found |= dict.fromkeys(row[0] for row in self._run(query.limit(limit)))
        return [BatchId(batch) for batch in found]

    def stalled(self, *, grace: timedelta, limit: int) -> list[RunId]:
        """Return open runs that only an advance moves: with ready steps, or without open ones."""
        before = DbNow(-grace.total_seconds())
        here = _C.flow_run_id == RUNS.c.id
        ready = exists().where(here, _C.status == StepState.PENDING, _C.pending_dependencies == 0)
        any_open = exists().where(here, _C.status.in_(tuple(ACTIVE_STEP_STATES)))
        leased = exists().where(here, _C.status.in_((StepState.RUNNING, StepState.WAITING)))
        stopping = and_(RUNS.c.status == RunState.CANCELLING, ~leased)
        query = select(RUNS.c.id).where(
            RUNS.c.status.in_((RunState.RUNNING, RunState.CANCELLING)),
            RUNS.c.started_at < before,
            or_(ready, ~any_open, stopping),
        )
        return [RunId(row[0]) for row in self._run(query.limit(limit))]

    def orphans(self, *, limit: int) -> list[Orphan]:
        """Return open child runs whose waiting step has ended."""
        return [orphan(row) for row in self._run(ORPHANS.limit(limit))]

    def stale(self, *, age: timedelta, limit: int) -> list[RunId]:
        """Return open runs whose progress was not written for `age`."""
        before = DbNow(-age.total_seconds())
        query = select(RUNS.c.id).where(
            RUNS.c.status.not_in(tuple(TERMINAL_RUN_STATES)),
            func.coalesce(RUNS.c.last_heartbeat, RUNS.c.created_at) < before,
        )
        return [RunId(row[0]) for row in self._run(query.limit(limit))]


def _some(condition: Any, limit: int) -> Select[Any]:
    return select(_C.id).where(condition).limit(limit).with_for_update(skip_locked=True)

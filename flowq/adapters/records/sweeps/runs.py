"""The sweeper's queries about runs, and the turns of duties.

Every worker sweeps, but some queries read all open runs. These have a row in `flow_duties`: the
sweeper that advances its `due_at` has the turn, the others skip it. `position` is where the next
turn begins, so that one turn reads a bounded number of runs.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Float,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.control.cancel import ORPHANS, orphan
from flowq.adapters.records.runs.starting import DUE_STARTS, IN_LINE_FOR_NOTHING, pending_run
from flowq.adapters.records.sql.repository import DUTIES, RUNS, STEPS, Repository, by_dialect
from flowq.adapters.records.sql.tables import HAS_DEADLINE, OPEN, OPEN_RUN
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.wake import has_ended, of_unknown_kind
from flowq.core.ids import LAST_ID, BatchId, RunId
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.starts import PendingRun
from flowq.engine.model.sweeps import Orphan, RunIdRange
from flowq.engine.ports.sweeps import Sweeps

_R = RUNS.c
_S = STEPS.c
_LIMIT = bindparam("p_limit", type_=Integer)
_BEFORE = DbNow(bindparam("p_before", type_=Float))
_OVERDUE = (
    select(_R.id, _R.deadline)
    .where(HAS_DEADLINE, _R.deadline <= DbNow())
    .order_by(_R.deadline)
    .limit(_LIMIT)
)

_AFTER = bindparam("p_after", type_=_R.id.type)
_TO = bindparam("p_to", type_=_R.id.type)
_BOUNDARY = (
    select(_R.id).where(OPEN_RUN, _R.id > _AFTER).order_by(_R.id).offset(_LIMIT - 1).limit(1)
)
_IN_SLICE = and_(OPEN_RUN, _R.id > _AFTER, _R.id <= _TO)

#: The open steps of those runs, counted in one pass over the index.
_COUNTS = (
    select(
        _S.flow_run_id,
        func.count()
        .filter(_S.status == StepState.PENDING, _S.pending_dependencies == 0)
        .label("ready"),
        func.count()
        .filter(
            or_(
                _S.status == StepState.RUNNING,
                and_(_S.status == StepState.WAITING, _S.shielded_until.is_(None)),
                _S.shielded_until > DbNow(),
            )
        )
        .label("moving"),
    )
    .where(OPEN, _S.flow_run_id > _AFTER, _S.flow_run_id <= _TO)
    .group_by(_S.flow_run_id)
    .subquery("counts")
)
_STALLED = (
    select(_R.id)
    .select_from(RUNS.outerjoin(_COUNTS, _COUNTS.c.flow_run_id == _R.id))
    .where(
        _IN_SLICE,
        _R.status.in_((RunState.RUNNING, RunState.CANCELLING)),
        # One that was stopped before it began has no start.
        func.coalesce(_R.started_at, _R.created_at) < _BEFORE,
        or_(
            _COUNTS.c.flow_run_id.is_(None),
            _COUNTS.c.ready > 0,
            and_(_R.status == RunState.CANCELLING, _COUNTS.c.moving == 0),
        ),
    )
    .limit(_LIMIT)
)

_program = STEPS.alias("program")
_call = STEPS.alias("call")
_UNSEEN = (
    select(_call.c.batch_id)
    .distinct()
    .select_from(
        _program.join(
            _call,
            and_(
                _call.c.flow_run_id == _program.c.flow_run_id,
                literal_column("call.spec IS NOT NULL"),
                _call.c.observed.is_(None),
            ),
        )
    )
    .where(
        _program.c.flow_run_id > _AFTER,
        _program.c.flow_run_id <= _TO,
        literal_column("program.status = 'waiting'"),
        _program.c.spec.is_(None),
        _program.c.observed.is_not(None),
        _call.c.completed_at < _BEFORE,
        has_ended(_call),
    )
    .limit(_LIMIT)
)

#: It would never end: its kind is unknown.
_UNKNOWN = (
    select(_call.c.flow_run_id)
    .distinct()
    .select_from(_call.join(RUNS, _R.id == _call.c.flow_run_id))
    .where(
        _call.c.flow_run_id > _AFTER,
        _call.c.flow_run_id <= _TO,
        of_unknown_kind(_call),
        _R.status.in_((RunState.RUNNING, RunState.CANCELLING)),
    )
    .limit(_LIMIT)
)

_ORPHANS = ORPHANS.where(_R.id > _AFTER, _R.id <= _TO)

_PAUSED = (
    select(_R.id)
    .where(
        _R.status == RunState.PAUSED,
        _R.id > _AFTER,
        _R.stop_kind == bindparam("p_kind"),
    )
    .order_by(_R.id)
    .limit(_LIMIT)
)

_SEEN_AT = func.coalesce(_R.last_heartbeat, _R.created_at)
_STALE = select(_R.id).where(_IN_SLICE, _SEEN_AT < _BEFORE).order_by(_SEEN_AT).limit(_LIMIT)

_D = DUTIES.c
_NAME = bindparam("p_name", type_=String)
_IS_DUE = _D.due_at <= DbNow()
_DUE = select(_IS_DUE).where(_D.name == _NAME)


def _turn(insert: Any) -> Any:
    """Take a due turn; its row is inserted again if someone has emptied the tables."""
    row = insert.values(name=_NAME, due_at=_BEFORE, position="")
    changed = {"due_at": row.excluded.due_at}
    taken = row.on_conflict_do_update(index_elements=["name"], set_=changed, where=_IS_DUE)
    return taken.returning(_D.position)


_TURN = by_dialect(DUTIES, _turn)
_LEAVE = update(DUTIES).where(_D.name == _NAME).values(position=bindparam("p_position", type_=Text))


class RunSweeps(Repository, Sweeps):
    """The runs' part of `SqlSweeps`."""

    @override
    def try_acquire(self, duty: str, every: timedelta) -> str | None:
        due = self._run(_DUE, {"p_name": duty}).scalar()
        if due is not None and not due:
            return None  # nearly always, so it is read without a lock
        given = {"p_name": duty, "p_before": every.total_seconds()}
        row = self._run(_TURN[self._connection.dialect.name], given).first()
        return None if row is None else str(row[0])

    @override
    def save_cursor(self, duty: str, position: str, *, again: bool = False) -> None:
        leaving = _LEAVE.values(due_at=DbNow()) if again else _LEAVE
        self._run(leaving, {"p_name": duty, "p_position": position})

    @override
    def paused(self, kind: StopKind, *, after: RunId, limit: int) -> list[RunId]:
        given = {"p_kind": kind, "p_after": after, "p_limit": limit}
        return [RunId(row[0]) for row in self._run(_PAUSED, given)]

    @override
    def starting(self, *, limit: int) -> list[PendingRun]:
        return [pending_run(row) for row in self._run(DUE_STARTS, {"p_limit": limit})]

    @override
    def in_line(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[PendingRun]:
        given = _bounds(within) | {"p_before": -grace.total_seconds(), "p_limit": limit}
        return [pending_run(row) for row in self._run(IN_LINE_FOR_NOTHING, given)]

    @override
    def overdue(self, *, limit: int) -> list[tuple[RunId, datetime]]:
        return [(RunId(row[0]), row[1]) for row in self._run(_OVERDUE, {"p_limit": limit})]

    @override
    def slice(self, after: RunId, *, limit: int) -> RunIdRange:
        row = self._run(_BOUNDARY, {"p_after": after, "p_limit": limit}).first()
        return RunIdRange(after, RunId(row[0]) if row else None)

    @override
    def stalled(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[RunId]:
        given = _bounds(within) | {"p_before": -grace.total_seconds(), "p_limit": limit}
        return [RunId(row[0]) for row in self._run(_STALLED, given)]

    @override
    def orphans(self, *, within: RunIdRange, limit: int) -> list[Orphan]:
        return [orphan(row) for row in self._run(_ORPHANS.limit(limit), _bounds(within))]

    @override
    def unseen(self, *, within: RunIdRange, grace: timedelta, limit: int) -> list[BatchId]:
        given = _bounds(within) | {"p_before": -grace.total_seconds(), "p_limit": limit}
        return [BatchId(row[0]) for row in self._run(_UNSEEN, given)]

    @override
    def unknown_waits(self, *, within: RunIdRange, limit: int) -> list[RunId]:
        given = _bounds(within) | {"p_limit": limit}
        return [RunId(row[0]) for row in self._run(_UNKNOWN, given)]

    @override
    def stale(self, *, within: RunIdRange, age: timedelta, limit: int) -> list[RunId]:
        given = _bounds(within) | {"p_before": -age.total_seconds(), "p_limit": limit}
        return [RunId(row[0]) for row in self._run(_STALE, given)]


def _bounds(within: RunIdRange) -> dict[str, Any]:
    return {"p_after": within.after, "p_to": within.to or LAST_ID}

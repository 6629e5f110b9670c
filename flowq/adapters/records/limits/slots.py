"""The slots of limits.

A slot is taken by one UPDATE of an unlocked row, so a limit is never locked as a whole and nothing
is counted. A slot is *held* by the token of a lease; when no step has that lease any more, for
whatever reason, the sweeper frees it: a slot cannot leak. A slot is *promised* when it has a step
and no token, until `free_at`: the step that waits longest is sent, and no other step can take its
slot meanwhile. Slots of a rate are not held: `used_at` is the last start, and `free_at` the time up
to which the slot is promised, one period of the rate after the last given turn.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    Float,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import (
    GOES_ON,
    RUNS,
    SLOTS,
    STEPS,
    WAITS,
    Repository,
    by_dialect,
    state_of,
)
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.states import TERMINAL_STEP_STATES, StepState
from flowq.engine.model.rows import StepRef
from flowq.engine.ports.limits.slots import Limits

_S, _W, _C, _R = SLOTS.c, WAITS.c, STEPS.c, RUNS.c
_NOW: Final = DbNow()
_OF_KEY: Final = and_(_S.key == bindparam("p_key"), _S.number < bindparam("p_slots", type_=Integer))
_ME: Final = bindparam("p_step", type_=_S.step_run_id.type)
_TOKEN: Final = bindparam("p_token", type_=_S.token.type)
_LATER: Final = DbNow(bindparam("p_later", type_=Float))

_MINE: Final = and_(_S.step_run_id == _ME, _S.step_run_id.is_not(None))
_FREE: Final = and_(_S.token.is_(None), _S.free_at <= _NOW)


def _first(condition: Any, *order: Any) -> Any:
    """Return the number of the first unlocked slot that meets a condition."""
    one = select(_S.number).where(_OF_KEY, condition).order_by(*order).limit(1)
    return one.with_for_update(skip_locked=True).correlate(None).scalar_subquery()


def _slot(number: Any) -> Any:
    return update(SLOTS).where(_S.key == bindparam("p_key"), _S.number == number)


_TAKE: Final = Prepared(
    _slot(_first(or_(_MINE, _FREE), case((_MINE, 0), else_=1), _S.number))
    .values(step_run_id=_ME, token=_TOKEN, used_at=_NOW, free_at=_NOW)
    .returning(_S.number)
)
#: A rate's slot is unused since its last start, whatever was promised.
_RESTED: Final = or_(_S.used_at.is_(None), _S.used_at <= DbNow(bindparam("p_rest", type_=Float)))
_USE: Final = {"used_at": _NOW, "step_run_id": _ME}
_TAKE_TURN: Final = Prepared(
    _slot(_first(and_(_S.free_at <= _NOW, _RESTED), _S.number))
    .values(**_USE, free_at=_LATER)
    .returning(_S.number)
)
_TAKE_PROMISED: Final = Prepared(
    _slot(bindparam("p_number", type_=Integer))
    .where(_RESTED)
    .values(**_USE, free_at=case((_S.free_at > _LATER, _S.free_at), else_=_LATER))
    .returning(_S.number)
)
_TURN_OF: Final = Prepared(
    select(_W.number, _W.turn_at, _W.turn_at <= _NOW).where(
        _W.step_run_id == _ME, _W.key == bindparam("p_key"), _W.turn_at.is_not(None)
    )
)
_COUNT: Final = Prepared(select(func.count()).where(_OF_KEY))
_NUMBERS: Final = select(_S.number).where(_OF_KEY)
CLOCK: Final = Prepared(select(_NOW))

_EARLIEST: Final = Prepared(
    select(_S.number, _S.free_at)
    .where(_OF_KEY, _S.free_at <= DbNow(bindparam("p_horizon", type_=Float)))
    .order_by(_S.free_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_PROMISE_TURN: Final = Prepared(
    _slot(bindparam("p_number", type_=Integer)).values(
        free_at=bindparam("p_free_at", type_=_S.free_at.type)
    )
)
_HAS_LINE: Final = Prepared(
    select(_W.step_run_id).where(_W.key == bindparam("p_key"), _W.turn_at.is_(None)).limit(1)
)


def _waiting(insert: Any) -> Prepared:
    new = insert.values(
        step_run_id=_ME,
        key=bindparam("p_key"),
        slots=bindparam("p_slots"),
        per_seconds=bindparam("p_per"),
        since=_NOW,
        number=bindparam("p_number"),
        turn_at=bindparam("p_turn_at", type_=_W.turn_at.type),
    )
    again = {name: new.excluded[name] for name in ("key", "slots", "per_seconds", "number")}
    again["turn_at"] = new.excluded.turn_at
    # A step that waits for the same limit as before keeps its place.
    again["since"] = case((_W.key == new.excluded.key, _W.since), else_=new.excluded.since)
    return Prepared(new.on_conflict_do_update(index_elements=["step_run_id"], set_=again))


WAIT: Final = by_dialect(WAITS, _waiting)
_MAKE: Final = by_dialect(SLOTS, lambda new: new.on_conflict_do_nothing())

#: Steps that may be sent: still parked, of a running run.
_MAY_GO: Final = and_(state_of(STEPS) == StepState.QUEUED, GOES_ON)
LINE: Final = (
    select(_W.step_run_id)
    .join(STEPS, _C.id == _W.step_run_id)
    .join(RUNS, _R.id == _C.flow_run_id)
    .where(_W.key == bindparam("p_key"), _W.turn_at.is_(None), _MAY_GO)
    .order_by(_W.since, _W.step_run_id)
    .limit(bindparam("p_most", type_=Integer))
    .with_for_update(of=WAITS, skip_locked=True)
)
_NEXT: Final = Prepared(
    delete(WAITS)
    .where(_W.step_run_id == LINE.limit(1).correlate(None).scalar_subquery())
    .returning(_W.step_run_id)
)
LEAVE_LINE: Final = Prepared(delete(WAITS).where(_W.step_run_id == _ME))
_WAKE: Final = Prepared(
    update(STEPS)
    .where(_C.id == _ME, state_of(STEPS) == StepState.QUEUED)
    .values(wake_at=_LATER, resends=0)
    .returning(_C.flow_run_id, _C.step_key, _C.map_index)
)
_HELD: Final = Prepared(select(_S.number).where(_S.key == bindparam("p_key"), _S.token == _TOKEN))
_ANY_FREE: Final = Prepared(select(_S.number).where(_OF_KEY, _FREE).limit(1))
_FREE_SLOT: Final = Prepared(
    select(_S.number).where(_OF_KEY, _FREE).limit(1).with_for_update(skip_locked=True)
)
_PASS_ON: Final = Prepared(
    _slot(bindparam("p_number", type_=Integer))
    .where(_S.token.is_not_distinct_from(_TOKEN))
    .values(step_run_id=_ME, token=None, free_at=_LATER)
)
_RELEASE: Final = Prepared(
    update(SLOTS)
    .where(_S.key == bindparam("p_key"), _S.token == _TOKEN)
    .values(step_run_id=None, token=None, free_at=_NOW)
)

_LEASE: Final = exists().where(_C.id == _S.step_run_id, _C.lease_token == _S.token)
_RECLAIM: Final = (
    update(SLOTS)
    # The time is compared with the row as it is changed: a slot that was taken again since the
    # leases were read has a newer one.
    .where(_S.token.is_not(None), _S.used_at < DbNow(bindparam("p_before", type_=Float)), ~_LEASE)
    .values(step_run_id=None, token=None, free_at=_NOW)
)
_WAITED_FOR: Final = (
    select(_W.key, func.max(_W.slots), func.max(_W.per_seconds))
    .where(_W.turn_at.is_(None))
    .group_by(_W.key)
)
_ENDED: Final = (
    select(_W.step_run_id)
    .join(STEPS, _C.id == _W.step_run_id)
    .where(_C.status.in_(tuple(TERMINAL_STEP_STATES)))
    .limit(bindparam("p_most", type_=Integer))
)
_FORGET: Final = delete(WAITS).where(_W.step_run_id.in_(_ENDED))


class SqlLimits(Repository, Limits):
    """Implements `flowq.engine.ports.Limits`."""

    @override
    def take(self, limit: Limit, step_id: StepRunId, token: LeaseToken) -> bool:
        given = {**_of(limit), "p_step": step_id}
        if limit.per is None:
            given["p_token"] = token
            return self._takes(_TAKE, limit, given)
        seconds = limit.per.total_seconds()
        given |= {"p_rest": -seconds, "p_later": seconds}
        turn = self._run(_TURN_OF, {"p_step": step_id, "p_key": limit.key}).first()
        if turn is None:
            return self._takes(_TAKE_TURN, limit, given)
        if not turn[2] or not self._run(_TAKE_PROMISED, _but(given, p_number=turn[0])).first():
            return False
        self._run(LEAVE_LINE, {"p_step": step_id})
        return True

    def _takes(self, statement: Prepared, limit: Limit, given: dict[str, Any]) -> bool:
        if self._run(statement, given).first():
            return True
        return self._makes(limit) and self._run(statement, given).first() is not None

    @override
    def make(self, limit: Limit) -> None:
        self._makes(limit)

    def _now(self) -> Any:
        return self._run(CLOCK, {}).scalar()

    def _makes(self, limit: Limit) -> bool:
        """Insert the missing slots of a limit; return whether there were any."""
        if self._run(_COUNT, _of(limit)).scalar() >= limit.slots:
            return False
        there = {row[0] for row in self._run(_NUMBERS, _of(limit))}
        now = self._now()
        missing = [
            {"key": limit.key, "number": number, "free_at": now}
            for number in range(limit.slots)
            if number not in there
        ]
        if missing:
            self._run(_MAKE[self._connection.dialect.name], missing)
        return True

    @override
    def wait(self, limit: Limit, step_id: StepRunId, horizon: timedelta) -> timedelta | None:
        number: int | None = None
        turn_at: Any = None
        delay = None
        if limit.per is not None:
            now = self._now()
            turn = self._run(_TURN_OF, {"p_step": step_id, "p_key": limit.key}).first()
            if turn is not None:
                # Its turn has not come, or the slot was used a little late: it keeps its place.
                used = select(_S.used_at).where(_S.key == limit.key, _S.number == turn[0])
                last = self._run(used).scalar()
                return max(turn[1], last + limit.per if last else turn[1]) - now  # type: ignore[no-any-return]
            if not self._run(_HAS_LINE, {"p_key": limit.key}).first():
                number, turn_at = self._turn(limit, horizon, now)
                delay = None if turn_at is None else max(turn_at - now, timedelta(0))
        given = {**_of(limit), "p_step": step_id, "p_number": number, "p_turn_at": turn_at}
        given["p_per"] = limit.per.total_seconds() if limit.per else None
        self._run(WAIT[self._connection.dialect.name], given)
        return delay

    def _turn(self, limit: Limit, horizon: timedelta, now: Any) -> tuple[int | None, Any]:
        """Promise the slot of a rate that is free first; None if that is beyond the horizon."""
        assert limit.per is not None
        given = {**_of(limit), "p_horizon": horizon.total_seconds()}
        row = self._run(_EARLIEST, given).first()
        if row is None:
            return None, None
        turn_at = max(row[1], now)
        given = {"p_key": limit.key, "p_number": row[0], "p_free_at": turn_at + limit.per}
        self._run(_PROMISE_TURN, given)
        return row[0], turn_at

    @override
    def hand_over(self, limit: Limit, token: LeaseToken, promised_for: timedelta) -> StepRef | None:
        held = self._run(_HELD, {"p_key": limit.key, "p_token": token}).first()
        if held is None:
            return None
        place = None
        if held[0] < limit.slots:
            place = self._pass_on(limit, held[0], token, promised_for)
        if place is None:
            self._run(_RELEASE, {"p_key": limit.key, "p_token": token})
        return place

    @override
    def promise(self, limit: Limit, promised_for: timedelta) -> StepRef | None:
        free = self._run(_FREE_SLOT, _of(limit)).first()
        return None if free is None else self._pass_on(limit, free[0], None, promised_for)

    @override
    def has_free(self, limit: Limit) -> bool:
        return self._run(_ANY_FREE, _of(limit)).first() is not None

    def _pass_on(
        self, limit: Limit, number: int, token: LeaseToken | None, promised_for: timedelta
    ) -> StepRef | None:
        """Promise a slot to the next waiting step; no other step can take it meanwhile."""
        given: dict[str, Any] = {"p_key": limit.key, "p_number": number, "p_token": token}
        given["p_later"] = later = promised_for.total_seconds()
        while row := self._run(_NEXT, {"p_key": limit.key}).first():
            place = reschedule(self, row[0], later)
            if place is not None:
                self._run(_PASS_ON, {**given, "p_step": row[0]})
                return place
        return None

    @override
    def is_waited_for(self, limit: Limit) -> bool:
        return self._run(_HAS_LINE, {"p_key": limit.key}).first() is not None

    # --- the sweeper's ---------------------------------------------------------------------------

    @override
    def reclaim(self, age: timedelta) -> int:
        return self._run(_RECLAIM, {"p_before": -age.total_seconds()}).rowcount

    @override
    def waited_for(self) -> Sequence[Limit]:
        return [
            Limit(row[0], row[1], None if row[2] is None else timedelta(seconds=row[2]))
            for row in self._run(_WAITED_FOR)
        ]

    @override
    def turns(self, limit: Limit, horizon: timedelta, most: int) -> list[StepRef]:
        now = self._now()
        places: list[StepRef] = []
        for row in self._run(LINE, {"p_key": limit.key, "p_most": most}).all():
            number, turn_at = self._turn(limit, horizon, now)
            if number is None:
                break
            given = update(WAITS).where(_W.step_run_id == row[0])
            self._run(given.values(number=number, turn_at=turn_at))
            place = reschedule(self, row[0], (turn_at - now).total_seconds())
            places += [place] if place is not None else []
        return places

    @override
    def forget_ended(self, most: int) -> int:
        return self._run(_FORGET, {"p_most": most}).rowcount


def reschedule(repository: Repository, step_id: StepRunId, later: float) -> StepRef | None:
    """Make a step visible to the sweeper again; None if it is no longer queued."""
    row = repository._run(_WAKE, {"p_step": step_id, "p_later": later}).first()  # noqa: SLF001
    return None if row is None else StepRef(RunId(row[0]), row[1], row[2])


def _of(limit: Limit) -> dict[str, Any]:
    return {"p_key": limit.key, "p_slots": limit.slots}


def _but(given: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return parameters without those of a whole limit, and with others."""
    return {name: value for name, value in given.items() if name != "p_slots"} | changed

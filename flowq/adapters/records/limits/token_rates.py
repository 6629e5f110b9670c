"""The usage of rates of tokens, in one row for each span of time.

An attempt that wants to begin first updates the row of the present span. So each of several
concurrent attempts sees the reservations of those before it. Rows are locked in the order of their
keys, and of one key the newest first, so that there are no deadlocks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, and_, bindparam, delete, func, select, tuple_, update
from typing_extensions import override

from flowq.adapters.records.limits.slots import CLOCK, LEAVE_LINE, LINE, WAIT, reschedule
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import TOKEN_USES, WAITS, Repository, by_dialect
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.limits.token_rates import Reservation, TokenUses, Use, span_at, span_of
from flowq.engine.model.rows import StepRef
from flowq.engine.ports.limits.token_rates import TokenRates

_U, _W = TOKEN_USES.c, WAITS.c
#: How many periods of the rate back the average usage of an attempt is computed from.
_REMEMBERED: Final = 3
#: A step that was given its turn before this has not used it.
_TAKES_ITS_TURN: Final = 15.0

_KEY: Final = bindparam("p_key", type_=_U.key.type)
_SPAN: Final = bindparam("p_span", type_=_U.began_at.type)


def _add(insert: Any) -> Prepared:
    new = insert.values(
        key=_KEY,
        began_at=_SPAN,
        expires_at=bindparam("p_expires", type_=_U.expires_at.type),
        used=bindparam("p_used"),
        tokens=bindparam("p_tokens"),
        attempts=bindparam("p_attempts"),
    )
    more = {name: _U[name] + new.excluded[name] for name in ("used", "tokens", "attempts")}
    return Prepared(new.on_conflict_do_update(index_elements=["key", "began_at"], set_=more))


_ADD: Final = by_dialect(TOKEN_USES, _add)
_RELEASE: Final = Prepared(
    update(TOKEN_USES)
    .where(_U.key == _KEY, _U.began_at == _SPAN)
    .values(used=_U.used - bindparam("p_used", type_=Integer))
)
_USES: Final = Prepared(
    select(_U.began_at, _U.used, _U.tokens, _U.attempts)
    .where(_U.key == _KEY, _U.began_at > _SPAN)
    .order_by(_U.began_at)
)
_HAS_TURN: Final = and_(_W.key == _KEY, _W.turn_at > DbNow(-_TAKES_ITS_TURN))
_OTHERS: Final = Prepared(
    select(_W.step_run_id)
    .where(_HAS_TURN, _W.step_run_id != bindparam("p_step", type_=_W.step_run_id.type))
    .limit(1)
)
_COMING: Final = Prepared(select(func.count()).where(_HAS_TURN))
_GIVE_TURN: Final = (
    update(WAITS)
    .where(_W.step_run_id == bindparam("p_step", type_=_W.step_run_id.type))
    .values(turn_at=DbNow())
)
_EXPIRED: Final = (
    select(_U.key, _U.began_at)
    .where(_U.expires_at < DbNow())
    .limit(bindparam("p_most", type_=Integer))
    .with_for_update(skip_locked=True)
)
_PURGE: Final = delete(TOKEN_USES).where(and_(tuple_(_U.key, _U.began_at).in_(_EXPIRED)))


class SqlTokenRates(Repository, TokenRates):
    """Implements `flowq.engine.ports.TokenRates`."""

    @override
    def admit(self, limit: Limit, step_id: StepRunId) -> Reservation | None:
        now = self._now()
        span = span_at(limit, now)
        self._adds(limit, now)  # from here on no other attempt begins
        uses = self._uses(limit, now)
        if not uses.room:
            return None
        self._adds(limit, now, used=uses.each)
        self._run(LEAVE_LINE, {"p_step": step_id})
        return Reservation(limit, span, uses.each)

    @override
    def release(self, reservations: Sequence[Reservation]) -> None:
        now = self._now()
        for one in sorted(reservations, key=lambda one: one.limit.key):
            self._adds(one.limit, now, attempts=1)
            given = {"p_key": one.limit.key, "p_span": one.span, "p_used": one.tokens}
            self._run(_RELEASE, given)

    @override
    def charge(self, used: Mapping[Limit, int]) -> None:
        now = self._now()
        for limit, tokens in sorted(used.items(), key=lambda one: one[0].key):
            self._adds(limit, now, used=tokens, tokens=tokens)

    @override
    def wait(self, limit: Limit, step_id: StepRunId, horizon: timedelta) -> timedelta | None:
        assert limit.per is not None
        now = self._now()
        delay: timedelta | None = None
        if not self._run(_OTHERS, {"p_key": limit.key, "p_step": step_id}).first():
            delay = self._uses(limit, now).delay
        if delay is not None and delay > horizon:
            delay = None
        given = {
            "p_key": limit.key,
            "p_slots": limit.slots,
            "p_step": step_id,
            "p_per": limit.per.total_seconds(),
            "p_number": None,
            "p_turn_at": None if delay is None else now + delay,
        }
        self._run(WAIT[self._connection.dialect.name], given)
        return delay

    @override
    def turns(self, limit: Limit, horizon: timedelta, most: int) -> list[StepRef]:
        uses = self._uses(limit, self._now())
        coming = self._run(_COMING, {"p_key": limit.key}).scalar()
        room = uses.room - coming
        if not uses.room and not coming and uses.delay <= horizon:
            room = 1  # It will find no capacity, and come back when there is some.
        if room <= 0:
            return []
        places: list[StepRef] = []
        for row in self._run(LINE, {"p_key": limit.key, "p_most": min(room, most)}).all():
            self._run(_GIVE_TURN, {"p_step": row[0]})
            place = reschedule(self, row[0], 0.0)
            places += [place] if place is not None else []
        return places

    @override
    def purge(self, most: int) -> int:
        return self._run(_PURGE, {"p_most": most}).rowcount

    def _now(self) -> datetime:
        now: datetime = self._run(CLOCK, {}).scalar()
        return now

    def _uses(self, limit: Limit, now: datetime) -> TokenUses:
        assert limit.per is not None
        since = now - _REMEMBERED * limit.per
        rows = self._run(_USES, {"p_key": limit.key, "p_span": since}).all()
        return TokenUses(
            limit, now, [Use(row[0], int(row[1]), int(row[2]), row[3]) for row in rows]
        )

    def _adds(self, limit: Limit, now: datetime, **more: int) -> None:
        assert limit.per is not None
        span = span_at(limit, now)
        given: dict[str, Any] = {"p_used": 0, "p_tokens": 0, "p_attempts": 0}
        given |= {f"p_{name}": value for name, value in more.items()}
        given |= {"p_key": limit.key, "p_span": span}
        given["p_expires"] = span + span_of(limit) + _REMEMBERED * limit.per
        self._run(_ADD[self._connection.dialect.name], given)

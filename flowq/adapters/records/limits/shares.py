"""The lines of shares, by one partial index of the queued steps that have a share.

The index has them in the order of their places, so that a window is counted, and the next steps are
found, without reading the rest of a line. On PostgreSQL a line is locked while it is counted: two
processes that count at once would send a window each. Nobody waits for this lock.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, Integer, and_, bindparam, func, select, tuple_, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import IS_PAUSED, RUNS, STEPS, Repository, unless_paused
from flowq.adapters.records.sql.tables import SHARED
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.core.limits.shares import IN_LINE_FROM, SENT_UNTIL, most_unclaimed, place_behind, to_send
from flowq.engine.model.rows import StepRef
from flowq.engine.ports.limits.shares import Line, Shares

_C = STEPS.c
_OF_LINE: Final = and_(
    SHARED, _C.share == bindparam("p_share"), _C.step_name == bindparam("p_name")
)
_LINE_BEGINS: Final = DbNow(IN_LINE_FROM.total_seconds())
_SENT_ENDS: Final = DbNow(SENT_UNTIL.total_seconds())


def in_line(row: Any = _C) -> ColumnElement[bool]:
    """Return whether a queued step is in its line, so not sent."""
    return row.wake_at > _LINE_BEGINS  # type: ignore[no-any-return]


def is_sent(row: Any = _C) -> ColumnElement[bool]:
    """Return whether a queued step was sent, also if it waits for a limit now."""
    return row.wake_at < _SENT_ENDS  # type: ignore[no-any-return]


IN_LINE: Final = in_line()
#: Steps of several runs may be queued by one statement, so at one time; ids of runs are in order.
_PLACES: Final = (_C.wake_at, _C.map_index, _C.flow_run_id)

#: In a query of its own: the condition of the partial index names columns that runs have too.
_PRIORITY: Final = (
    select(RUNS.c.priority).where(RUNS.c.id == _C.flow_run_id).correlate(STEPS).scalar_subquery()
)
#: The priority of the first step of a line.
_HEAD: Final = (
    select(_PRIORITY)
    .select_from(STEPS)
    .where(_OF_LINE, IN_LINE)
    .order_by(*_PLACES)
    .limit(1)
    .correlate(None)
    .scalar_subquery()
)
#: Less urgent steps that were sent do not keep it waiting.
_SENT: Final = (
    select(_C.id)
    .where(_OF_LINE, is_sent(), _PRIORITY >= _HEAD)
    .limit(bindparam("p_most", type_=Integer))
    .correlate(None)
    .subquery()
)
_COUNT: Final = select(func.count()).select_from(_SENT)
_COUNT_SENT: Final = Prepared(_COUNT.add_columns(_HEAD))
_HAS_ROOM: Final = Prepared(
    select(_C.id)
    .where(_OF_LINE, IN_LINE, _COUNT.scalar_subquery() < bindparam("p_most", type_=Integer))
    .limit(1)
)
_IN_ORDER: Final = (
    select(_C.id, _C.flow_run_id, _C.step_key, _C.map_index)
    .where(_OF_LINE, IN_LINE)
    .order_by(*_PLACES)
    .limit(bindparam("p_room", type_=Integer))
    .with_for_update(skip_locked=True, of=STEPS)
)
_NEXT: Final = Prepared(_IN_ORDER.where(_C.wake_at < DbNow(bindparam("p_until", type_=Float))))
_PAUSED: Final = Prepared(_IN_ORDER.where(IS_PAUSED))
#: Of locked rows: a resume that this statement does not see yet waits for them, and unparks them.
_TAKEN: Final = update(STEPS).where(_C.id.in_(bindparam("p_keys", expanding=True)))
_SEND: Final = Prepared(
    _TAKEN.values(
        wake_at=unless_paused(DbNow(bindparam("p_resend", type_=Float))), resends=0
    ).returning(_C.id, is_sent())
)
_PARK: Final = Prepared(_TAKEN.values(wake_at=unless_paused(_C.wake_at)))
#: Rows that are parked at once.
_PARK_AT_ONCE: Final = 1_000
_NEXT_LINE: Final = Prepared(
    select(_C.share, _C.step_name)
    .where(
        SHARED,
        IN_LINE,
        tuple_(_C.share, _C.step_name)
        > tuple_(bindparam("p_share", type_=_C.share.type), bindparam("p_name")),
    )
    .order_by(_C.share, _C.step_name)
    .limit(1)
)


class SqlShares(Repository, Shares):
    """Implements `flowq.engine.ports.Shares`."""

    @override
    def has_room(self, line: Line, window: int) -> bool:
        given = {**_of(line), "p_most": most_unclaimed(window) + 1}
        return self._run(_HAS_ROOM, given).first() is not None

    @override
    def take(self, line: Line, window: int, resend_after: timedelta) -> list[StepRef] | None:
        if not self._try_lock("share", *line):
            return None
        places: list[StepRef] = []
        while True:
            ((sent, priority),) = self._run(_COUNT_SENT, {**_of(line), "p_most": window}).all()
            room = 0 if priority is None else to_send(window, sent)
            taken = self._next(line, room, priority, resend_after) if room else []
            places += [place for place in taken if place is not None]
            if None in taken:
                self._park(line)
            elif not taken or len(taken) == room:
                return places

    def _next(
        self, line: Line, most: int, priority: int, resend_after: timedelta
    ) -> list[StepRef | None]:
        """Take the next steps of a priority out of a line; None for one that is parked instead."""
        until = place_behind(priority).total_seconds()
        rows = self._run(_NEXT, {**_of(line), "p_room": most, "p_until": until}).all()
        if not rows:
            return []
        given = {"p_keys": [row[0] for row in rows], "p_resend": resend_after.total_seconds()}
        sent = {row[0] for row in self._run(_SEND, given).all() if row[1]}
        return [StepRef(RunId(row[1]), row[2], row[3]) if row[0] in sent else None for row in rows]

    def _park(self, line: Line) -> None:
        """Park all steps of paused runs that are in a line, as a pause does."""
        given = {**_of(line), "p_room": _PARK_AT_ONCE}
        while rows := self._run(_PAUSED, given).all():
            self._run(_PARK, {"p_keys": [row[0] for row in rows]})

    @override
    def next_line(self, after: Line) -> Line | None:
        row = self._run(_NEXT_LINE, _of(after)).first()
        return None if row is None else Line(row[0], row[1])


def _of(line: Line) -> dict[str, Any]:
    return {"p_share": line.share, "p_name": line.step_name}

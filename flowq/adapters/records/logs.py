"""What steps have logged: `flow_logs`.

The thread that writes bunches may repeat a transaction whose answer was lost. So an INSERT of a
bunch that is there changes nothing, and a count of missing lines is set and not added.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, Integer, and_, bindparam, delete, or_, select, tuple_, update
from typing_extensions import override

from flowq.adapters.records.sql.repository import LOGS, STEPS, Repository, by_dialect
from flowq.adapters.records.sql.types import DbNow, EncodedJson
from flowq.core.ids import LeaseToken, RunId, StepRunId, earliest_id
from flowq.engine.model.logs import (
    DroppedBunches,
    LogBunch,
    LogFilter,
    LogPlace,
    StoredBunch,
    stored_lines,
)
from flowq.engine.ports.logs import Logs

_L, _S = LOGS.c, STEPS.c
_KEYS: Any = bindparam("p_keys", expanding=True)

_EXISTING = select(_S.id).where(_S.id.in_(_KEYS))
_INSERT: Final = by_dialect(LOGS, lambda insert: insert.on_conflict_do_nothing())
_OF_ATTEMPT = and_(
    _L.step_run_id == bindparam("p_step", type_=_L.step_run_id.type),
    _L.lease_token == bindparam("p_token", type_=_L.lease_token.type),
)
_DROP = (
    delete(LOGS)
    .where(_OF_ATTEMPT, _L.first_line.in_(bindparam("p_lines", expanding=True)))
    .returning(_L.object_key)
)
_COUNT = (
    update(LOGS)
    .where(_OF_ATTEMPT, _L.first_line == bindparam("p_line", type_=Integer))
    .values(missing=bindparam("p_missing", type_=Integer))
)
_PLACE = tuple_(_L.first_at, _L.lease_token, _L.first_line)
_BUNCH = select(
    _L.first_at,
    _L.lease_token,
    _L.first_line,
    _L.step_run_id,
    _S.step_key,
    _S.map_index,
    _L.attempt,
    _L.missing,
    _L.lines,
    _L.object_key,
).select_from(LOGS.join(STEPS, _S.id == _L.step_run_id))
#: Ids sort by time, and no line of a run is older than its id: so this reads one end of the index.
_EXPIRED = (
    select(_L.step_run_id, _L.lease_token, _L.first_line)
    .where(
        _L.flow_run_id < bindparam("p_to", type_=_L.flow_run_id.type),
        _L.first_at < bindparam("p_before", type_=_L.first_at.type),
    )
    .order_by(_L.flow_run_id, _L.first_at)
    .limit(bindparam("p_limit", type_=Integer))
)
_EXPIRE = (
    delete(LOGS)
    .where(tuple_(_L.step_run_id, _L.lease_token, _L.first_line).in_(_EXPIRED))
    .returning(_L.object_key)
)
_NAMED = select(_L.object_key).where(_L.object_key.in_(_KEYS), _L.object_key.is_not(None))
_NOW = select(DbNow(bindparam("p_age", type_=Float)))


class SqlLogs(Repository, Logs):
    """Implements `flowq.engine.ports.Logs`."""

    @override
    def write(
        self, bunches: Sequence[LogBunch], dropped: Sequence[DroppedBunches] = ()
    ) -> list[str]:
        steps = sorted({bunch.step_id for bunch in bunches})
        there = {row[0] for row in self._run_parts(_EXISTING, {}, steps)}
        rows = [_row(bunch) for bunch in bunches if bunch.step_id in there]
        if rows:
            self._run(_INSERT[self._connection.dialect.name], rows)
        keys = [one.object_key for one in bunches if one.object_key and one.step_id not in there]
        for one in dropped:
            place = {"p_step": one.step_id, "p_token": one.token}
            gone = self._run(_DROP, {**place, "p_lines": list(one.first_lines)})
            keys += [row[0] for row in gone if row[0]]
            self._run(_COUNT, {**place, "p_line": one.next_line, "p_missing": one.missing})
        return keys

    @override
    def bunches(
        self,
        run_id: RunId,
        wanted: LogFilter,
        *,
        after: LogPlace | None = None,
        limit: int,
        newest: bool = False,
    ) -> list[StoredBunch]:
        query = _BUNCH.where(_L.flow_run_id == run_id)
        if wanted.step is not None:
            query = query.where(_S.step_key == wanted.step)
        if wanted.index is not None:
            query = query.where(_S.map_index == wanted.index)
        if wanted.attempt is not None:
            query = query.where(_L.attempt == wanted.attempt)
        if wanted.level:
            query = query.where(or_(_L.level >= wanted.level, _L.missing > 0))
        if after is not None:
            query = query.where(after > _PLACE if newest else after < _PLACE)
        parts = (_L.first_at, _L.lease_token, _L.first_line)
        order = [part.desc() for part in parts] if newest else parts
        return [_stored(row) for row in self._run(query.order_by(*order).limit(limit))]

    @override
    def expire(self, age: timedelta, *, limit: int) -> tuple[int, list[str]]:
        before = self._run(_NOW, {"p_age": -age.total_seconds()}).scalar_one()
        given = {"p_to": earliest_id(before), "p_before": before, "p_limit": limit}
        gone = self._run(_EXPIRE, given).all()
        return len(gone), [row[0] for row in gone if row[0]]

    @override
    def named(self, keys: Sequence[str]) -> set[str]:
        return {row[0] for row in self._run_parts(_NAMED, {}, keys)}


def _row(bunch: LogBunch) -> dict[str, Any]:
    return {
        "step_run_id": bunch.step_id,
        "lease_token": bunch.token,
        "first_line": bunch.first_line,
        "flow_run_id": bunch.run_id,
        "attempt": bunch.attempt,
        "line_count": bunch.line_count,
        "missing": bunch.missing,
        "level": bunch.level,
        "size_bytes": len(bunch.data),
        "first_at": bunch.first_at,
        "lines": EncodedJson(bunch.data) if bunch.object_key is None else None,
        "object_key": bunch.object_key,
    }


def _stored(row: Any) -> StoredBunch:
    return StoredBunch(
        place=LogPlace(row[0], LeaseToken(row[1]), row[2]),
        step_id=StepRunId(row[3]),
        key=row[4],
        map_index=row[5],
        attempt=row[6],
        missing=row[7],
        lines=stored_lines(row[8]),
        object_key=row[9],
    )

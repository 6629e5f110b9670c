"""Schedules: rows that one guarded UPDATE at a time moves on.

Each change names the version that it was decided from, and increases it. So of several workers that
decide at once the first one commits, and the others find no row.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, SCHEDULES, SKIPPED, by_dialect
from flowq.adapters.records.sql.ringing import RingingRows, rings_of
from flowq.adapters.records.sql.schedule_tables import HAS_WAKE
from flowq.adapters.records.sql.tables import OPEN_SCHEDULED
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.core.schedules.decide import Progress, Skip
from flowq.core.schedules.spec import RunOptions, ScheduleSpec
from flowq.engine.model.schedules import ScheduleNow, StoredSchedule
from flowq.engine.ports.schedules import Schedules

_C, _T = SCHEDULES.c, SKIPPED.c
#: Records of skipped ticks that are kept of each schedule.
_KEPT: Final = 100

_NAME = bindparam("p_name", type_=_C.name.type)
_THIS = _C.name == _NAME
_AT_VERSION = and_(_THIS, _C.version == bindparam("p_version"))
_DUE = and_(HAS_WAKE, _C.wake_at <= DbNow())
_OPEN_RUNS = select(RUNS.c.id).where(OPEN_SCHEDULED, RUNS.c.schedule_name == _NAME)
_INSERT: Final = by_dialect(
    SCHEDULES,
    lambda new: (
        new.values(version=1, rings=0, created_at=DbNow(), updated_at=DbNow())
        .on_conflict_do_nothing()
        .returning(_C.name)
    ),
)
_SKIP: Final = by_dialect(SKIPPED, lambda new: new.on_conflict_do_nothing())
_OLDEST_KEPT = (
    select(_T.first_at)
    .where(_T.schedule_name == _NAME)
    .order_by(_T.first_at.desc())
    .offset(_KEPT - 1)
    .limit(1)
    .scalar_subquery()
)
_PRUNE = delete(SKIPPED).where(_T.schedule_name == _NAME, _T.first_at < _OLDEST_KEPT)


class SqlSchedules(RingingRows, Schedules):
    """Implements `flowq.engine.ports.Schedules`."""

    _rings = rings_of(SCHEDULES, "name", _DUE)

    @override
    def now(self) -> datetime:
        now: datetime = self._run(select(DbNow())).scalar_one()
        return now

    @override
    def find(self, name: str) -> StoredSchedule | None:
        row = self._run(select(SCHEDULES).where(_THIS), {"p_name": name}).first()
        return None if row is None else stored(row)

    @override
    def at_this_moment(self, name: str) -> ScheduleNow | None:
        query = select(SCHEDULES, DbNow().label("moment")).where(_THIS)
        row = self._run(query, {"p_name": name}).first()
        if row is None:
            return None
        runs = self._run(_OPEN_RUNS, {"p_name": name})
        return ScheduleNow(stored(row), row.moment, [RunId(run[0]) for run in runs])

    @override
    def insert(
        self,
        spec: ScheduleSpec,
        progress: Progress,
        wake_at: datetime | None,
        *,
        anchor: datetime,
        declared_in: str | None,
    ) -> bool:
        row = _definition(spec) | _progress(progress, wake_at)
        row |= {"name": spec.name, "anchor_at": anchor, "declared_in": declared_in}
        return self._run(_INSERT[self._connection.dialect.name], row).first() is not None

    @override
    def change(
        self,
        spec: ScheduleSpec,
        progress: Progress,
        wake_at: datetime | None,
        *,
        version: int,
        declared_in: str | None,
    ) -> bool:
        values = _definition(spec) | _progress(progress, wake_at) | {"declared_in": declared_in}
        values |= {"problem": None, "rings": 0, "updated_at": DbNow()}
        return self._change(spec.name, version, values)

    @override
    def move(
        self, name: str, progress: Progress, wake_at: datetime | None, *, version: int
    ) -> bool:
        values = _progress(progress, wake_at) | {"problem": None, "rings": 0}
        return self._change(name, version, values)

    def _change(self, name: str, version: int, values: Mapping[str, Any]) -> bool:
        changed = update(SCHEDULES).where(_AT_VERSION).values(version=_C.version + 1, **values)
        return self._changes(changed, {"p_name": name, "p_version": version})

    @override
    def note(self, name: str, problem: str) -> None:
        self._run(update(SCHEDULES).where(_THIS).values(problem=problem), {"p_name": name})

    @override
    def skip(self, name: str, skip: Skip) -> None:
        row = {
            "schedule_name": name,
            "first_at": skip.first,
            "last_at": skip.last,
            "ticks": skip.ticks,
            "reason": skip.reason,
            "detail": skip.detail,
        }
        added = _SKIP[self._connection.dialect.name].values(recorded_at=DbNow())
        self._run(added, row)
        self._run(_PRUNE, {"p_name": name})

    @override
    def delete(self, name: str) -> bool:
        return self._changes(delete(SCHEDULES).where(_THIS), {"p_name": name})


def stored(row: Any) -> StoredSchedule:
    """Return the schedule of a row."""
    every = row.every_seconds
    spec = ScheduleSpec(
        name=row.name,
        flow_name=row.flow_name,
        cron=row.cron,
        every=None if every is None else timedelta(seconds=every),
        timezone=row.timezone,
        inputs=row.inputs,
        time_input=row.time_input,
        options=RunOptions.model_validate(row.options),
        catch_up=row.catch_up,
        catch_up_limit=row.catch_up_limit,
        overlap=row.overlap,
        jitter=timedelta(seconds=row.jitter_seconds),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )
    progress = Progress(
        next_at=row.next_at,
        last_at=row.last_at,
        held_at=row.held_at,
        requested_at=row.requested_at,
        backfill_at=row.backfill_at,
        backfill_until=row.backfill_until,
        paused_at=row.paused_at,
    )
    return StoredSchedule(
        spec,
        progress,
        anchor=row.anchor_at,
        version=row.version,
        wake_at=row.wake_at,
        declared_in=row.declared_in,
        problem=row.problem,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _definition(spec: ScheduleSpec) -> dict[str, Any]:
    return {
        "flow_name": spec.flow_name,
        "cron": spec.cron,
        "every_seconds": None if spec.every is None else spec.every.total_seconds(),
        "timezone": spec.timezone,
        "inputs": spec.inputs,
        "time_input": spec.time_input,
        "options": spec.options.model_dump(mode="json", exclude_defaults=True),
        "catch_up": spec.catch_up,
        "catch_up_limit": spec.catch_up_limit,
        "overlap": spec.overlap,
        "jitter_seconds": spec.jitter.total_seconds(),
        "starts_at": spec.starts_at,
        "ends_at": spec.ends_at,
    }


def _progress(progress: Progress, wake_at: datetime | None) -> dict[str, Any]:
    return {
        "next_at": progress.next_at,
        "wake_at": wake_at,
        "last_at": progress.last_at,
        "held_at": progress.held_at,
        "requested_at": progress.requested_at,
        "backfill_at": progress.backfill_at,
        "backfill_until": progress.backfill_until,
        "paused_at": progress.paused_at,
    }

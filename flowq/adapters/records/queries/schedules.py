"""Schedules with their last runs and skipped ticks, for pages and lists."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, func, select
from typing_extensions import override

from flowq.adapters.records.schedules import stored
from flowq.adapters.records.sql.repository import RUNS, SCHEDULES, SKIPPED, Repository
from flowq.adapters.records.sql.tables import HAS_SCHEDULE
from flowq.adapters.records.sql.types import DbNow, json_entry
from flowq.core.ids import RunId
from flowq.core.schedules.decide import SkipReason
from flowq.core.states import RunState
from flowq.engine.queries.port import SchedulePages
from flowq.engine.queries.schedules import ListedSchedule, ScheduledRun, SkippedTicks

_C, _R, _T = SCHEDULES.c, RUNS.c, SKIPPED.c
_LAST_RUN: Final = (
    select(_R.id)
    .where(HAS_SCHEDULE, _R.schedule_name == _C.name)
    .order_by(_R.id.desc())
    .limit(1)
    .scalar_subquery()
)
_LISTED: Final = select(SCHEDULES, DbNow().label("moment"), _LAST_RUN.label("last_run")).order_by(
    _C.name
)
_RUN: Final = (
    *(_R.id, _R.status, _R.created_at, _R.completed_at),
    *(_R.flow_metadata, _R.error_message),
)


class ScheduleReads(Repository, SchedulePages):
    """The schedules of `Overview`."""

    @override
    def schedules(
        self,
        *,
        after: str = "",
        limit: int = 100,
        names: Sequence[str] | None = None,
        user_id: str | None = None,
    ) -> list[ListedSchedule]:
        query = _LISTED.where(_C.name > after).limit(limit)
        if names is not None:
            query = query.where(_C.name.in_(names))
        if user_id is not None:
            query = query.where(json_entry(_C.options, "user_id") == user_id)
        rows = self._run(query).all()
        runs = self._runs_by_id([row.last_run for row in rows if row.last_run is not None])
        skipped = self._last_skipped([row.name for row in rows])
        return [
            ListedSchedule(stored(row), row.moment, runs.get(row.last_run), skipped.get(row.name))
            for row in rows
        ]

    @override
    def runs_of_schedule(self, name: str, *, limit: int = 20) -> list[ScheduledRun]:
        query = select(*_RUN).where(HAS_SCHEDULE, _R.schedule_name == name)
        return [_run(row) for row in self._run(query.order_by(_R.id.desc()).limit(limit))]

    @override
    def skipped_ticks(self, name: str, *, limit: int = 20) -> list[SkippedTicks]:
        query = select(SKIPPED).where(_T.schedule_name == name).order_by(_T.first_at.desc())
        return [_skipped(row) for row in self._run(query.limit(limit))]

    def _runs_by_id(self, ids: Sequence[UUID]) -> dict[UUID, ScheduledRun]:
        found = self._run(select(*_RUN).where(_R.id.in_(ids))) if ids else ()
        return {row.id: _run(row) for row in found}

    def _last_skipped(self, names: Sequence[str]) -> dict[str, SkippedTicks]:
        if not names:
            return {}
        last = (
            select(_T.schedule_name, func.max(_T.first_at).label("first_at"))
            .where(_T.schedule_name.in_(names))
            .group_by(_T.schedule_name)
            .subquery("last")
        )
        is_last = and_(_T.schedule_name == last.c.schedule_name, _T.first_at == last.c.first_at)
        rows = self._run(select(SKIPPED).join(last, is_last))
        return {row.schedule_name: _skipped(row) for row in rows}


def _run(row: Any) -> ScheduledRun:
    metadata = row.flow_metadata if isinstance(row.flow_metadata, dict) else {}
    scheduled_for = metadata.get("scheduled_for")
    return ScheduledRun(
        RunId(row.id),
        RunState(row.status),
        row.created_at,
        row.completed_at,
        scheduled_for if isinstance(scheduled_for, str) else None,
        row.error_message,
    )


def _skipped(row: Any) -> SkippedTicks:
    return SkippedTicks(
        row.first_at,
        row.last_at,
        row.ticks,
        SkipReason(row.reason),
        row.detail,
        row.recorded_at,
    )

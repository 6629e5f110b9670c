"""Schedules as a table, as one page of text, and as plain data."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.table import Table
from rich.text import Text

from flowq.core.errors import ScheduleNotFound
from flowq.core.schedules.spec import ScheduleSpec
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.queries.schedules import (
    ListedSchedule,
    ScheduledRun,
    ScheduleState,
    SkippedTicks,
)
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks

_STYLES: Final = {
    ScheduleState.ACTIVE: "green",
    ScheduleState.PAUSED: "yellow",
    ScheduleState.WAITING: "cyan",
    ScheduleState.OVERDUE: "red",
    ScheduleState.ENDED: "dim",
}


def found(engine: Engine, name: str) -> ListedSchedule:
    """Return a schedule with its last run.

    Raises:
        ScheduleNotFound: there is none of that name.
    """
    listed = engine.records.autocommit(lambda tx: tx.overview.schedules(names=[name]))
    if not listed:
        raise ScheduleNotFound(
            f"there is no schedule {name!r}", hint="see all of them: flowq schedules ls"
        )
    return listed[0]


def table(listed: Sequence[ListedSchedule]) -> Table:
    """Return schedules as a table; with a column of reasons if a tick of any is not started."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("name", "state", "when", "next", "last run", "flow"):
        shown.add_column(name, no_wrap=name in {"name", "state", "when"})
    reasons = [one.why for one in listed]
    if any(reasons):
        shown.add_column("why", overflow="fold")
    for one, why in zip(listed, reasons, strict=True):
        shown.add_row(
            one.schedule.spec.name,
            Text(one.state, style=_STYLES[one.state]),
            one.schedule.spec.timing,
            _time(one.schedule.progress.next_at, one.schedule.spec),
            _last(one.last_run),
            one.schedule.spec.flow_name,
            *([why or ""] if any(reasons) else []),
        )
    return shown


def print_one(
    listed: ListedSchedule, runs: Sequence[ScheduledRun], skipped: Sequence[SkippedTicks]
) -> None:
    """Print a schedule with its next ticks, last runs and skipped ticks."""
    console, spec = looks.out(), listed.schedule.spec
    style = _STYLES[listed.state]
    console.print(Text.assemble((spec.name, "bold"), "  ", (listed.state, style)))
    for name, value in _facts(listed):
        console.print(Text.assemble((f"  {name:<10}", "dim"), value))
    if runs:
        console.print(Text("last runs", style="bold"))
    for run in runs:
        mark = looks.mark(run.status, console)
        about = f" {run.id}  {run.status}  {run.scheduled_for or ''}"
        console.print(Text.assemble("  ", mark, about))
    if skipped:
        console.print(Text("skipped ticks", style="bold"))
    for one in skipped:
        span = _time(one.first, spec)
        more = f" to {_time(one.last, spec)} ({one.ticks:,} ticks)" if one.ticks > 1 else ""
        detail = f": {one.detail}" if one.detail else ""
        console.print(Text(f"  {span}{more}  {one.reason}{detail}"))


def _facts(listed: ListedSchedule) -> list[tuple[str, str]]:
    schedule, spec = listed.schedule, listed.schedule.spec
    coming = ", ".join(_time(tick, spec) for tick in listed.coming(3))
    policies = f"catch_up {spec.catch_up}, overlap {spec.overlap}"
    facts = [("runs", spec.flow_name), ("when", spec.timing), ("next", coming or "never")]
    if listed.why:
        facts.append(("why", listed.why))
    if spec.jitter:
        policies += f", jitter {spec.jitter}"
    facts.append(("rules", policies))
    facts.append(("declared", schedule.declared_in or "added by a command"))
    if schedule.progress.requested_at is not None:
        facts.append(("requested", _time(schedule.progress.requested_at, spec)))
    if schedule.progress.backfill_at is not None:
        until = _time(schedule.progress.backfill_until, spec)
        facts.append(("backfill", f"{_time(schedule.progress.backfill_at, spec)} to {until}"))
    return facts


def _last(run: ScheduledRun | None) -> str:
    return "" if run is None else f"{run.status} {formatting.ago(run.created_at)}"


def _time(time: datetime | None, spec: ScheduleSpec) -> str:
    if time is None:
        return ""
    return time.astimezone(spec.zone).isoformat(" ", "seconds" if time.second else "minutes")


def next_text(schedule: StoredSchedule) -> str:
    """Return when a schedule runs next, as a sentence."""
    if schedule.progress.paused_at is not None or schedule.progress.next_at is None:
        return ""
    return f"Its next tick is {_time(schedule.progress.next_at, schedule.spec)}."


def in_named_zone(time: datetime | None, name: str) -> datetime | None:
    """Return a given time; one without an offset is in the time zone of this name.

    If the zone is unknown, the schedule itself refuses it.
    """
    if time is None or time.tzinfo is not None:
        return time
    try:
        return time.replace(tzinfo=ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return time


def in_zone(time: datetime, spec: ScheduleSpec) -> datetime:
    """Return a given time; one without an offset is in the time zone of the schedule."""
    return time if time.tzinfo is not None else time.replace(tzinfo=spec.zone)


def now_in(spec: ScheduleSpec) -> datetime:
    """Return the present time in the time zone of a schedule."""
    return datetime.now(UTC).astimezone(spec.zone)


def span_of(ticks: Sequence[datetime], spec: ScheduleSpec) -> str:
    """Return the first and the last of some ticks, as text."""
    first, last = _time(ticks[0], spec), _time(ticks[-1], spec)
    return first if len(ticks) == 1 else f"{first} to {last}"


def stored_json(schedule: StoredSchedule) -> dict[str, Any]:
    """Return a schedule as plain data."""
    spec, progress = schedule.spec, schedule.progress
    return {
        **spec.model_dump(mode="json", exclude={"every", "jitter", "options"}),
        "every_seconds": None if spec.every is None else spec.every.total_seconds(),
        "jitter_seconds": spec.jitter.total_seconds(),
        "options": spec.options.model_dump(mode="json", exclude_defaults=True),
        "declared_in": schedule.declared_in,
        "paused_at": progress.paused_at,
        "next_at": progress.next_at,
        "last_at": progress.last_at,
        "requested_at": progress.requested_at,
        "backfill_at": progress.backfill_at,
        "backfill_until": progress.backfill_until,
    }


def as_json(listed: ListedSchedule) -> dict[str, Any]:
    """Return a schedule with its state and last run as plain data."""
    last = None if listed.last_run is None else run_json(listed.last_run)
    own = {"state": listed.state, "why": listed.why, "last_run": last}
    return stored_json(listed.schedule) | own


def run_json(run: ScheduledRun) -> dict[str, Any]:
    """Return a run of a schedule as plain data."""
    names = ("id", "status", "created_at", "completed_at", "scheduled_for", "error")
    return {name: getattr(run, name) for name in names}


def skipped_json(skipped: SkippedTicks) -> dict[str, Any]:
    """Return skipped ticks as plain data."""
    names = ("first", "last", "ticks", "reason", "detail", "recorded_at")
    return {name: getattr(skipped, name) for name in names}

"""Small parts that pages share, as HTML: states, bars, times, sums.

A part has its meaning in words too, never in its colour alone. Arguments are escaped here;
templates output the parts with `raw`. `flowq.js` updates elements with `data-cell`, `data-progress`
and `data-since`.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from tornado.escape import xhtml_escape

from flowq.core.states import TERMINAL_STEP_STATES, RunState
from flowq.engine.model.rows import StepView
from flowq.engine.queries.lists import FlowHistoryRun
from flowq.engine.queries.run_page import ItemView
from flowq.engine.queries.schedules import ScheduleState
from flowq.entrypoints import formatting
from flowq.entrypoints.json_output import json_data

#: A bar that takes the colour of a warning when little is left.
WARNS: Final = "warns"
#: States of runs that look like those of schedules.
_LIKE: Final = {
    ScheduleState.ACTIVE: "running",
    ScheduleState.PAUSED: "paused",
    ScheduleState.WAITING: "waiting",
    ScheduleState.OVERDUE: "failed",
    ScheduleState.ENDED: "skipped",
}
#: Characters of JSON on a page.
_MAX_LENGTH: Final = 4_000


def state(status: str, *, cell: bool = True) -> str:
    """Return a state: its sign and its name.

    Args:
        cell: Whether it is the state of its row or header, which `flowq.js` updates.
    """
    name = xhtml_escape(status)
    mark = ' data-cell="status"' if cell else ""
    return (
        f'<span class="flowq-state"{mark} data-status="{name}">'
        f'<span data-sign aria-hidden="true">{formatting.MARKS[status].sign}</span> '
        f"<span data-name>{name}</span></span>"
    )


def schedule_state(state: ScheduleState) -> str:
    """Return the state of a schedule, in the colours of the states of runs."""
    status = _LIKE[state]
    return (
        f'<span class="flowq-state" data-status="{status}"><span aria-hidden="true">'
        f"{formatting.MARKS[status].sign}</span> {state}</span>"
    )


def local(then: datetime, zone: ZoneInfo) -> str:
    """Return a time in a time zone, with its offset; the title is the time in UTC."""
    utc, shown = then.astimezone(UTC), then.astimezone(zone)
    exact = "seconds" if shown.second else "minutes"
    text = f"{shown.replace(tzinfo=None).isoformat(' ', exact)} {shown:%z}"
    return f'<time datetime="{utc.isoformat()}" title="{_written(utc)}">{text}</time>'


def percent(part: float, whole: float) -> float:
    """Return a share in percent, for a bar."""
    return round(min(max(100 * part / whole, 0.0), 100.0), 1) if whole else 0.0


def done_of(done: int, total: int) -> str:
    """Return how many steps have ended, in words."""
    return f"{formatting.count(done)} of {formatting.count(total)}"


def done_bar(done: int, total: int) -> str:
    """Return how many steps have ended, as a bar that `flowq.js` updates."""
    ended = percent(done, total)
    return (
        f'<span class="flowq-track" role="progressbar" aria-label="Terminal steps" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{ended}" data-progress="{ended}">'
        f'<span class="flowq-bar progress-bar" style="width:{ended}%"></span></span>'
    )


def progress(done: int, total: int) -> str:
    """Return how many steps have ended, in words and as a bar."""
    words = f'<span data-cell="done">{done_of(done, total)}</span>'
    return f'<span class="flowq-progress">{words}{done_bar(done, total)}</span>'


def share(used: float, level: str | None = WARNS) -> str:
    """Return a bar of a share of 1; the caller has to show the share in words too.

    Args:
        level: The state that gives its colour; by default a warning when little is left.
    """
    if level == WARNS:
        level = "failed" if used >= 1 else "paused" if used >= 0.8 else "running"
    return (
        f'<span class="flowq-track" aria-hidden="true"><span class="flowq-bar" '
        f'data-status="{level or ""}" style="width:{percent(used, 1)}%"></span></span>'
    )


def blocks(runs: Sequence[FlowHistoryRun], address: str) -> str:
    """Return runs as a row of small links, as high as they took long beside each other.

    It is not in a template, since a page has a thousand of them.

    Args:
        runs: The runs, the newest last.
        address: The address of the page of a run, without the id.
    """
    found = []
    longest = max((run.execution_time_ms or 0 for run in runs), default=0)
    for run in runs:
        tall = 1 if run.execution_time_ms is None else run.execution_time_ms / max(longest, 1)
        words = f"{run.status}, {formatting.ago(run.created_at)}"
        if run.execution_time_ms is not None:
            words += f", {formatting.duration(run.execution_time_ms / 1000)}"
        found.append(
            f'<a data-status="{run.status}" href="{address}{run.id}" title="{words}" '
            f'style="height:{60 + round(40 * tall)}%" aria-label="Run: {words}">'
            f"{formatting.MARKS[run.status].sign}</a>"
        )
    return "".join(found)


def moment(then: datetime | None) -> str:
    """Return a time in UTC."""
    if then is None:
        return ""
    utc = then.astimezone(UTC)
    return f'<time datetime="{utc.isoformat()}">{_written(utc)}</time>'


def ago(then: datetime | None) -> str:
    """Return how long ago something was; the title is the time."""
    if then is None:
        return ""
    utc = then.astimezone(UTC)
    exact = utc.isoformat(timespec="seconds")
    return (
        f'<time data-ago datetime="{exact}" title="{_written(utc)}">{formatting.ago(then)}</time>'
    )


def clock(then: datetime) -> str:
    """Return a time of day in UTC, with milliseconds; the title is the day."""
    utc = then.astimezone(UTC)
    shows = f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03d}"
    return f'<time datetime="{utc.isoformat()}" title="{utc:%Y-%m-%d} UTC">{shows}</time>'


def instant(then: datetime) -> str:
    """Return a day and a time of day in UTC, with milliseconds."""
    utc = then.astimezone(UTC)
    shows = f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d}"
    return f'<time datetime="{utc.isoformat()}">{shows}</time>'


def elapsed(
    status: RunState, started_at: datetime | None, execution_time_ms: int | None, now: datetime
) -> str:
    """Return how long a run took, or has taken so far."""
    if execution_time_ms is not None:
        return formatting.duration(execution_time_ms / 1000)
    if started_at is None:
        return ""
    if status is RunState.RUNNING:
        return _counting(started_at, now)
    return formatting.duration((now - started_at).total_seconds())


def since(began: datetime | None, ended: datetime | None, *, is_open: bool) -> str:
    """Return how long something took, or has taken so far."""
    if began is None or (ended is None and not is_open):
        return ""
    if ended is None:
        return _counting(began, datetime.now(UTC))
    return formatting.duration((ended - began).total_seconds())


def took(step: StepView | ItemView) -> str:
    """Return how long a step, or an item of a map, took or has taken so far."""
    is_open = step.status not in TERMINAL_STEP_STATES
    return since(step.started_at, step.completed_at, is_open=is_open)


def milliseconds(value: int | None) -> str:
    """Return a duration; a dash if there is none."""
    return "-" if value is None else formatting.duration(value / 1000)


def cost(known: Decimal, unpriced: int) -> str:
    """Return the cost of model calls, and whether some of it is unknown."""
    words = formatting.cost(known, unpriced)
    if not unpriced:
        return words
    calls = counted(unpriced, "call of a model has", "calls of models have")
    return f'<span class="flowq-unknown" title="{calls} an unknown cost">{words}</span>'


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{formatting.count(number)} {one if number == 1 else many or one + 's'}"


def name(text: str) -> str:
    """Return a name with line-break opportunities after dots and underscores."""
    return re.sub(r"([._/])(?=.)", r"\1<wbr>", xhtml_escape(text))


def as_json(data: Any) -> str:
    """Return JSON for people, not escaped; long texts and lists, and the whole, are truncated."""
    text = json.dumps(formatting.shortened(json_data(data)), indent=2, ensure_ascii=False)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def _written(utc: datetime) -> str:
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC"


def _counting(began: datetime, now: datetime) -> str:
    """Return the time since a start; the page keeps counting."""
    so_far = formatting.duration((now - began).total_seconds())
    return f'<time data-since="{began.astimezone(UTC).isoformat()}">{so_far}</time>'

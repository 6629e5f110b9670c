"""Small parts of pages, as HTML or values: states, times, shares, and whose run a task is of.

What is given is escaped here; templates put it out with `raw`.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from tornado.escape import xhtml_escape

from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_STEP_STATES
from flowq.engine.rows import StepView
from flowq.engine.run_page_rows import ItemView
from flowq.entrypoints import shown

#: Of JSON on a page.
_LONGEST: Final = 4_000


def badge(status: str, *, cell: bool = True) -> str:
    """Return a state: its sign and its name, so that it is not told by colour alone.

    Args:
        status: The state.
        cell: Whether it is that of the row or header it stands in, which is kept up to date.
    """
    sign = xhtml_escape(shown.MARKS[status].sign)
    mark = ' data-cell="status"' if cell else ""
    return (
        f'<span class="flowq-state"{mark} data-status="{xhtml_escape(status)}">'
        f'<span data-sign aria-hidden="true">{sign}</span> '
        f"<span data-name>{xhtml_escape(status)}</span></span>"
    )


def moment(then: datetime | None) -> str:
    """Return a time in UTC."""
    if then is None:
        return ""
    utc = then.astimezone(UTC)
    return f'<time datetime="{utc.isoformat()}">{utc:%Y-%m-%d %H:%M:%S} UTC</time>'


def clock(then: datetime) -> str:
    """Return a time of day in UTC, with milliseconds; the day is in its title."""
    utc = then.astimezone(UTC)
    shows = f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03d}"
    return f'<time datetime="{utc.isoformat()}" title="{utc:%Y-%m-%d} UTC">{shows}</time>'


def since(began: datetime | None, ended: datetime | None, *, is_open: bool) -> str:
    """Return how long something took, or has taken so far."""
    if began is None or (ended is None and not is_open):
        return ""
    took = shown.duration(((ended or datetime.now(UTC)) - began).total_seconds())
    if ended is not None:
        return took
    return f'<time data-since="{began.astimezone(UTC).isoformat()}">{took}</time>'


def took(step: StepView | ItemView) -> str:
    """Return how long a step, or an item of a map, took or has taken so far."""
    is_open = step.status not in TERMINAL_STEP_STATES
    return since(step.started_at, step.completed_at, is_open=is_open)


def share(part: float, whole: float) -> float:
    """Return a part of a whole in percent, for a bar."""
    return round(min(100.0, 100 * part / whole), 1) if whole else 0.0


def paid(cost: Decimal, unknown: int, calls: int) -> str:
    """Return what calls of models have cost; what is not known is not called nothing."""
    if not unknown:
        return shown.money(cost)
    if unknown == calls and not cost:
        return "unknown"
    return f"{shown.money(cost)} + {shown.count(unknown)} unknown"


def as_json(data: Any) -> str:
    """Return JSON data for reading: long texts and lists are cut, and so is the whole."""
    text = json.dumps(shown.shortened(data), indent=2, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def run_of_task(task: Any) -> RunId | None:
    """Return the run that a task of Flower's is of, by its ids; None for tasks of others.

    Celery's own ids are random; those of a run and of its steps are UUIDv7 of one moment.
    """
    try:
        root, own = UUID(str(task.root_id)), UUID(str(task.uuid))
    except (AttributeError, ValueError):
        return None
    is_ours = root.version == own.version == 7 and root.int >> 80 == own.int >> 80
    return RunId(root) if is_ours else None

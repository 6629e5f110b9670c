"""Small parts that pages share, as HTML: states, bars, times, sums. Pure.

A part says what it means in words too, never by its colour alone. `flowq.js` finds what it keeps up
to date by `data-cell`, `data-progress` and `data-since`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from tornado.escape import xhtml_escape

from flowq.core.states import RunState
from flowq.engine.list_rows import StripRun
from flowq.entrypoints import shown

#: A bar that changes its colour when little is left.
WARNS: Final = "warns"


def state(status: str, *, cell: str | None = "status") -> str:
    """Return a state: its sign and its name."""
    name = xhtml_escape(status)
    mark = f' data-cell="{cell}"' if cell else ""
    return (
        f'<span class="flowq-state"{mark} data-status="{name}">'
        f'<span data-sign aria-hidden="true">{shown.MARKS[status].sign}</span> '
        f"<span data-name>{name}</span></span>"
    )


def progress(done: int, total: int) -> str:
    """Return how much has been done, in words and as a bar."""
    percent = round(100 * done / total, 1) if total else 0
    words = f"{shown.count(done)} of {shown.count(total)}"
    return (
        f'<span class="flowq-progress"><span data-cell="done">{words}</span>'
        f'<span class="flowq-track" role="progressbar" aria-label="Steps that have ended" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        f'data-progress="{percent}">'
        f'<span class="flowq-bar progress-bar" style="width:{percent}%"></span></span></span>'
    )


def share(used: float, level: str | None = WARNS) -> str:
    """Return a bar of a share of 1; who shows it says it in words beside.

    Args:
        used: The share.
        level: The state whose colour it has; by default it warns when little is left.
    """
    percent = round(100 * min(max(used, 0.0), 1.0), 1)
    if level == WARNS:
        level = "failed" if used >= 1 else "paused" if used >= 0.8 else "running"
    return (
        f'<span class="flowq-track" aria-hidden="true"><span class="flowq-bar" '
        f'data-status="{level or ""}" style="width:{percent}%"></span></span>'
    )


def blocks(runs: Sequence[StripRun], address: str) -> str:
    """Return runs as a row of small links; made here, since a page has a thousand of them.

    Args:
        runs: The runs, the newest last.
        address: Of the page of a run, but for its id.
    """
    found = []
    for run in runs:
        words = f"{run.status}, {shown.ago(run.created_at)}"
        if run.execution_time_ms is not None:
            words += f", {shown.duration(run.execution_time_ms / 1000)}"
        found.append(
            f'<a data-status="{run.status}" href="{address}{run.id}" title="{words}" '
            f'aria-label="Run: {words}">{shown.MARKS[run.status].sign}</a>'
        )
    return "".join(found)


def moment(then: datetime | None) -> str:
    """Return when something was: how long ago, and at the mouse the time."""
    if then is None:
        return ""
    exact = then.astimezone(UTC)
    return (
        f'<time datetime="{exact.isoformat(timespec="seconds")}" '
        f'title="{exact:%Y-%m-%d %H:%M:%S} UTC">{shown.ago(then)}</time>'
    )


def elapsed(
    status: RunState, started_at: datetime | None, execution_time_ms: int | None, now: datetime
) -> str:
    """Return how long a run took, or has taken so far."""
    if execution_time_ms is not None:
        return shown.duration(execution_time_ms / 1000)
    if started_at is None:
        return ""
    so_far = shown.duration((now - started_at).total_seconds())
    if status is not RunState.RUNNING:
        return so_far
    return f'<time data-since="{started_at.isoformat()}">{so_far}</time>'


def milliseconds(value: int | None) -> str:
    """Return a length of time, or a dash where there is none."""
    return "-" if value is None else shown.duration(value / 1000)


def cost(amount: Decimal, tokens: int) -> str:
    """Return what a run has cost; tokens without any known price are no money saved."""
    if tokens and not amount:
        return '<span title="Tokens were used, and none of them has a known price.">unknown</span>'
    return shown.money(amount)


def calls_cost(amount: Decimal, unknown: int) -> str:
    """Return what calls have cost, and of how many that is not known."""
    if not unknown:
        return shown.money(amount)
    known = f"{shown.money(amount)} " if amount else ""
    plus = "+ " if amount else ""
    return f'{known}<span class="flowq-unknown">{plus}{shown.count(unknown)} unknown</span>'


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{shown.count(number)} {one if number == 1 else many or one + 's'}"


def name(text: str) -> str:
    """Return a name that may be broken after its dots and underscores."""
    return re.sub(r"([._/])(?=.)", r"\1<wbr>", xhtml_escape(text))

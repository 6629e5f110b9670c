"""The steps of a flow in its latest runs: a table of small links, and bars of duration and cost.

It is made here and not in a template, since a grid may have 2,500 cells. A cell has its state in
words, as its title; the columns of the bars are as wide as those of the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from flowq.engine.queries.flow_page import FlowGrid, GridCell, GridRun
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.pictures.svg import safe

#: Pixels: the width of a column, as in `grid.css`, and the height of the bars.
COLUMN: Final = 26
_HEIGHT: Final = 48

#: From the name of a rule and its arguments to an address.
Address = Callable[..., str]


@dataclass(frozen=True, slots=True)
class GridRows:
    """The rows of the table, as HTML: the links to the runs, and the steps."""

    head: str
    body: str


def grid_rows(grid: FlowGrid, address: Address) -> GridRows:
    """Return the rows of a grid."""
    head = "".join(_run_cell(run, address) for run in grid.runs)
    body = "".join(
        f'<tr><th scope="row" title="{safe(name)}">{safe(name)}</th>'
        + "".join(_step_cell(run, name, address) for run in grid.runs)
        + "</tr>"
        for name in grid.steps
    )
    return GridRows(head, body)


def trend(grid: FlowGrid, what: str) -> str:
    """Return cells with bars of the duration or the cost of the runs; empty if none has any.

    Args:
        grid: The runs.
        what: `Duration` or `Cost`; the cost is that with the child runs.
    """
    values = [_value(run, what) for run in grid.runs]
    most = max((value for value, _ in values), default=0.0)
    if not most:
        return ""
    bars = "".join(
        f'<g data-status="{run.status}"><title>{safe(words)}</title>'
        f'<rect x="{place * COLUMN + 3}" y="{_HEIGHT - tall:.1f}" '
        f'width="{COLUMN - 6}" height="{tall:.1f}" rx="2"/></g>'
        for place, (run, (value, words)) in enumerate(zip(grid.runs, values, strict=True))
        for tall in [max(value / most * _HEIGHT, 1.0) if value else 0.0]
    )
    summary = f"{what} of the latest runs, the oldest first: {', '.join(w for _, w in values)}"
    width = COLUMN * len(grid.runs)
    top = max(values)[1]
    return (
        f'<td colspan="{len(grid.runs)}">'
        f'<svg class="flowq-trend" role="img" aria-label="{safe(summary)}" width="{width}" '
        f'height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}">{bars}</svg></td>'
        f'<td class="flowq-grid-most" aria-hidden="true">at most {safe(top)}</td>'
    )


def _value(run: GridRun, what: str) -> tuple[float, str]:
    if what == "Cost":
        return float(run.cost), formatting.cost(run.cost, run.unpriced)
    ms = run.execution_time_ms
    return (0.0, "not finished") if ms is None else (float(ms), formatting.duration(ms / 1000))


def _run_cell(run: GridRun, address: Address) -> str:
    words = f"{run.status}, {formatting.ago(run.created_at)}"
    if run.execution_time_ms is not None:
        words += f", {formatting.duration(run.execution_time_ms / 1000)}"
    return _cell(run.status, address("flow-run", run.id), f"Run: {words}")


def _step_cell(run: GridRun, name: str, address: Address) -> str:
    cell = run.cells.get(name)
    if cell is None:
        return "<td></td>"
    if cell.key is not None:
        return _cell(cell.status, address("flow-step", run.id, cell.key), _words(name, cell))
    steps = address("flow-run-tab", run.id, "steps")
    return _cell(cell.status, f"{steps}?text={_query(name)}", _words(name, cell))


def _words(name: str, cell: GridCell) -> str:
    words = f"{name}: {cell.status}"
    if cell.count > 1:
        words += f", {formatting.count(cell.count)} calls"
    if cell.ms is not None:
        words += f", {formatting.duration(cell.ms / 1000)}"
    return words


def _cell(status: Any, href: str, words: str) -> str:
    return (
        f'<td><a data-status="{status}" href="{safe(href)}" title="{safe(words)}" '
        f'aria-label="{safe(words)}">{formatting.MARKS[status].sign}</a></td>'
    )


def _query(text: str) -> str:
    return quote(text, safe="")

"""Sums over calls of models, as a table, CSV or JSON."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from flowq.core.usage import in_digits
from flowq.engine.engine import Engine
from flowq.engine.model.model_calls import CostGroup, CostLine
from flowq.engine.queries.flow_page import Figures, figures
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks

#: How far a preview looks back.
_PREVIEW_DAYS: Final = 30


def print_costs(
    lines: list[CostLine], groups: Sequence[CostGroup], *, as_csv: bool, as_json: bool
) -> None:
    """Print sums over calls of models, by one group or two."""
    if as_csv:
        _print_csv(lines, groups)
    elif as_json:
        looks.print_json([line_json(line) for line in lines])
    elif lines:
        looks.out().print(_table(groups, lines))
        _warn(lines)
    else:
        looks.note("No calls of models.")


def _print_csv(lines: list[CostLine], groups: Sequence[CostGroup]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [key for key in line_json(CostLine.total([])) if key not in {"name", "also"}]
    writer.writerow([*map(str, groups), *numbers])
    for line in lines:
        data = line_json(line)
        names = [line.name, line.also][: len(groups)]
        writer.writerow(
            [*("" if name is None else name for name in names), *map(data.get, numbers)]
        )
    for row in text.getvalue().splitlines():
        looks.out().print(Text(row), soft_wrap=True)


def _table(groups: Sequence[CostGroup], lines: list[CostLine]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for group in groups:
        table.add_column(group.key or group.by.value)
    for name in ("calls", "failed", "input", "cached", "output", "cost", "unknown"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        names = zip(groups, (line.name, line.also), strict=False)
        cells = [Text(group.nameless if name is None else name) for group, name in names]
        table.add_row(*cells, *_cells(line))
    if len(lines) > 1:
        table.add_section()
        blank = [""] * (len(groups) - 1)
        table.add_row("total", *blank, *_cells(CostLine.total(lines)), style="bold")
    return table


def _cells(line: CostLine) -> list[str]:
    return [
        formatting.count(line.calls),
        formatting.count(line.failed) if line.failed else "",
        formatting.count(line.tokens.input),
        formatting.count(line.tokens.cached) if line.tokens.cached else "",
        formatting.count(line.tokens.output),
        formatting.money(line.cost) if line.cost or not line.unknown else "unknown",
        formatting.count(line.unknown) if line.unknown else "",
    ]


def _warn(lines: list[CostLine]) -> None:
    unknown = sum(line.unknown for line in lines)
    if unknown:
        calls = "1 call" if unknown == 1 else f"{unknown:,} calls"
        looks.note(
            f"The cost of {calls} is unknown and not in the sums: no price, or no answer. "
            "FLOWQ_PRICES sets prices."
        )


def line_json(line: CostLine) -> dict[str, Any]:
    """Return a sum as plain data."""
    also = {} if line.also is None else {"also": line.also}
    return {
        "name": line.name,
        **also,
        "calls": line.calls,
        "failed": line.failed,
        "unknown": line.unknown,
        "input_tokens": line.tokens.input,
        "cached_tokens": line.tokens.cached,
        "output_tokens": line.tokens.output,
        "cost": in_digits(line.cost),
    }


def print_preview(engine: Engine, flow_name: str, *, as_json: bool) -> None:
    """Print what the latest runs of a flow have cost, before another one is started."""
    since = datetime.now(UTC) - timedelta(days=_PREVIEW_DAYS)
    history = engine.records.autocommit(lambda tx: tx.overview.history(flow_name, since=since))
    seen = figures(() if history is None else history.runs)
    if as_json:
        looks.print_json({"flow": flow_name, "days": _PREVIEW_DAYS, **_preview_json(seen)})
        return
    out = looks.out()
    out.print(Text(f"The inputs of {flow_name} are valid. Nothing was started."))
    if seen.median_cost is None:
        others = f" ({_not_counted(seen)})" if _not_counted(seen) else ""
        out.print(f"No run of it has completed in the last {_PREVIEW_DAYS} days{others}.")
        return
    others = f" ({_not_counted(seen)})" if _not_counted(seen) else ""
    runs = "run" if seen.completed == 1 else "runs"
    out.print(
        f"Its last {formatting.count(seen.completed)} completed {runs} in {_PREVIEW_DAYS} days, "
        f"with their child runs{others}:"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "median", "95 %"):
        table.add_column(name)
    table.add_row(
        "cost", *(formatting.money(one or Decimal(0)) for one in (seen.median_cost, seen.p95_cost))
    )
    times = (seen.median_ms, seen.p95_ms)
    if None not in times:
        table.add_row("time", *(formatting.duration((one or 0) / 1000) for one in times))
    out.print(table)
    if history is not None and history.lacks_children:
        looks.note("There are too many child runs to read all of them: the costs are higher.")
    if seen.unpriced:
        looks.note(f"The cost of {formatting.count(seen.unpriced)} of their calls is unknown.")


def _not_counted(seen: Figures) -> str:
    """Return how many runs have ended without a result, which are in no median."""
    states = ((seen.failed, "failed"), (seen.cancelled, "cancelled"))
    words = [f"{formatting.count(number)} {state}" for number, state in states if number]
    return f"not counted: {', '.join(words)}" if words else ""


def _preview_json(seen: Figures) -> dict[str, Any]:
    costs = {"median_cost": seen.median_cost, "p95_cost": seen.p95_cost}
    return {
        "runs": seen.total - seen.open,
        "completed": seen.completed,
        "failed": seen.failed,
        **{key: None if cost is None else in_digits(cost) for key, cost in costs.items()},
        "median_ms": seen.median_ms,
        "p95_ms": seen.p95_ms,
        "unpriced_calls": seen.unpriced,
    }

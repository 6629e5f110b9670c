"""Sums over calls of models, as a table: by flow, model, user or day."""

from typing import Any

from rich.table import Table
from rich.text import Text

from flowq.core.usage import in_digits
from flowq.engine.model.model_calls import NAMELESS, CostBy, CostLine
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks


def print_costs(lines: list[CostLine], by: CostBy, *, as_json: bool) -> None:
    """Print sums over calls of models."""
    if as_json:
        looks.print_json([line_json(line) for line in lines])
    elif lines:
        looks.out().print(_table(by, lines))
        _warn(lines)
    else:
        looks.note("No calls of models.")


def _table(by: CostBy, lines: list[CostLine]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(by.value)
    for name in ("calls", "failed", "input", "cached", "output", "cost", "unknown"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(Text(line.name or NAMELESS.get(by, "")), *_cells(line))
    if len(lines) > 1:
        table.add_section()
        table.add_row("total", *_cells(CostLine.total(lines)), style="bold")
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
    return {
        "name": line.name,
        "calls": line.calls,
        "failed": line.failed,
        "unknown": line.unknown,
        "input_tokens": line.tokens.input,
        "cached_tokens": line.tokens.cached,
        "output_tokens": line.tokens.output,
        "cost": in_digits(line.cost),
    }

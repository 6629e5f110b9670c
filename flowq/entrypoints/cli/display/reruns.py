"""Prints the preview of a rerun: which steps are reused, which run and why, and their cost."""

from typing import Any

from rich.table import Table

from flowq.engine.model.reruns import RerunPreview
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console
from flowq.entrypoints.rerun_reasons import reason, totals, what_happens


def print_preview(preview: RerunPreview) -> None:
    """Print a preview as a table with its totals."""
    table = Table("step", "", "why", "first cost", box=None, pad_edge=False)
    for step in preview.steps:
        table.add_row(step.key, what_happens(step), reason(step), formatting.money(step.cost))
    console.out().print(table)
    reused, runs = totals(preview)
    console.note(
        f"Reused: {reused} ({formatting.money(preview.saved_cost)}). "
        f"To run: {runs} ({formatting.money(preview.first_cost)} the first time)."
    )
    for note in preview.notes:
        console.note(note)


def preview_json(preview: RerunPreview) -> dict[str, Any]:
    """Return a preview as JSON data."""
    return {
        "run_id": preview.run_id,
        "flow_name": preview.flow_name,
        "reused": len(preview.reused),
        "runs": len(preview.runs),
        "saved_tokens": preview.saved_tokens,
        "saved_cost": preview.saved_cost,
        "first_cost": preview.first_cost,
        "notes": list(preview.notes),
        "steps": [
            {
                "key": step.key,
                "name": step.name,
                "reused": step.is_reused,
                "why": step.why,
                "reused_items": None if step.items is None else len(step.items.reused),
                "items_to_compare": None if step.items is None else len(step.items.maybe),
                "items_to_run": None if step.items is None else len(step.items.runs),
                "says": reason(step),
                "status": step.state,
                "tokens": step.tokens,
                "cost": step.cost,
            }
            for step in preview.steps
        ],
    }

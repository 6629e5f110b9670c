"""Prints the preview of a rerun: which steps are reused, which run and why, and their cost."""

from typing import Any

from rich.table import Table

from flowq.engine.runs.reruns import PlannedStep, RerunPreview
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console
from flowq.entrypoints.rerun_reasons import WHY


def reason(step: PlannedStep) -> str:
    """Return why a step runs, and what of a map may be reused all the same."""
    why = "" if step.why is None else WHY[step.why]
    if step.why is None or not step.items:
        return why
    return f"{why}; {step.items} completed items are reused if their inputs are the same"


def print_preview(preview: RerunPreview) -> None:
    """Print a preview as a table with its totals."""
    table = Table("step", "", "why", "first cost", box=None, pad_edge=False)
    for step in preview.steps:
        action = "reused" if step.is_reused else "runs"
        table.add_row(step.key, action, reason(step), formatting.money(step.cost))
    console.out().print(table)
    console.note(
        f"Reused: {len(preview.reused)} ({formatting.money(preview.saved_cost)}). "
        f"To run: {len(preview.runs)} ({formatting.money(preview.first_cost)} the first time)."
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
                "completed_items": step.items,
                "status": step.state,
                "tokens": step.tokens,
                "cost": step.cost,
            }
            for step in preview.steps
        ],
    }

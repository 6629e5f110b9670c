"""What a live page of a run shows, and what the same page shows when it is loaded anew."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from flowq.core.events import Event
from flowq.engine.model.rows import RunView
from flowq.entrypoints.flower.live.state import RunProjection


def shown_live(events: Iterable[Event]) -> dict[str, Any]:
    """What a page shows after these events, whenever it began to listen."""
    board = RunProjection()
    for event in events:
        board.take(event)
    lines = board.changes.since("").lines
    (run,) = lines["run"]
    steps = {
        line["key"]: (line.get("status"), line["tokens"], line["cost"], line["unpriced"])
        for line in lines.get("steps", ())
    }
    totals = (run["done"], run["total"], run["tokens"], run["cost"], run["unpriced"])
    return {"status": run["status"], "totals": totals, "ms": run["ms"], "steps": steps}


def shown_anew(view: RunView) -> dict[str, Any]:
    """What the page shows when it is loaded now, but for steps that never were queued."""
    steps = {
        step.key: (step.status, step.tokens, _number(step.cost), step.unpriced)
        for step in view.steps
        if step.status != "cancelled" or step.started_at is not None
    }
    totals = (view.done, view.total, view.tokens, _number(view.cost), view.unpriced)
    return {
        "status": view.status,
        "totals": totals,
        "ms": view.execution_time_ms,
        "steps": steps,
    }


def _number(cost: Decimal) -> float:
    return float(cost)

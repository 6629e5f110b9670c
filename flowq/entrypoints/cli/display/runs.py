"""Runs as a table and as plain data, and the failures of one of them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from flowq import bootstrap
from flowq.core.ids import RunId, node_id
from flowq.core.states import StepState
from flowq.core.usage import in_digits
from flowq.engine.model.rows import RunView, StepView
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display.show import Failure

_MAX_FAILED_ITEMS = 5


def table(views: list[RunView], waits: Mapping[RunId, str], failed: Mapping[RunId, int]) -> Table:
    """Return runs as a table; with a column of reasons if any of them waits.

    Args:
        waits: What runs wait for, in a word or two.
        failed: How many of their steps have failed.
    """
    console = looks.out()
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "id", "state", "flow", "steps", "created", "time", "tokens", "cost"):
        right = name in {"steps", "time", "tokens", "cost"}
        shown.add_column(name, no_wrap=name != "flow", justify="right" if right else "left")
    if waits:
        shown.add_column("waits for", overflow="fold")
    for view, short in zip(
        views, formatting.short_ids([str(view.id) for view in views]), strict=True
    ):
        shown.add_row(
            looks.mark(view.status, console),
            short,
            Text(view.status, style=formatting.MARKS[view.status].style),
            Text.assemble(view.flow_name, ("  child run" if view.parent else "", "dim")),
            _progress(view, failed.get(view.id, 0)),
            formatting.ago(view.created_at),
            formatting.duration(_took(view)),
            formatting.count(view.tokens),
            formatting.cost(view.cost, view.unpriced),
            *([waits.get(view.id, "")] if waits else []),
        )
    return shown


def _progress(view: RunView, failed: int) -> Text:
    ended = f"{formatting.count(view.done)} of {formatting.count(view.total)}"
    return Text.assemble(ended, (f", {formatting.count(failed)} failed" if failed else "", "red"))


def _took(view: RunView) -> float | None:
    if view.completed_at is None or view.started_at is None:
        return None
    return (view.completed_at - view.started_at).total_seconds()


def failures(view: RunView) -> list[Failure]:
    """Return the failed steps, the cause first; failed items replace their map."""
    failed = [step for step in view.steps if step.failed or step.status is StepState.FAILED]
    failed.sort(key=lambda step: (step.completed_at is None, step.completed_at, step.order))
    found: list[Failure] = []
    for step in failed:
        found += _failed_items(view, step) if step.map_size else [Failure.of_step(step)]
    return found


def _failed_items(view: RunView, step: StepView) -> list[Failure]:
    stored = bootstrap.engine().records.autocommit(lambda tx: tx.steps.items(view.id, step.key))
    failed = [item for item in stored if item.status is StepState.FAILED]
    found = [Failure.of_item(item) for item in failed[:_MAX_FAILED_ITEMS]]
    if found and len(failed) > len(found):
        found.append(Failure.of_rest(step.key, len(failed) - len(found)))
    return found or [Failure.of_step(step)]


def as_json(view: RunView) -> dict[str, Any]:
    """Return a run as plain data."""
    names = (
        "id flow_name status user_id priority starts_at created_at started_at completed_at "
        "execution_time_ms total done tokens cost unpriced inputs outputs error stop_kind "
        "failed_step_id continued_as rerun_of"
    )
    return _facts(view, names)


def step_json(run_id: RunId, step: StepView, after: tuple[str, ...]) -> dict[str, Any]:
    """Return a step of a run, and the steps that it waits for, as plain data."""
    names = (
        "key name order status map_size counts total done failed attempts recoveries started_at "
        "completed_at execution_time_ms tokens cost unpriced hits saved_tokens saved_cost worker "
        "error_type error_message failed_step_id metadata"
    )
    return {"id": node_id(run_id, step.key), **_facts(step, names), "after": after}


def _facts(view: object, names: str) -> dict[str, Any]:
    values = {name: getattr(view, name) for name in names.split()}
    money = {name: in_digits(value) for name, value in values.items() if isinstance(value, Decimal)}
    return {**values, **money}

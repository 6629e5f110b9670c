"""`flowq runs`: what the records say about runs, and an end to those that should not go on."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from flowq import bootstrap
from flowq.client import Run
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.core.usage import in_digits
from flowq.engine.model.model_calls import CostBy
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.waits.explain import in_short_of, why_waits
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.app import apps, environment
from flowq.entrypoints.cli.commands.cost import line_json, print_costs
from flowq.entrypoints.cli.commands.run import print_ended, print_failed, print_left
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display.live import follow
from flowq.entrypoints.cli.display.show import Failure, print_run
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK

_MOST_FAILED_ITEMS = 5


def ls(
    *, status: str | None, flow_name: str | None, waiting: bool, limit: int, as_json: bool
) -> int:
    """List the newest runs."""
    _prepare()
    state = RunState(status) if status else None
    views = bootstrap.engine().records.single(
        lambda tx: tx.runs.views(status=state, flow_name=flow_name, waiting=waiting, limit=limit)
    )
    open_runs = [view.id for view in views if view.status not in TERMINAL_RUN_STATES]
    waits = in_short_of(bootstrap.engine(), open_runs)
    if as_json:
        looks.print_json([_run_json(view) | {"waits": waits.get(view.id)} for view in views])
    elif views:
        looks.out().print(_table(views, waits))
    elif status or flow_name or waiting:
        looks.note("No such run. All of them: flowq runs ls")
    else:
        looks.note("No runs yet. Start one: flowq demo")
    return OK


def show(*, run_id: str, traceback: bool, as_json: bool) -> int:
    """Show a run."""
    _prepare()
    run = Run.get(run_id)
    view = run.view()
    failures = _failures(view)
    known = bootstrap.engine().definitions.shown(run.id)
    calls = bootstrap.engine().records.single(
        lambda tx: tx.llm_requests.costs(CostBy.MODEL, run_id=run.id)
    )
    is_over = view.status in TERMINAL_RUN_STATES
    waits = [] if is_over else why_waits(bootstrap.engine(), run.id)
    if as_json:
        before = known.graph.dependencies
        steps = [_step_json(step, before.get(step.key, ())) for step in view.steps]
        formatting = [failure.as_json() for failure in failures]
        models = [line_json(line) for line in calls]
        waiting = {"waits": [one.as_json() for one in waits]}
        told = {"steps": steps, "failures": formatting, "models": models}
        looks.print_json({**_run_json(view), **waiting, **told})
    else:
        spec = known.definition.spec
        print_run(view, spec, known.graph, failures, calls=calls, waits=waits, unfold=traceback)
    return OK


def watch(*, run_id: str, as_json: bool) -> int:
    """Follow a run until it ends."""
    _prepare()
    run = Run.get(run_id)
    try:
        view = follow(run)
    except KeyboardInterrupt:
        print_left(run)
        return INTERRUPTED
    if as_json:
        looks.print_json(_run_json(view))
    if view.status is RunState.COMPLETED:
        return OK
    print_failed(view)
    return FAILED


def result(*, run_id: str, as_json: bool) -> int:
    """Print what a run returned."""
    _prepare()
    run = Run.get(run_id)
    view = run.view()
    if view.completed_at is None and view.status is not RunState.COMPLETED:
        looks.note(
            f"Run {run.id} is {view.status}; it has no result yet: flowq runs watch {run.id}"
        )
        return FAILED
    return print_ended(run, view, as_json=as_json)


def cost(
    *,
    by: str,
    days: float | None,
    flow_name: str | None,
    user_id: str | None,
    run_id: str | None,
    as_json: bool,
) -> int:
    """Print what calls of models have cost."""
    _prepare()
    since = datetime.now(UTC) - timedelta(days=days) if days else None
    run = Run.get(run_id).id if run_id else None
    lines = bootstrap.engine().records.single(
        lambda tx: tx.llm_requests.costs(
            CostBy(by), since=since, flow_name=flow_name, user_id=user_id, run_id=run
        )
    )
    print_costs(lines, CostBy(by), as_json=as_json)
    return OK


def cancel(*, run_ids: Sequence[str], reason: str | None, wait: bool, as_json: bool) -> int:
    """Cancel runs."""
    _prepare()
    runs = [Run.get(run_id) for run_id in run_ids]  # all are found before the first is cancelled
    runs = list(dict.fromkeys(runs))
    at_once = {run: run.cancel(reason) for run in runs}
    states = at_once
    if wait:
        try:
            states = {run: run.wait() for run in runs}
        except KeyboardInterrupt:
            looks.note()
            looks.note("You left; the runs are being cancelled. ", ("flowq runs ls", "bold"))
            return INTERRUPTED
    if as_json:
        looks.print_json([{"id": run.id, "status": state} for run, state in states.items()])
    for run, state in states.items():
        if state is RunState.CANCELLING:
            looks.note(
                f"Run {run.id} is cancelling: running steps are ending. ",
                (f"flowq runs watch {run.id}", "bold"),
            )
        elif state is RunState.CANCELLED:
            looks.note(f"Run {run.id} is cancelled.")
        else:
            before = "already " if at_once[run] is state else ""
            looks.note(f"Run {run.id} has {before}{state}.")
    stopped = {RunState.CANCELLING, RunState.CANCELLED}
    return OK if stopped.issuperset(states.values()) else FAILED


def pause(*, run_ids: Sequence[str], reason: str | None, as_json: bool) -> int:
    """Pause runs."""
    return _turn(run_ids, lambda run: run.pause(reason), {RunState.PAUSED}, as_json=as_json)


def resume(*, run_ids: Sequence[str], as_json: bool) -> int:
    """Resume runs."""
    going = {RunState.RUNNING, RunState.COMPLETED}
    return _turn(run_ids, Run.resume, going, as_json=as_json)


def raise_budget(*, run_id: str, usd: str | None, tokens: int | None, as_json: bool) -> int:
    """Raise the budget of a run."""
    going = set(RunState) - {RunState.FAILED, RunState.CANCELLED}
    return _turn(
        [run_id], lambda run: run.raise_budget(usd=usd, tokens=tokens), going, as_json=as_json
    )


def _turn(
    run_ids: Sequence[str],
    turn: Callable[[Run[Any]], RunState],
    wanted: Collection[RunState],
    *,
    as_json: bool,
) -> int:
    """Change the state of runs and say in which each is now."""
    _prepare()
    runs = dict.fromkeys([Run.get(run_id) for run_id in run_ids])  # all, before the first is turned
    states = {run: turn(run) for run in runs}
    if as_json:
        looks.print_json([{"id": run.id, "status": state} for run, state in states.items()])
    for run, state in states.items():
        ended = "has" if state in wanted else "has already"
        has = ended if state in {RunState.COMPLETED, RunState.FAILED} else "is"
        looks.note(f"Run {run.id} {has} {state}.")
    return OK if set(wanted).issuperset(states.values()) else FAILED


def signal(*, run_id: str, name: str, payload: str | None, as_json: bool) -> int:
    """Send a signal to a run."""
    data = _data(payload)
    _prepare()
    run = Run.get(run_id)
    run.send_signal(name, data)
    if as_json:
        looks.print_json({"id": run.id, "signal": name})
    looks.note(f"Signal {name!r} is sent. ", (f"flowq runs watch {run.id}", "bold"))
    return OK


def _data(payload: str | None) -> Any:
    try:
        return None if payload is None else json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(
            f"{payload!r} is not JSON: {error}; text is written '\"…\"'", param_hint="JSON"
        ) from None


def _prepare() -> None:
    apps.use_named()
    environment.prepare_database()


# --- the list -------------------------------------------------------------------------------------


def _table(views: list[RunView], waits: Mapping[RunId, str]) -> Table:
    console = looks.out()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "id", "state", "flow", "steps", "created", "time", "tokens", "cost"):
        right = name in {"steps", "time", "tokens", "cost"}
        table.add_column(name, no_wrap=name != "flow", justify="right" if right else "left")
    if waits:
        table.add_column("waits for", overflow="fold")
    for view, short in zip(
        views, formatting.short_ids([str(view.id) for view in views]), strict=True
    ):
        table.add_row(
            looks.mark(view.status, console),
            short,
            Text(view.status, style=formatting.MARKS[view.status].style),
            Text.assemble(view.flow_name, ("  child run" if view.parent else "", "dim")),
            f"{formatting.count(view.done)} of {formatting.count(view.total)}",
            formatting.ago(view.created_at),
            formatting.duration(_took(view)),
            formatting.count(view.tokens),
            formatting.cost(view.cost, view.unpriced),
            *([waits.get(view.id, "")] if waits else []),
        )
    return table


def _took(view: RunView) -> float | None:
    if view.completed_at is None or view.started_at is None:
        return None
    return (view.completed_at - view.started_at).total_seconds()


# --- one run --------------------------------------------------------------------------------------


def _failures(view: RunView) -> list[Failure]:
    """Return what has failed, the cause first: items stand for their map."""
    failed = [step for step in view.steps if step.failed or step.status is StepState.FAILED]
    failed.sort(key=lambda step: (step.completed_at is None, step.completed_at, step.order))
    found: list[Failure] = []
    for step in failed:
        found += _failed_items(view, step) if step.map_size else [Failure.of_step(step)]
    return found


def _failed_items(view: RunView, step: StepView) -> list[Failure]:
    stored = bootstrap.engine().records.single(lambda tx: tx.steps.items(view.id, step.key))
    failed = [item for item in stored if item.status is StepState.FAILED]
    found = [Failure.of_item(item) for item in failed[:_MOST_FAILED_ITEMS]]
    if found and len(failed) > len(found):
        found.append(Failure.of_rest(step.key, len(failed) - len(found)))
    return found or [Failure.of_step(step)]


def _run_json(view: RunView) -> dict[str, Any]:
    names = (
        "id flow_name status user_id created_at started_at completed_at execution_time_ms "
        "total done tokens cost unpriced inputs outputs error continued_as"
    )
    return _facts(view, names)


def _step_json(step: StepView, after: tuple[str, ...]) -> dict[str, Any]:
    names = (
        "key name order status map_size counts total done failed attempts recoveries started_at "
        "completed_at execution_time_ms tokens cost unpriced hits saved_tokens saved_cost worker "
        "error_type error_message metadata"
    )
    return {**_facts(step, names), "after": after}


def _facts(view: object, names: str) -> dict[str, Any]:
    values = {name: getattr(view, name) for name in names.split()}
    money = {name: in_digits(value) for name, value in values.items() if isinstance(value, Decimal)}
    return {**values, **money}

"""`flowq runs ls, show, watch, events, result`: commands that read recorded runs."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from flowq.engine.model.actions import ActionView

_by_flow = click.option(
    "--flow", "flow_name", metavar="NAME", help="Only runs of this flow, by its registered name."
)


@click.command()
@click.option(
    "--status",
    "--state",  # as of the commands that change runs
    type=click.Choice([state.value for state in RunState]),
    help="Only runs in this state.",
)
@_by_flow
@click.option("--waiting", is_flag=True, help="Only open runs without a running step.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="The most runs.",
)
@options.as_json
def ls(
    *, status: str | None, flow_name: str | None, waiting: bool, limit: int, as_json: bool
) -> int:
    """List the newest runs."""
    from flowq.engine.queries.lists import MAX_STEPS_COUNTED
    from flowq.engine.waits.explain import summaries_of
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, runs

    engine = recorded.engine()
    state = RunState(status) if status else None
    views = engine.records.autocommit(
        lambda tx: tx.runs.views(status=state, flow_name=flow_name, waiting=waiting, limit=limit)
    )
    # A paused run waits for a person, whatever its steps wait for.
    settled = {*TERMINAL_RUN_STATES, RunState.PAUSED}
    open_runs = [view.id for view in views if view.status not in settled]
    waits = summaries_of(engine, open_runs)
    small = [view.id for view in views if view.total <= MAX_STEPS_COUNTED]
    failed = engine.records.autocommit(lambda tx: tx.overview.failed_counts(small))
    if as_json:
        counted = {run_id: failed.get(run_id, 0) for run_id in small}
        console.print_json(
            [
                runs.as_json(view) | {"failed": counted.get(view.id), "waits": waits.get(view.id)}
                for view in views
            ]
        )
    elif views:
        console.out().print(runs.table(views, waits, failed))
    elif status or flow_name or waiting:
        console.note("No such run. All of them: flowq runs ls")
    else:
        console.note("No runs yet. Start one: flowq demo")
    return OK


@click.command()
@options.run_id
@click.option("--traceback", is_flag=True, help="Show the tracebacks of failed steps.")
@options.as_json
def show(run_id: str, *, traceback: bool, as_json: bool) -> int:
    """Show a run: inputs, steps, cost, errors."""
    from flowq.engine.model.model_calls import CostBy
    from flowq.engine.waits.explain import why_waits
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, costs, runs
    from flowq.entrypoints.cli.display.show import print_run

    engine = recorded.engine()
    run = recorded.run(run_id)
    view = run.view()
    failed = runs.failures(view)
    known = engine.definitions.shown(run.id)
    calls = engine.records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.MODEL, run_id=run.id))
    waits = [] if view.status in TERMINAL_RUN_STATES else why_waits(engine, run.id)
    if as_json:
        before = known.graph.dependencies
        document = {
            "waits": [one.as_json() for one in waits],
            "steps": [
                runs.step_json(run.id, step, before.get(step.key, ())) for step in view.steps
            ],
            "failures": [failure.as_json() for failure in failed],
            "models": [costs.line_json(line) for line in calls],
        }
        console.print_json(runs.as_json(view) | document)
    else:
        spec = known.definition.spec
        print_run(view, spec, known.graph, failed, calls=calls, waits=waits, unfold=traceback)
    return OK


@click.command()
@options.run_id
@options.as_json
def watch(run_id: str, *, as_json: bool) -> int:
    """Follow a run until it ends.

    Exits with 0 when it has completed, and with 1 when it has failed or was cancelled.
    """
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, live, output, runs

    run = recorded.run(run_id)
    try:
        view = live.follow(run)
    except KeyboardInterrupt:
        output.print_left(run)
        return INTERRUPTED
    if as_json:
        console.print_json(runs.as_json(view))
    if view.status is RunState.COMPLETED:
        return OK
    output.print_failed(view)
    return FAILED


@click.command()
@options.run_id
@click.option("--follow", is_flag=True, help="Print further events until the run ends.")
@click.option("--after", metavar="EVENT", help="Start after the event with this id.")
@options.as_json
def events(run_id: str, *, follow: bool, after: str | None, as_json: bool) -> int:
    """Print what has happened in a run: its events, and actions on it.

    Actions (pause, resume, cancel, signal, raise_budget) have who did it. With --json each line is
    a JSON object. With --follow it exits with 0 when the run has completed, and with 1 when it has
    failed or was cancelled.
    """
    from flowq.core.events import Event, WorkflowCompleted, to_json
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.app.actions import Actions
    from flowq.entrypoints.cli.display import console, output
    from flowq.entrypoints.cli.display.events import action_json, action_line, line
    from flowq.entrypoints.escaping import escaped_json

    run = recorded.run(run_id)
    last: Event | None = None
    out = console.out()
    actions = Actions(run.id, since_start=after is None)

    def show(found: "Sequence[ActionView]") -> None:
        for one in found:
            if as_json:
                click.echo(json.dumps(action_json(one), ensure_ascii=True))
            else:
                out.print(action_line(one), soft_wrap=True)

    try:
        for event in run.events(after, wait=follow):
            show(actions.before(event.timestamp))
            if as_json:
                click.echo(escaped_json(to_json(event)))
                sys.stdout.flush()
            else:
                out.print(line(event), soft_wrap=True)
            last = event
        show(actions.before(None))
    except KeyboardInterrupt:
        output.print_left(run)
        return INTERRUPTED
    if last is None or not follow:
        return OK
    return OK if isinstance(last, WorkflowCompleted) else FAILED


@click.command()
@options.run_id
@options.as_json
def result(run_id: str, *, as_json: bool) -> int:
    """Print what a completed run returned."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, output

    run = recorded.run(run_id)
    view = run.view()
    if view.completed_at is None and view.status is not RunState.COMPLETED:
        console.note(
            f"Run {run.id} is {view.status}; it has no result yet: flowq runs watch {run.id}"
        )
        return FAILED
    return OK if output.print_ended(run, view, as_json=as_json) else FAILED

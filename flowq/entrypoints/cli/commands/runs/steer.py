"""`flowq runs cancel, pause, resume, raise-budget, signal`: what changes runs."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.runs.chosen import chosen, filtered
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from flowq.client import Run


@click.command()
@filtered
@click.option("--reason", metavar="TEXT", help="A reason, which is recorded with each run.")
@click.option("--wait", is_flag=True, help="Wait until the runs are terminal.")
@options.as_json
def cancel(*, reason: str | None, wait: bool, as_json: bool) -> int:
    """Cancel runs and their child runs.

    Give their ids, or a filter; a filter asks for a confirmation that has the number of runs.

    Running steps are asked to stop, and are stopped after a grace period where that is possible.
    Exits with 1 when one of the runs was already terminal: its state does not change.
    """
    from flowq.entrypoints.cli.display import console

    found = chosen(what="Cancel", able=OPEN_RUN_STATES - {RunState.CANCELLING})
    if found is None:
        return FAILED
    at_once, failed = _all(found, lambda run: run.cancel(reason))
    states = at_once
    if wait:
        try:
            states = {run: run.wait() for run in at_once}
        except KeyboardInterrupt:
            console.note()
            console.note(
                "Stopped waiting; the runs are being cancelled. ", ("flowq runs ls", "bold")
            )
            return INTERRUPTED
    if as_json:
        console.print_json([{"id": run.id, "status": state} for run, state in states.items()])
    for run, state in states.items():
        if state is RunState.CANCELLING:
            console.note(
                f"Run {run.id} is cancelling: running steps are being stopped. ",
                (f"flowq runs watch {run.id}", "bold"),
            )
        elif state is RunState.CANCELLED:
            console.note(f"Run {run.id} is cancelled.")
        else:
            before = "already " if at_once[run] is state else ""
            console.note(f"Run {run.id} has {before}{state}.")
    stopped = {RunState.CANCELLING, RunState.CANCELLED}
    return OK if not failed and stopped.issuperset(states.values()) else FAILED


@click.command()
@filtered
@click.option("--reason", metavar="TEXT", help="A reason, which is recorded with each run.")
@options.as_json
def pause(*, reason: str | None, as_json: bool) -> int:
    """Pause runs and their child runs.

    Give their ids, or a filter; a filter asks for a confirmation that has the number of runs.

    Running steps continue to their end; nothing else begins until `flowq runs resume`. Exits with 1
    when one of the runs is stopping or was already terminal.
    """
    found = chosen(what="Pause", able=frozenset({RunState.RUNNING}))
    if found is None:
        return FAILED
    return _change(found, lambda run: run.pause(reason), {RunState.PAUSED}, as_json=as_json)


@click.command("raise-budget")
@options.run_id
@click.option("--usd", metavar="AMOUNT", help="New cost limit of the run in USD, in total.")
@click.option("--tokens", type=int, help="New token limit of the run, in total.")
@options.as_json
def raise_budget(run_id: str, *, usd: str | None, tokens: int | None, as_json: bool) -> int:
    """Raise the budget of a run; resume it if that was spent."""
    going = set(RunState) - {RunState.FAILED, RunState.CANCELLED}
    from flowq.entrypoints.cli.app import recorded

    runs = recorded.runs([run_id])
    return _change(
        runs, lambda run: run.raise_budget(usd=usd, tokens=tokens), going, as_json=as_json
    )


@click.command()
@filtered
@options.as_json
def resume(*, as_json: bool) -> int:
    """Resume paused runs and their child runs.

    Give their ids, or a filter; a filter asks for a confirmation that has the number of runs.
    """
    found = chosen(what="Resume", able=frozenset({RunState.PAUSED}))
    if found is None:
        return FAILED
    going = {RunState.RUNNING, RunState.COMPLETED}
    return _change(found, lambda run: run.resume(), going, as_json=as_json)


@click.command()
@options.run_id
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[JSON]", required=False)
@options.as_json
def signal(run_id: str, name: str, payload: str | None, *, as_json: bool) -> int:
    """Send a signal to a run that waits for it now or later.

    \b
    flowq runs signal 0199b1c2 approve '{"ok": true}'
    """  # noqa: D301 - \b keeps lines
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console

    data = _data(payload)
    run = recorded.run(run_id)
    run.send_signal(name, data)
    if as_json:
        console.print_json({"id": run.id, "signal": name})
    console.note(f"Signal {name!r} is sent. ", (f"flowq runs watch {run.id}", "bold"))
    return OK


def _change(
    runs: "Sequence[Run[Any]]",
    change: Callable[["Run[Any]"], RunState],
    wanted: Collection[RunState],
    *,
    as_json: bool,
) -> int:
    """Change the state of runs and print the new state of each."""
    from flowq.entrypoints.cli.display import console

    states, failed = _all(runs, change)
    if as_json:
        console.print_json([{"id": run.id, "status": state} for run, state in states.items()])
    for run, state in states.items():
        ended = "has" if state in wanted else "has already"
        has = ended if state in {RunState.COMPLETED, RunState.FAILED} else "is"
        console.note(f"Run {run.id} {has} {state}.")
    return OK if not failed and set(wanted).issuperset(states.values()) else FAILED


def _all(
    runs: "Sequence[Run[Any]]", change: Callable[["Run[Any]"], RunState]
) -> "tuple[dict[Run[Any], RunState], bool]":
    """Change each of some runs; return the new states, and whether one could not be changed.

    Raises:
        FlowqError: the first one could not be changed, so nothing has changed.
    """
    from flowq.entrypoints.cli.display import console

    states: dict[Run[Any], RunState] = {}
    failed = False
    for run in runs:
        try:
            states[run] = change(run)
        except FlowqError as error:
            if not states:
                raise
            failed = True
            console.note(f"Run {run.id} is not changed: {error.message}")
            if isinstance(error, Unavailable):
                console.note(f"{len(states):,} of {len(runs):,} runs were changed before that.")
                break
    return states, failed


def _data(payload: str | None) -> Any:
    try:
        return None if payload is None else json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(
            f"{payload!r} is not JSON: {error}; write text as '\"…\"'", param_hint="JSON"
        ) from None

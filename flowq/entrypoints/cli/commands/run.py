"""`flowq run`: check everything that can be wrong, start a run, and follow it when asked to.

The order is that of a person's mistakes: the file, the flow, its inputs, and only then Redis and
the database. A run that is recorded while Redis is away is sent later, and a program that calls
`enqueue` wants that. A person at a terminal wants to know, so here nothing is started then.
"""

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TextIO

from flowq import client
from flowq.client import Run
from flowq.core.states import RunState
from flowq.engine.model.rows import RunView
from flowq.entrypoints.cli.app import apps, environment, inputs
from flowq.entrypoints.cli.app.loading import load_flow, tracing
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display import output
from flowq.entrypoints.cli.display.live import follow
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK


def run(
    *,
    target: str,
    pairs: Sequence[str],
    file: TextIO | None,
    wait: bool,
    timeout: float | None,
    user: str | None,
    idempotency_key: str | None,
    deadline: float | None,
    as_json: bool,
) -> int:
    """Start a run of a flow."""
    environment.settings()
    loaded = load_flow(target)
    flow = loaded.flow
    given = inputs.read(flow, pairs, file)
    flow.type.validate(given)
    if apps.use_named() is None:
        apps.app_in(loaded.module, loaded.file)
    environment.prepare()
    with tracing(flow):
        started = client.submit(
            flow.type,
            given,
            user_id=user,
            idempotency_key=idempotency_key,
            deadline=timedelta(seconds=deadline) if deadline else None,
        )
    if not (wait or timeout):
        _print_started(started, loaded.file, as_json=as_json)
        return OK
    looks.note(("run ", "dim"), (str(started.id), "bold"), ("  of ", "dim"), flow.type.name)
    return wait_for(
        started, timeout=timeout, as_json=as_json, worker_hint=f"flowq worker {loaded.file}"
    )


def _print_started(started: Run[Any], file: str, *, as_json: bool) -> None:
    if as_json:
        looks.print_json(
            {"id": started.id, "flow_name": started.flow_name, "status": started.status}
        )
        return
    sys.stdout.write(f"{started.id}\n")
    sys.stdout.flush()
    flowq = looks.program()
    looks.note((f"  {flowq} runs watch {started.id}", "dim"))
    looks.note((f"  {flowq} runs show {started.id}", "dim"))
    looks.note((f"  {flowq} worker {file}", "dim"), ("        if no worker runs yet", "dim"))


def wait_for(
    started: Run[Any], *, timeout: float | None, as_json: bool, worker_hint: str | None = None
) -> int:
    """Follow a run to its end and print its result.

    Raises:
        ResultTimeout: it did not end in time.
        KeyboardInterrupt: the person at the terminal has seen enough.
    """
    try:
        view = follow(started, timeout=timeout, worker_hint=worker_hint)
    except KeyboardInterrupt:
        print_left(started)
        return INTERRUPTED
    return print_ended(started, view, as_json=as_json)


def print_left(started: Run[Any]) -> None:
    """Say that a run goes on without its watcher."""
    looks.note()
    looks.note("You left; the run goes on. ", (f"flowq runs watch {started.id}", "bold"))


def print_ended(started: Run[Any], view: RunView, *, as_json: bool) -> int:
    """Print the result of a run that has ended, or why there is none."""
    completed = view.status is RunState.COMPLETED
    value = started.result() if completed else None
    if as_json:
        document = {"id": view.id, "flow_name": view.flow_name, "status": view.status}
        looks.print_json({**document, "error": view.error, "result": value})
    elif completed:
        output.print_result(value)
    if not completed:
        print_failed(view)
    return OK if completed else FAILED


def print_failed(view: RunView) -> None:
    """Say why a run has not completed."""
    reason = f": {view.error}" if view.error else ""
    looks.note(("Error: ", "bold red"), f"the run {_PAST.get(view.status, view.status)}{reason}")
    looks.note(("  → ", "bold"), f"flowq runs show {view.id}")


_PAST = {RunState.FAILED: "has failed", RunState.CANCELLED: "was cancelled"}

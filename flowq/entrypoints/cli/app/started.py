"""Prints the run that a command has started: its id, or its progress and its result."""

from typing import Any

from flowq.client import Run
from flowq.entrypoints.cli.display import console, live, output
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK


def show(
    started: Run[Any], *, worker: str, wait: bool, timeout: float | None, as_json: bool
) -> int:
    """Print the id of a run, or follow it to its end; return the exit code.

    Args:
        started: The run.
        worker: The arguments of `flowq worker` that start a worker for it.
        wait: Whether to follow it.
        timeout: Seconds for which to follow it, also without `wait`.
        as_json: Whether to print JSON.

    Raises:
        ResultTimeout: it did not end in time. It continues.
    """
    if not (wait or timeout):
        output.print_started(started, worker, as_json=as_json)
        return OK
    console.note(("run ", "dim"), (str(started.id), "bold"), ("  of ", "dim"), started.flow_name)
    try:
        view = live.follow(started, timeout=timeout, worker_hint=f"flowq worker {worker}".rstrip())
    except KeyboardInterrupt:
        output.print_left(started)
        return INTERRUPTED
    return OK if output.print_ended(started, view, as_json=as_json) else FAILED

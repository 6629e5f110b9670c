"""What a command prints of the run that it has started: its id, or its progress and its result."""

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
        worker: What is typed after `flowq worker` to start a worker for it.
        wait: Whether it is followed.
        timeout: Seconds for which it is followed, also without `wait`.
        as_json: Whether JSON is printed.

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

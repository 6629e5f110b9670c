"""Refuses to wait for a run inside a worker, because that can be a deadlock.

A step that waits for a run holds its process until the run is finished. When every process does so,
none is left to run what they wait for, and all of them wait forever without an error. So code in a
worker (a step, a program, any other task of the same Celery app) may not wait for a run that has
not ended, as it may not call `get()` on a Celery result. Code that knows that another worker runs
what it waits for says so with `allow_waiting`.

A program does not need this: it awaits a child flow, and holds no process meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flowq.core.errors import WouldBlock
from flowq.core.ids import RunId
from flowq.engine.replay import current as current_program
from flowq.engine.runtime.context import current_or_none

_allowed: ContextVar[bool] = ContextVar("flowq_waiting_allowed", default=False)


@contextmanager
def allow_waiting() -> Iterator[None]:
    """Allow code in a worker to wait for runs within the block.

    Use it where other processes run what is waited for, for example a worker of another queue. The
    step holds its own process until the run is finished. The permission is for this thread and for
    coroutines that are started in the block, but not for threads that are.
    """
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def would_block(
    run_id: RunId, flow_name: str, serves_tasks: Callable[[], bool]
) -> WouldBlock | None:
    """Return the error for waiting for a run here and now; None where waiting is allowed.

    Args:
        serves_tasks: Returns whether this thread or process runs tasks of a Celery worker.
    """
    if _allowed.get():
        return None
    program, step = current_program(), current_or_none()
    if program is not None:
        return WouldBlock(
            f"the program {program.flow!r} waits for run {run_id} of {flow_name!r}, and would "
            "block "
            "its worker until that run is finished",
            hint="await the flow as a child run: result = await other_flow(…)",
        )
    if step is None and not serves_tasks():
        return None
    who = f"step {step.key!r} of run {step.run_id}" if step else "code that a Celery worker runs"
    return WouldBlock(
        f"{who} waits for run {run_id} of {flow_name!r}, and would block a process of the worker "
        "until that run is finished; if all processes wait, none is left to run it",
        hint="call the flow in a flow, as a child run; or, where another worker runs it: "
        "with flowq.allow_waiting(): …",
    )

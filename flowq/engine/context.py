"""What a step may know about the attempt it runs in: `step.context()`.

Kept in a ContextVar, so it is right in threads, in greenlets and in coroutines on the event loop.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass

from flowq.core.errors import FlowqError
from flowq.core.ids import RunId, StepRunId

_current: ContextVar["StepContext"] = ContextVar("flowq_step_context")


@dataclass(frozen=True, slots=True)
class StepContext:
    """The attempt that is running."""

    run_id: RunId
    step_id: StepRunId
    key: str  #: Key of the step in its flow.
    index: int | None  #: Which item of a map, from 0.
    attempt: int  #: From 1.
    idempotency_key: str  #: The same over all attempts; give it to outside APIs that take one.
    logger: logging.LoggerAdapter[logging.Logger]  #: Adds run, step and attempt to each record.


def current() -> StepContext:
    """Return the context of the running attempt.

    Raises:
        FlowqError: no attempt is running here.
    """
    try:
        return _current.get()
    except LookupError:
        raise FlowqError(
            "step.context() was called outside a step",
            hint="call it inside a function decorated with @step, while flowq runs it",
        ) from None


def enter(context: StepContext) -> None:
    """Make `context` the current one, in a context of its own (see `contextvars.Context.run`)."""
    _current.set(context)

"""What a step can read about its own attempt: `step.context()`.

Kept in a ContextVar, so it is right in threads, in greenlets and in coroutines on the event loop.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event

from flowq.core.errors import FlowqError, StepCancelled
from flowq.core.ids import RunId, StepRunId
from flowq.engine.model.rows import RunView, StoredStep
from flowq.engine.runtime.attempt_objects import AttemptObjects
from flowq.engine.runtime.logs.attempt_log import AttemptLog
from flowq.engine.runtime.model_calls import ModelCalls
from flowq.engine.runtime.text_stream import Streams

_current: ContextVar["StepContext"] = ContextVar("flowq_step_context")


@dataclass(frozen=True, slots=True)
class StepContext:
    """The attempt that is running."""

    run_id: RunId
    step_id: StepRunId
    key: str  #: Key of the step in its flow.
    index: int | None  #: Which item of a map, from 0.
    attempt: int  #: From 1; attempts that were lost with a worker count too.
    idempotency_key: str  #: The same over all attempts; give it to outside APIs that take one.
    logger: logging.LoggerAdapter[logging.Logger]  #: Adds run, step and attempt to each record.
    _cancelled: Event = field(default_factory=Event, repr=False)
    model_calls: ModelCalls | None = field(default=None, repr=False)  #: Records calls of models.
    #: Streams text to readers while the step runs, e.g. a model's answer as it comes.
    stream: Streams = field(default_factory=Streams, repr=False)
    #: Returns what stores contents of blocks; few steps need it.
    objects: Callable[[], AttemptObjects] | None = field(default=None, repr=False)
    #: Returns a run as it is now; few steps need it.
    view: Callable[[RunId], RunView | None] | None = field(default=None, repr=False)
    log: AttemptLog | None = field(default=None, repr=False)  #: Keeps what the attempt logs.
    #: Returns a node of its run by its key; few steps need it.
    stored: Callable[[str], StoredStep | None] | None = field(default=None, repr=False)
    retries: int = 0  #: How many attempts have failed; recoveries after a crash do not count.

    @property
    def cancelled(self) -> bool:
        """Whether someone has cancelled the run; reading it costs nothing, so read it often.

        It is known a few seconds after the cancel (FLOWQ_CANCEL_SECONDS). What the step returns
        from then on is ignored.
        """
        return self._cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """End the step here if someone has cancelled the run.

        Raises:
            StepCancelled: someone has. `except Exception` does not catch it.
        """
        if self._cancelled.is_set():
            raise StepCancelled(f"{self.key} was cancelled")


def current_or_none() -> StepContext | None:
    """Return the context of the running attempt; None when no attempt is running here."""
    return _current.get(None)


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

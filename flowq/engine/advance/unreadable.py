"""Runs whose rows cannot be read: each is ended by itself, so no other run suffers.

The process that finds such a run fails it with the reason, cancels its open steps and fails the
parent step. This needs only columns, not the spec. A run that a newer flowq seems to have written
is paused instead: workers of that version can continue it after a resume. A run that was cancelled
becomes cancelled.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flowq.core.errors import RunUnreadable
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Outcome
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

_NEWER = "a newer flowq may have written it: start workers of that version, then resume the run"


@contextmanager
def set_aside_if_unreadable(engine: Engine, run_id: RunId) -> Iterator[None]:
    """Set the run of the block aside if it cannot be read; raises as `set_aside`."""
    try:
        yield
    except RunUnreadable as error:
        set_aside(engine, run_id, error)


def set_aside(engine: Engine, run_id: RunId, error: RunUnreadable) -> RunState | None:
    """End a run that cannot be read, or pause it; returns its new state.

    Args:
        run_id: The run, unless the error names another.
        error: Why it cannot be read.

    Raises:
        DatabaseUnavailable: that could not be recorded.
    """
    run_id = error.run_id or run_id
    reason = f"the run cannot be read: {error.message}"
    if error.newer and engine.records.transaction(
        lambda tx: _pause(tx, run_id, f"{reason}; {_NEWER}")
    ):
        _say(run_id, RunState.PAUSED, reason)
        return RunState.PAUSED
    state = engine.records.transaction(lambda tx: _end(tx, run_id, reason))
    engine.definitions.forget(run_id)
    if state is not None:
        _say(run_id, state, reason)
        definition = engine.records.autocommit(lambda tx: tx.runs.stand_in(run_id))
        if definition is not None:
            publish.run_ended(engine, definition, state)
        return state
    return engine.records.autocommit(lambda tx: tx.runs.status(run_id))


def _pause(tx: Transaction, run_id: RunId, reason: str) -> bool:
    paused = tx.runs.pause([run_id], StopReason(StopKind.UNREADABLE, reason))
    if paused:
        tx.steps.park(paused)
    return bool(paused)


def _end(tx: Transaction, run_id: RunId, reason: str) -> RunState | None:
    """Close a run and its open steps; None when it is paused, or had ended before."""
    ending = tx.runs.ending(run_id)
    if ending is None or ending.status not in (RunState.RUNNING, RunState.CANCELLING):
        return None
    state = RunState.CANCELLED if ending.cancel_requested else RunState.FAILED
    tx.steps.abandon(run_id)
    if not tx.runs.close(run_id, state, reason=StopReason(StopKind.UNREADABLE, reason)):
        return None
    known = tx.runs.stand_in(run_id)
    if known is not None and known.parent is not None:
        # It is not advanced yet; the sweeper does that.
        failure = Outcome(error_type="RunFailed", error_message=f"run {run_id} {state}: {reason}")
        tx.steps.end_waiting(known.parent, StepState.FAILED, failure)
    return state


def _say(run_id: RunId, state: RunState, reason: str) -> None:
    extra = {"action": "set_aside", "run_id": str(run_id)}
    logger.error("run %s is %s: %s", run_id, state, reason, extra=extra)

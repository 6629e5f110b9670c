"""Pauses a run: no step of it begins until someone resumes it.

Like a cancel it is a durable state in the database, which every claim checks. One transaction
pauses the run with the child runs that its steps wait for, level by level: a step that is about to
start a child run checks its own run under a lock, so no new child run is missed. Running steps end
as usual and the run is advanced: steps that become ready are queued, but cannot be claimed. A run
whose last step has ended stays paused until it is resumed.

    a queued step     is *parked*: its `wake_at` is so far away that no sweeper reads it;
                      one that is queued later is parked by the sweeper that finds it overdue
    a retrying step   is queued when its time has come, and parked then
    a deadline        still passes; a cancel and a failure end the run as usual

A resume reverts the same runs, and unparks their steps in the same transaction; then it sends
these. If it crashes before that, the sweeper sends them.
"""

import logging
from collections.abc import Sequence
from typing import Final

from flowq.core.ids import RunId, batch_of_run
from flowq.core.limits.shares import place_in_line
from flowq.core.states import RunState, StopKind
from flowq.engine.advance.after import run_ready
from flowq.engine.advance.dispatch import alone, by_priority, resend, send_advance
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind
from flowq.engine.model.rows import StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction
from flowq.engine.runs.actors import new_action
from flowq.engine.runs.cancel import found, storable_reason

logger = logging.getLogger(__name__)

#: Resumed runs that the resuming process advances itself; the rest is left to workers.
_GO_ON_HERE: Final = 100


def pause(
    engine: Engine, run_id: RunId, reason: str | None = None, kind: StopKind = StopKind.USER
) -> RunState:
    """Pause a run with its child runs; idempotent and safe to call concurrently.

    Args:
        reason: Who pauses it and why, for people; the first pause's reason is kept.
        kind: What pauses it; this alone decides what resumes it.

    Returns:
        The new state of the run: `paused`, or another one if it was stopping or had ended before.

    Raises:
        RunNotFound: there is no such run.
        DatabaseUnavailable: it could not be recorded.
    """
    text = storable_reason(reason)
    action = new_action(engine, run_id, ActionKind.PAUSE, {"reason": text})

    def work(tx: Transaction) -> tuple[list[RunId], RunState | None]:
        paused = level = tx.runs.pause([run_id], StopReason(kind, text))
        while level:
            children = tx.runs.children(level, RunState.RUNNING)
            because = storable_reason(f"with run {run_id}: {text}")
            with_it = StopReason(StopKind.PARENT, because)
            level = tx.runs.pause(children, with_it) if children else []
            paused = [*paused, *level]
        if paused:
            tx.steps.park(paused)
        if paused and kind is StopKind.USER:
            tx.actions.insert(action)
        return paused, tx.runs.status(run_id)

    paused, state = engine.records.transaction(work)
    if paused:
        extra = {"action": "pause", "run_id": str(run_id), "runs": len(paused)}
        logger.info("run %s is paused: %s", run_id, text, extra=extra)
    return found(run_id, state)


def resume(engine: Engine, run_id: RunId, *, by_hand: bool = True) -> RunState:
    """Resume a paused run, with those of its child runs that are paused.

    Args:
        by_hand: Whether somebody resumes it, which is recorded as an action.

    Returns:
        The new state of the run: `running`, also if it was not paused; its terminal state, if
        nothing was left to do; or another one if it is stopping.

    Raises:
        RunNotFound: there is no such run.
        DatabaseUnavailable: it could not be recorded.
    """
    action = new_action(engine, run_id, ActionKind.RESUME)
    definition = engine.definitions.shown(run_id).definition
    place = place_in_line(definition.priority)  # child runs have the same priority
    resend_after = engine.policies.resend_after

    def work(tx: Transaction) -> tuple[list[RunId], Sequence[StepRef]]:
        resumed = level = tx.runs.resume([run_id])
        while level:
            children = tx.runs.children(level, RunState.PAUSED)
            level = tx.runs.resume(children) if children else []
            resumed = [*resumed, *level]
        if resumed and by_hand:
            tx.actions.insert(action)
        return resumed, tx.steps.unpark(resumed, resend_after, place) if resumed else ()

    resumed, places = engine.records.transaction(work)
    if resumed:
        extra = {"action": "resume", "run_id": str(run_id), "runs": len(resumed)}
        logger.info("run %s is resumed", run_id, extra=extra)
    resend(engine, alone(engine, places, in_line=True))
    resumed.reverse()  # the innermost first: their ends are the ends of steps of the others
    _advance_resumed(engine, resumed)
    return found(run_id, engine.records.autocommit(lambda tx: tx.runs.status(run_id)))


def _advance_resumed(engine: Engine, resumed: Sequence[RunId]) -> None:
    """Decide what became ready meanwhile, and finish runs whose last step has ended."""
    if rest := resumed[:-_GO_ON_HERE]:
        for priority, group in by_priority(engine, [batch_of_run(one) for one in rest]).items():
            send_advance(engine, group, priority=priority)
    for run_id in resumed[-_GO_ON_HERE:]:
        with set_aside_if_unreadable(engine, run_id):
            run_ready(engine, run_id)

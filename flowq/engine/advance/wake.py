"""Waking a program after one of its calls has ended.

A call is a row outside the graph. It gates its program, which alone handles its result. The end is
committed first and the program woken after it (or both in one statement that holds the lock of the
program's row), so a program that begins to wait at the same moment sees it. If the process dies in
between, the sweeper finds the ended batch that was not advanced.
"""

import logging
from datetime import timedelta
from typing import Final

from flowq.core.ids import BatchId, RunId, StepRunId, batch_of_timer, node_id
from flowq.engine.advance.dispatch import program_batch, send, send_advance
from flowq.engine.engine import Engine
from flowq.engine.model.programs import Resuming, WokenProgram
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

#: Timers that are due sooner get a message of their own; the sweeper ends the others.
NEAR: Final = timedelta(seconds=60)


def program_of(engine: Engine, run_id: RunId) -> StepRunId:
    """Return the row of a run's program."""
    program = engine.definitions.get(run_id).definition.spec.program
    assert program is not None
    return node_id(run_id, program.key)


def wake(engine: Engine, run_id: RunId, batch: BatchId) -> bool:
    """Wake a program if a batch of its calls has ended, or one of the batch has failed.

    Returns:
        Whether this call has queued it, and then sent it.
    """
    return wake_or_resume(engine, run_id, batch, None).queued


def wake_or_resume(
    engine: Engine, run_id: RunId, batch: BatchId, resuming: Resuming | None
) -> WokenProgram:
    """Do the same, but claim the program with `resuming` instead of sending it."""
    program, resend_after = program_of(engine, run_id), engine.policies.resend_after

    def work(tx: Transaction) -> WokenProgram:
        queued = tx.steps.wake(program, batch, resend_after)
        resumed = tx.steps.resume(program, resuming) if queued and resuming is not None else None
        return WokenProgram(queued and resumed is None, resumed)

    ended = engine.records.transaction(work)
    woken(engine, run_id, queued=ended.queued)
    return ended


def woken(engine: Engine, run_id: RunId, *, queued: bool) -> None:
    """Send a program that was queued."""
    if queued:
        send(engine, [program_batch(engine, run_id)], again=True)


def wake_after(engine: Engine, run_id: RunId, key: str) -> bool:
    """Wake a program after one call has ended, if it waits for no more."""
    rows = engine.records.autocommit(lambda tx: tx.steps.called(run_id, [key]))
    return bool(rows) and wake(engine, run_id, rows[0].batch)


def timers_due(engine: Engine, run_id: RunId) -> bool:
    """End the timers of a run that are due; return whether that woke its program."""
    ended = engine.records.transaction(lambda tx: tx.steps.end_timers(run_id))
    if not ended:
        left = engine.records.autocommit(lambda tx: tx.steps.next_timer(run_id))
        if left is not None and timedelta(0) < left <= NEAR:
            # The message came too early by the database's clock.
            timer = batch_of_timer(run_id, program_of(engine, run_id))
            priority = engine.definitions.get(run_id).definition.priority
            send_advance(engine, [timer], left, priority=priority)
        return False
    woke = [wake(engine, run_id, batch) for batch in ended]  # each of them
    return any(woke)

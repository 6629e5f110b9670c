"""Cancels a run: a state in the database that everything checks before it continues.

One transaction records the cancel and ends every step without a lease: pending, queued, retrying,
waiting, and maps with their items. The rest is running somewhere:

    a step that is being claimed         finds its row cancelled, or is stopped as a running one
    a step that starts a child run       finds its run stopping, under a lock, and is cancelled
    a running step                       is notified by the heartbeat, see `heartbeat`; how its code
                                         is stopped depends on where it runs, see `execution`
    a child run                          is cancelled in turn, see `child_runs`
    a program that has begun             is queued, sees the cancel and may clean up, see `program`

The last of them closes the run as cancelled. A terminal run is not changed.
"""

from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StopKind
from flowq.engine.advance.after import finish
from flowq.engine.advance.child_runs import SHIELD, cancel_orphans
from flowq.engine.advance.dispatch import program_batch, send
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind
from flowq.engine.model.rows import StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction
from flowq.engine.runs.actors import new_action, storable

#: The recorded reason when none is given.
NO_REASON = "no reason was given"
_REASON_LIMIT = 4000


def cancel(engine: Engine, run_id: RunId, reason: str | None = None) -> RunState:
    """Cancel a run; idempotent and safe to call concurrently.

    Args:
        reason: Who cancels it and why, for people; the first cancel's reason is kept.

    Returns:
        The new state of the run: `cancelling` while a step is still running, `cancelled`, or its
        terminal state if it had ended before.

    Raises:
        RunNotFound: there is no such run.
        DatabaseUnavailable: it could not be recorded, or not be read back.
    """
    asked = StopReason(StopKind.USER, storable_reason(reason))
    action = new_action(engine, run_id, ActionKind.CANCEL, {"reason": asked.text})
    shielded: list[StepRef] = []

    def ask(tx: Transaction) -> RunState | None:
        shielded.clear()
        if tx.runs.request_cancel([run_id], asked):
            program = tx.steps.shield(run_id, SHIELD, engine.policies.resend_after)
            shielded.extend([program] if program is not None else [])
            tx.steps.cancel_open(run_id)
            tx.actions.insert(action)
        return tx.runs.status(run_id)

    state = found(run_id, engine.records.transaction(ask))
    if state in TERMINAL_RUN_STATES:
        return state
    with set_aside_if_unreadable(engine, run_id):
        if shielded:
            send(engine, [program_batch(engine, run_id)])
        cancel_orphans(engine, run_id)
        finish(engine, run_id)
    return found(run_id, engine.records.autocommit(lambda tx: tx.runs.status(run_id)))


def storable_reason(reason: str | None) -> str:
    """Return a reason that every database can store, or the default."""
    return storable((reason or "").strip()[:_REASON_LIMIT] or NO_REASON)


def found(run_id: RunId, state: RunState | None) -> RunState:
    """Return the state of a run; raises `RunNotFound` if there is none."""
    if state is None:
        raise RunNotFound.of(run_id)
    return state

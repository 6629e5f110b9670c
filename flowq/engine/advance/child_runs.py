"""Orphans: child runs whose parent step has ended without them.

A waiting step ends without its child run when its own run is cancelled or stops, or when the map it
is an item of has failed. Then its child run is cancelled, and all runs below it, level by level.
Each level is committed before the next one is read, and a step that starts a child run checks its
own run under a lock, so no new child run is missed. After a crash in between, the sweeper does the
same for all runs.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from flowq.core.ids import RunId, batch_of_run
from flowq.core.states import StopKind
from flowq.engine.advance.dispatch import by_priority, send_advance
from flowq.engine.advance.finish import finish_if_done
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.engine import Engine
from flowq.engine.model.stops import StopReason
from flowq.engine.model.sweeps import Orphan
from flowq.engine.ports import Transaction

#: How long the program of a stopping run may wait for a worker before it is cancelled.
SHIELD = timedelta(hours=1)
#: Runs that are cancelled in one transaction.
_GROUP = 100
#: Runs that the cancelling process closes itself; the rest is left to workers.
_CLOSE_HERE = 100


def cancel_orphans(engine: Engine, run_id: RunId) -> None:
    """Cancel the child runs of a run whose steps have ended, and all below them."""
    cancelled: list[RunId] = []
    parents = [run_id]
    while parents:
        found = engine.records.autocommit(partial(_orphans, parents=parents))
        for start in range(0, len(found), _GROUP):
            engine.records.transaction(partial(stop_orphans, orphans=found[start : start + _GROUP]))
        parents = [orphan.run_id for orphan in found]
        cancelled += parents
    cancelled.reverse()  # the innermost first
    for child in cancelled[:_CLOSE_HERE]:
        with set_aside_if_unreadable(engine, child):
            finish_if_done(engine, engine.definitions.get(child).definition)
    if rest := cancelled[_CLOSE_HERE:]:
        for priority, group in by_priority(engine, [batch_of_run(one) for one in rest]).items():
            send_advance(engine, group, priority=priority)


def stop_orphans(tx: Transaction, orphans: Sequence[Orphan]) -> None:
    """Cancel child runs that are not cancelled yet, with all of their steps that can be."""
    for orphan in orphans:
        why = f"step {orphan.key!r} of run {orphan.parent}, which waited for it, {orphan.state}"
        stop(tx, orphan.run_id, StopReason(StopKind.PARENT, why))


def stop(tx: Transaction, run_id: RunId, reason: StopReason) -> bool:
    """Cancel an open run with all of its steps that can be; False if it was cancelled before."""
    if not tx.runs.request_cancel([run_id], reason):
        return False
    tx.steps.shield(run_id, SHIELD, timedelta(0))  # the sweeper sends it
    tx.steps.cancel_open(run_id)
    return True


def _orphans(tx: Transaction, parents: Sequence[RunId]) -> list[Orphan]:
    return tx.runs.orphans(parents)

"""The sweeper: whatever fell between two commits, or was lost on the way, is found and sent again.

It runs in every worker and decides nothing itself: it changes rows by guarded UPDATEs and sends
messages, so what it recovers goes through the queue like everything else and limits hold. It never
touches results: in a prefork worker it lives in the parent process, where the object store must not
be opened.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from flowq.core.errors import RunNotFound, Unavailable
from flowq.core.ids import (
    BatchId,
    RunId,
    batch_of_items,
    batch_of_nodes,
    batch_of_run,
    node_id,
)
from flowq.engine.advance import message, send
from flowq.engine.engine import Engine
from flowq.engine.faults import FaultPoint, reach
from flowq.engine.orphans import stop_orphans
from flowq.engine.ports import Transaction
from flowq.engine.rows import Batch, StepPlace

logger = logging.getLogger(__name__)

_LIMIT = 500


def sweep(engine: Engine, *, grace: timedelta) -> int:
    """Make one pass.

    Args:
        engine: The engine.
        grace: How long an ended batch has to advance in the ordinary way.

    Returns:
        How many steps, batches and runs it has moved.
    """
    reach(FaultPoint.BEFORE_SWEEP)
    records, policies = engine.records, engine.policies
    lapsed = records.write(
        lambda tx: tx.sweeps.lapsed(max_recoveries=policies.max_recoveries, limit=_LIMIT)
    )
    for step in lapsed:
        logger.warning(
            "%s of run %s lost its worker%s",
            step.place.key,
            step.place.run_id,
            "; it has failed" if step.failed else "; it is queued again",
            extra={"action": "recover"},
        )
    due = records.write(lambda tx: tx.sweeps.due(resend_after=policies.resend_after, limit=_LIMIT))
    resend(engine, due)
    ended = [step.batch for step in lapsed if step.failed]
    ended += records.single(lambda tx: tx.sweeps.unadvanced(grace=grace, limit=_LIMIT))
    stalled = records.single(lambda tx: tx.sweeps.stalled(grace=grace, limit=_LIMIT))
    ended += [batch_of_run(run_id) for run_id in stalled]
    orphans = records.single(lambda tx: tx.sweeps.orphans(limit=_LIMIT))
    if orphans:
        records.write(lambda tx: stop_orphans(tx, orphans))
        ended += [batch_of_run(orphan.run_id) for orphan in orphans]
    if ended:
        engine.dispatcher.send_advance(list(dict.fromkeys(ended)))
    for run_id in records.single(lambda tx: tx.sweeps.stale(age=grace, limit=_LIMIT)):
        records.single(partial(_roll_up, run_id=run_id))
    return len(lapsed) + len(due) + len(ended)


def _roll_up(tx: Transaction, run_id: RunId) -> bool:
    return tx.runs.roll_up(run_id)


def resend(engine: Engine, places: Sequence[StepPlace]) -> None:
    """Send steps again, each on its own: it advances by itself, whatever became of its chord."""
    batches: list[Batch] = []
    for place in places:
        try:
            definition = engine.definitions.get(place.run_id).definition
        except RunNotFound:
            continue  # deleted meanwhile, with its steps
        one = message(place.run_id, definition.spec.step(place.key), place.map_index)
        batches.append(Batch(_batch_of(place), (one,), joined=False))
    if batches:
        logger.info("sending %d steps again", len(batches), extra={"action": "resend"})
    send(engine, batches)


def _batch_of(place: StepPlace) -> BatchId:
    node = node_id(place.run_id, place.key)
    return batch_of_nodes(place.run_id, node) if place.map_index is None else batch_of_items(node)


class Sweeper:
    """Sweeps again and again in a thread of its own."""

    def __init__(self, engine: Engine, interval: timedelta) -> None:
        self._engine = engine
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowq-sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the pass that is going on."""
        self._stop.set()

    def _run(self) -> None:
        # Workers that were started together should not sweep together for ever after.
        pause = self._interval.total_seconds()
        while not self._stop.wait(pause * (0.75 + self._engine.chance() / 2)):
            try:
                sweep(self._engine, grace=self._interval)
            except Unavailable as error:
                logger.warning("the sweeper has to wait: %s", error, extra={"action": "sweep"})
            except Exception:
                # It must outlive any single fault: it is what repairs them.
                logger.exception("a pass of the sweeper failed", extra={"action": "sweep"})

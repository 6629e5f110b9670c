"""The sweeper: finds what a crash left between two commits, or what was lost, and sends it again.

It runs in every worker and decides nothing itself: it changes rows by guarded UPDATEs and sends
messages, so recovered steps go through the queue like all others and limits hold. It never reads
results: in a prefork worker it runs in the parent process, where the object store must not be
opened. Work over all open runs is done by one sweeper at a time, in turns.

The message of an unclaimed row may be lost, or may wait behind 100,000 others; the two cannot be
distinguished. So each row is checked after 15 s, then after twice that, up to five minutes, and it
is resent only while its queue has fewer than `_FULL` messages. A long queue is not made longer,
because its messages were not lost; an emptied queue is filled in one pass. A full queue still gets
`_TRICKLE` messages a pass, so that a lost message does not wait until the queue is short: two a
second for each worker, and each duplicate costs one failed claim. Recovered steps and due retries
have no message in the queue and are always sent.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from flowq.core.errors import (
    BrokerUnavailable,
    DatabaseRefused,
    RedisUnavailable,
    RunNotFound,
    RunUnreadable,
    Unavailable,
)
from flowq.core.ids import FIRST_ID, BatchId, RunId, batch_of_run
from flowq.core.states import StopKind
from flowq.engine.advance.child_runs import SHIELD, stop_orphans
from flowq.engine.advance.dispatch import alone, by_priority, resend
from flowq.engine.advance.finish import finish_if_done
from flowq.engine.advance.starting import start_next, sweep_starts
from flowq.engine.advance.unreadable import set_aside, set_aside_if_unreadable
from flowq.engine.attempts.limits import sweep_limits
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Batch, StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction, Wakeups
from flowq.engine.runs.signals import deliver
from flowq.engine.schedules.declaring import declare_all
from flowq.engine.schedules.requested import record_flows
from flowq.engine.sweeper.months import resume_in_new_month
from flowq.engine.sweeper.partitions import care_for_partitions
from flowq.engine.sweeper.retention import COLLECT, EVERY
from flowq.engine.sweeper.schedules import ring_requested, ring_schedules
from flowq.engine.sweeper.shares import send_lines

logger = logging.getLogger(__name__)

#: Rows that one query returns at most.
_LIMIT: Final = 500
#: Queued rows that one pass checks, and messages that make a queue full.
_FULL: Final = 1_000
#: Messages that one pass sends again into a full queue.
_TRICKLE: Final = 10

#: The duty of inspecting open runs; how many one turn reads, and how many of them it rolls up.
#: Seconds between two passes, however often one is requested.
_SHORTEST_PAUSE: Final = 0.1
_INSPECT: Final = "inspect"
_SLICE: Final = 2_500
_ROLLED_UP: Final = 100


def sweep(engine: Engine, *, grace: timedelta) -> int:
    """Make one pass.

    Args:
        grace: How long an ended batch may take to advance normally.

    Returns:
        How many steps, batches and runs it has changed.
    """
    ended: list[BatchId] = []
    moved = [
        _guarded(work)
        for work in (
            lambda: _recover(engine, ended),
            lambda: _resend_unclaimed(engine),
            lambda: sweep_starts(engine),
            lambda: send_lines(engine, grace),
            lambda: sweep_limits(engine),
            lambda: resume_in_new_month(engine),
            lambda: care_for_partitions(engine),
            lambda: _declare(engine),
            lambda: _record_flows(engine),
            lambda: ring_schedules(engine),
            lambda: ring_requested(engine),
            lambda: _stop_overdue(engine, ended),
            lambda: _find_unadvanced(engine, grace, ended),
            lambda: _inspect(engine, grace, ended),
            lambda: _advance(engine, ended),
            lambda: _ask_to_collect(engine),
        )
    ]
    return sum(moved) + len(ended)


def _guarded(question: Callable[[], int | None]) -> int:
    """Run one part of a pass; its error does not stop the other parts.

    Raises:
        Unavailable: a service is away, so that the other parts would fail as well. What the
            database has refused is an error of this part alone.
    """
    try:
        return question() or 0
    except Exception as error:
        if isinstance(error, Unavailable) and not isinstance(error, DatabaseRefused):
            raise
        logger.exception("a part of a sweeper pass failed", extra={"action": "sweep"})
        return 0


def _declare(engine: Engine) -> None:
    """Record the schedules of the code; of those that have not changed nothing is read."""
    declare_all(engine)


def _record_flows(engine: Engine) -> None:
    """Record the flows of the code, unless no page can ask for a run of them."""
    if engine.policies.record_flows:
        record_flows(engine)


def _find_unadvanced(engine: Engine, grace: timedelta, ended: list[BatchId]) -> None:
    ended += engine.records.autocommit(lambda tx: tx.sweeps.unadvanced(grace=grace, limit=_LIMIT))


def _recover(engine: Engine, ended: list[BatchId]) -> int:
    """Queue steps whose lease has expired, and due retries, and send them."""
    records, policies = engine.records, engine.policies
    resend_after = policies.resend_after
    expired = records.transaction(
        lambda tx: tx.sweeps.expired_leases(
            max_recoveries=policies.max_recoveries, resend_after=resend_after, limit=_LIMIT
        )
    )
    for step in expired:
        publish.worker_lost(engine, step)
        logger.warning(
            "%s of run %s lost its worker%s",
            step.place.key,
            step.place.run_id,
            "; it has failed" if step.failed else "; it is requeued",
            extra={"action": "lose" if step.failed else "recover", **_named(step.place)},
        )
    ended += [step.batch for step in expired if step.failed]
    due = records.transaction(lambda tx: tx.sweeps.due(resend_after=resend_after, limit=_LIMIT))
    timed = records.transaction(lambda tx: tx.sweeps.timed(limit=_LIMIT))
    ended += timed
    for run_id in records.autocommit(lambda tx: tx.signals.undelivered(limit=_LIMIT)):
        with set_aside_if_unreadable(engine, run_id):
            deliver(engine, run_id)
    queued = [*(step.place for step in expired if not step.failed), *due]
    resend(engine, alone(engine, queued))
    return len(expired) + len(due) + len(timed)


def _named(place: StepRef) -> dict[str, object]:
    return {"run_id": str(place.run_id), "step": place.key, "map_index": place.map_index}


def _resend_unclaimed(engine: Engine) -> int:
    """Resend unclaimed steps, as far as there is room in their queues."""
    policies, records = engine.policies, engine.records
    found = records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=_FULL))
    batches = alone(engine, [one.place for one in found])
    try:
        room = _room(engine, batches)
    except BrokerUnavailable as error:
        # Nothing is snoozed, so it is sent as soon as the broker is back.
        logger.warning("nothing is resent: %s", error, extra={"action": "resend"})
        return 0
    ours = records.transaction(
        lambda tx: tx.sweeps.snooze(found, policies.resend_after, policies.max_resend_after)
    )
    chosen: list[Batch] = []
    for batch in batches:
        queue = engine.dispatcher.queue_of(batch.messages[0])
        if room[queue] > 0 and batch.messages[0].id in ours:
            room[queue] -= 1
            chosen.append(batch)
    resend(engine, chosen)
    return len(chosen)


def _room(engine: Engine, batches: Sequence[Batch]) -> dict[str, int]:
    """Return how many messages may be resent into each of their queues."""
    dispatcher = engine.dispatcher
    queues = {dispatcher.queue_of(batch.messages[0]) for batch in batches}
    return {queue: max(_TRICKLE, _FULL - dispatcher.depth(queue)) for queue in queues}


def _stop_overdue(engine: Engine, ended: list[BatchId]) -> int:
    """Stop runs whose deadline has passed, as after a failure."""
    stopped = 0
    overdue = engine.records.autocommit(lambda tx: tx.sweeps.overdue(limit=_LIMIT))
    for run_id, deadline in overdue:
        error = f"deadline passed: it was {deadline.isoformat(timespec='seconds')}"
        reason = StopReason(StopKind.DEADLINE, error)
        if engine.records.transaction(partial(_stop, run_id=run_id, reason=reason)):
            stopped += 1
            extra = {"action": "deadline", "run_id": str(run_id)}
            logger.warning("run %s is stopped: %s", run_id, error, extra=extra)
            _close(engine, run_id)
            ended.append(batch_of_run(run_id))
    return stopped


def _close(engine: Engine, run_id: RunId) -> None:
    """Close a stopped run here if none of its steps is running: this works without a broker.

    It reads no result, since a stopped run has no outputs. Child runs are left to a worker, which
    then advances the parent.
    """
    with suppress(RunNotFound), set_aside_if_unreadable(engine, run_id):  # deleted meanwhile
        definition = engine.definitions.get(run_id).definition
        if definition.parent is None:
            finish_if_done(engine, definition)


def _stop(tx: Transaction, run_id: RunId, reason: StopReason) -> bool:
    if not tx.runs.stop(run_id, reason):
        return False
    tx.steps.shield(run_id, SHIELD, timedelta(0))
    return tx.steps.cancel_open(run_id) >= 0


def _inspect(engine: Engine, grace: timedelta, ended: list[BatchId]) -> None:
    """Inspect a slice of the open runs, if it is this sweeper's turn."""
    records = engine.records
    position = records.autocommit(lambda tx: tx.sweeps.try_acquire(_INSPECT, grace / 2))
    if position is None:
        return
    after = RunId(UUID(position)) if position else RunId(FIRST_ID)
    within = records.autocommit(lambda tx: tx.sweeps.slice(after, limit=_SLICE))
    stalled = records.autocommit(
        lambda tx: tx.sweeps.stalled(within=within, grace=grace, limit=_SLICE)
    )
    ended += [batch_of_run(run_id) for run_id in stalled]
    ended += records.autocommit(
        lambda tx: tx.sweeps.unseen(within=within, grace=grace, limit=_LIMIT)
    )
    orphans = records.autocommit(lambda tx: tx.sweeps.orphans(within=within, limit=_LIMIT))
    if orphans:
        records.transaction(lambda tx: stop_orphans(tx, orphans))
        ended += [batch_of_run(orphan.run_id) for orphan in orphans]
    for one in records.autocommit(
        lambda tx: tx.sweeps.in_line(within=within, grace=grace, limit=_LIMIT)
    ):
        start_next(engine, one.flow_name, one.singleton_key or "")
    for run_id in records.autocommit(
        lambda tx: tx.sweeps.unknown_waits(within=within, limit=_LIMIT)
    ):
        set_aside(engine, run_id, RunUnreadable("what it waits for cannot be read"))
    for run_id in records.autocommit(
        lambda tx: tx.sweeps.stale(within=within, age=grace, limit=_ROLLED_UP)
    ):
        records.autocommit(partial(_roll_up, run_id=run_id))
    following = within.to.hex if within.to is not None else ""
    records.autocommit(lambda tx: tx.sweeps.save_cursor(_INSPECT, following))


def _roll_up(tx: Transaction, run_id: RunId) -> bool:
    return tx.runs.roll_up(run_id)


def _advance(engine: Engine, ended: Sequence[BatchId]) -> None:
    """Ask workers to advance after batches: that may read results, which this process must not."""
    if not ended:
        return
    batches = list(dict.fromkeys(ended))
    extra = {"action": "advance", "batches": len(batches)}
    logger.info("advancing %d finished batches", len(batches), extra=extra)
    for priority, group in by_priority(engine, batches).items():
        engine.dispatcher.send_advance(group, priority=priority)


def _ask_to_collect(engine: Engine) -> None:
    """Ask a process that runs steps to delete what is old, once an hour."""
    if engine.records.autocommit(lambda tx: tx.sweeps.try_acquire(COLLECT, EVERY)) is not None:
        engine.dispatcher.send_collect()


class Sweeper:
    """Sweeps periodically in its own thread.

    Args:
        engine: The engine.
        interval: Average pause between two passes.
        wakeups: Requests that end a pause early.
    """

    def __init__(self, engine: Engine, interval: timedelta, wakeups: Wakeups | None = None) -> None:
        self._engine = engine
        self._interval = interval
        self._wakeups = wakeups
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowq-sweeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present pass."""
        self._stop.set()

    def _run(self) -> None:
        # The schedules of the code are recorded when a worker starts, not after a first pause.
        self._guarded(lambda: _declare(self._engine))
        # Workers that were started together should not always sweep at the same time.
        pause = self._interval.total_seconds()
        while self._pause(pause * (0.75 + self._engine.chance() / 2)):
            self._guarded(lambda: sweep(self._engine, grace=self._interval))

    @staticmethod
    def _guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Unavailable as error:
            logger.warning("the sweeper waits: %s", error, extra={"action": "sweep"})
        except Exception:
            # It must survive any error, because it repairs them.
            logger.exception("a sweeper pass failed", extra={"action": "sweep"})

    def _pause(self, seconds: float) -> bool:
        """Pause until the time is over or a pass is requested; return False after `stop`."""
        end = time.monotonic() + seconds
        if self._wakeups is None:
            return not self._stop.wait(seconds)
        self._stop.wait(min(seconds, _SHORTEST_PAUSE))
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            try:
                if self._wakeups.wait(left):
                    break
            except RedisUnavailable:
                self._stop.wait(left)
        return not self._stop.is_set()

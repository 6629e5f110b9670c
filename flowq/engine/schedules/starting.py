"""Starts what a schedule has due: in a process that runs steps, when the sweeper asks for it.

A `def` flow is traced by calling its function, so the sweeper's own process must not do it: code of
a user could block the recovery of all runs. The sweeper sends the name of the schedule instead.

Each step of the schedule is decided from its row (`core.schedules.decide`), and recorded with its
effect in one transaction: the guarded UPDATE of the row comes first, then the run is inserted with
the key `schedule:NAME:TICK`. Of several processes one finds the row at its version; the others
change nothing. Before the commit a crash leaves the tick due; after it the run is there.
"""

import logging
from functools import partial
from typing import Final

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.ids import RunId
from flowq.core.schedules.decide import (
    Cause,
    Decision,
    Skip,
    SkipReason,
    Start,
    decide,
    wake_at,
)
from flowq.core.schedules.ticks import key_of
from flowq.core.states import StopKind
from flowq.engine.advance.after import finish
from flowq.engine.advance.child_runs import cancel_orphans, stop
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import ScheduleNow, StoredSchedule
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.submission import submit
from flowq.engine.schedules.inputs import inputs_of_tick, submit_options

logger = logging.getLogger(__name__)

#: Steps of a schedule that one message does; the sweeper asks again for the rest.
_MAX_STEPS: Final = 200
#: Characters of an error that are kept.
_MAX_TEXT: Final = 2000


class _Taken(Exception):
    """Another process has moved the schedule on, so this transaction is rolled back."""


def start_due(engine: Engine, name: str) -> int:
    """Start the runs of a schedule that are due.

    Args:
        engine: The engine of a process that runs steps.
        name: The schedule; nothing is done if it is deleted.

    Returns:
        How many steps of the schedule were done: runs started, spans of ticks skipped.

    Raises:
        Unavailable: the database cannot be used now; what was not done is still due.
    """
    done = 0
    while done < _MAX_STEPS and _step(engine, name):
        done += 1
    return done


def _step(engine: Engine, name: str) -> bool:
    """Do the next step of a schedule; False when nothing is due, or another process does it."""
    found = engine.records.autocommit(lambda tx: tx.schedules.at_this_moment(name))
    if found is None:
        return False
    schedule = found.schedule
    flow = engine.registry.flows.get(schedule.spec.flow_name)
    if flow is None:
        _leave(engine, schedule)
        return False
    decision = decide(
        schedule.spec,
        schedule.anchor,
        schedule.progress,
        found.now,
        is_running=bool(found.open_runs),
    )
    if decision is None:
        _settle(engine, found)
        return False
    if decision.effect is None:
        _move(engine, schedule, decision)
        return False
    if isinstance(decision.effect, Skip):
        return _skip(engine, schedule, decision, decision.effect)
    return _start(engine, flow, found, decision, decision.effect)


def _leave(engine: Engine, schedule: StoredSchedule) -> None:
    """Leave a schedule to a worker that knows its flow; the sweeper asks again."""
    problem = f"worker {engine.worker} does not know the flow {schedule.spec.flow_name!r}"
    logger.warning(
        "schedule %s is left to another worker: %s",
        schedule.spec.name,
        problem,
        extra={"action": "schedule", "schedule": schedule.spec.name},
    )
    engine.records.autocommit(lambda tx: tx.schedules.note(schedule.spec.name, problem))


def _settle(engine: Engine, found: ScheduleNow) -> None:
    """Correct when a schedule is looked at again, if nothing of it is due."""
    schedule = found.schedule
    due_at = wake_at(schedule.spec, schedule.progress, found.now)
    if due_at != schedule.wake_at:
        _move(engine, schedule, Decision(schedule.progress, due_at, None))


def _move(engine: Engine, schedule: StoredSchedule, decision: Decision) -> bool:
    return engine.records.transaction(lambda tx: _moved(tx, schedule, decision))


def _moved(tx: Transaction, schedule: StoredSchedule, decision: Decision) -> bool:
    return tx.schedules.move(
        schedule.spec.name, decision.progress, decision.wake_at, version=schedule.version
    )


def _skip(engine: Engine, schedule: StoredSchedule, decision: Decision, skip: Skip) -> bool:
    def record(tx: Transaction) -> bool:
        moved = _moved(tx, schedule, decision)
        if moved:
            tx.schedules.skip(schedule.spec.name, skip)
        return moved

    moved = engine.records.transaction(record)
    if moved:
        level = logging.ERROR if skip.reason is SkipReason.REFUSED else logging.WARNING
        logger.log(
            level,
            "schedule %s: %d ticks from %s are skipped: %s",
            schedule.spec.name,
            skip.ticks,
            skip.first.isoformat(),
            skip.detail or skip.reason,
            extra={"action": "schedule", "schedule": schedule.spec.name, "ticks": skip.ticks},
        )
    return moved


def _start(
    engine: Engine, flow: RegisteredFlow, found: ScheduleNow, decision: Decision, start: Start
) -> bool:
    """Start the run of a tick; a run that cannot be made is recorded as a skipped tick."""
    schedule, tick = found.schedule, start.tick
    spec = schedule.spec
    name = f"{spec.name}:now" if start.cause is Cause.REQUEST else spec.name
    key = key_of(name, tick)
    if start.cause is Cause.BACKFILL and _has_run(engine, flow.name, key):
        return _move(engine, schedule, decision)
    stopped: list[RunId] = []

    def take(tx: Transaction) -> None:
        stopped.clear()
        if not _moved(tx, schedule, decision):
            raise _Taken
        if start.cancels:  # in the transaction of the new run: if that is refused, they go on
            text = f"schedule {spec.name!r} starts its run of {tick.isoformat()}"
            why = StopReason(StopKind.USER, text)
            stopped.extend(one for one in found.open_runs if stop(tx, one, why))

    try:
        inputs = inputs_of_tick(flow, spec, tick)
        options = submit_options(spec, tick, key)
        run_id = submit(
            engine, flow, inputs, stored=True, before=take, schedule=spec.name, **options
        )
    except _Taken:
        return False
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - also what the flow's own function raises
        text = error.message if isinstance(error, FlowqError) else repr(error)
        refused = Skip(tick, tick, 1, SkipReason.REFUSED, text[:_MAX_TEXT])
        return _skip(engine, schedule, decision, refused)
    for one in stopped:
        with set_aside_if_unreadable(engine, one):
            cancel_orphans(engine, one)
            finish(engine, one)
    logger.info(
        "schedule %s has started run %s for %s",
        spec.name,
        run_id,
        tick.isoformat(),
        extra={"action": "schedule", "schedule": spec.name, "run_id": str(run_id)},
    )
    return True


def _has_run(engine: Engine, flow_name: str, key: str) -> bool:
    return bool(engine.records.autocommit(partial(_with_key, flow_name=flow_name, key=key)))


def _with_key(tx: Transaction, *, flow_name: str, key: str) -> bool:
    return bool(tx.runs.with_keys(flow_name, [key]))

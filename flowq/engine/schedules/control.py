"""What people do with schedules: add, change, pause, resume, run now, backfill, remove.

Each is one guarded UPDATE that is decided from the row as it is, and decided again if somebody else
was first. Nothing here starts a run: that is left to a worker, which knows the flow.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from flowq.core.errors import BrokerUnavailable, InvalidInput, ScheduleNotFound
from flowq.core.schedules.decide import Progress, wake_at
from flowq.core.schedules.spec import ScheduleSpec
from flowq.core.schedules.ticks import next_tick, ticks_within
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.ports import Transaction
from flowq.engine.schedules.declaring import insert, replace_definition

logger = logging.getLogger(__name__)

#: Ticks of one backfill.
MAX_BACKFILL: Final = 1_000

_Change = Callable[[StoredSchedule, datetime], Progress]


def find(engine: Engine, name: str) -> StoredSchedule:
    """Return a schedule.

    Raises:
        ScheduleNotFound: there is none of that name.
    """
    return _found(engine.records.autocommit(lambda tx: tx.schedules.find(name)), name)


def add(engine: Engine, spec: ScheduleSpec) -> StoredSchedule:
    """Add a checked schedule.

    Raises:
        InvalidInput: the name is taken.
    """
    if not engine.records.transaction(lambda tx: insert(tx, spec, declared_in=None)):
        raise InvalidInput(
            f"there is a schedule {spec.name!r}",
            hint=f"see it: flowq schedules show {spec.name}; delete it: flowq schedules rm "
            f"{spec.name}",
        )
    return find(engine, spec.name)


def put(
    engine: Engine, spec: ScheduleSpec, instead_of: Callable[[StoredSchedule], ScheduleSpec]
) -> bool:
    """Add a checked schedule, or replace the definition of the one of its name.

    Args:
        engine: Where the schedule is.
        spec: The schedule that is added if there is none of its name.
        instead_of: Returns the one that replaces a given one; raises if that must stay.

    Returns:
        Whether it was added. A replaced one counts its next tick from now; an equal one is as it
        was, and a paused one stays paused.
    """

    def work(tx: Transaction) -> bool:
        while True:  # each turn but the last, somebody else has changed the row
            found = tx.schedules.find(spec.name)
            if found is None:
                if insert(tx, spec, declared_in=None):
                    return True
                continue
            new = instead_of(found)
            if found.spec.digest == new.digest:
                return False
            if replace_definition(tx, found, new, declared_in=None):
                return False

    return engine.records.transaction(work)


def pause(engine: Engine, name: str) -> StoredSchedule:
    """Pause a schedule: it starts no run until it is resumed, but a requested one; idempotent.

    Raises:
        ScheduleNotFound: there is none of that name.
    """

    def change(found: StoredSchedule, now: datetime) -> Progress:
        return replace(found.progress, paused_at=found.progress.paused_at or now)

    return _change(engine, name, change)


def resume(engine: Engine, name: str) -> StoredSchedule:
    """Resume a schedule: its next tick is the first one from now; idempotent.

    Ticks in the pause are not missed ones: nobody wanted them. A backfill makes up for them.

    Raises:
        ScheduleNotFound: there is none of that name.
    """

    def change(found: StoredSchedule, now: datetime) -> Progress:
        if found.progress.paused_at is None:
            return found.progress
        following = next_tick(found.spec, found.anchor, now)
        return replace(found.progress, paused_at=None, held_at=None, next_at=following)

    return _change(engine, name, change)


def request_run(engine: Engine, name: str) -> StoredSchedule:
    """Request a run now, beside the ticks; while one is requested, that is the same request.

    Raises:
        ScheduleNotFound: there is none of that name.
    """

    def change(found: StoredSchedule, now: datetime) -> Progress:
        return replace(found.progress, requested_at=found.progress.requested_at or now)

    return _soon(engine, _change(engine, name, change))


def backfill_ticks(
    engine: Engine, name: str, first: datetime, last: datetime
) -> tuple[StoredSchedule, list[datetime]]:
    """Return the past ticks of a span, which a backfill would start.

    Args:
        engine: Where the schedule is.
        name: The schedule.
        first: The begin of the span; an aware time.
        last: Its end; ticks that are not past are left out.

    Raises:
        ScheduleNotFound: there is none of that name.
        InvalidInput: the span has no past tick, or more than `MAX_BACKFILL`.
    """
    found = find(engine, name)
    now = engine.records.autocommit(lambda tx: tx.schedules.now())
    return found, _ticks(found, first, last, now)


def backfill(engine: Engine, name: str, first: datetime, last: datetime) -> StoredSchedule:
    """Start the runs of the past ticks of a span, the oldest first; those that have a run are kept.

    Unless the schedule allows overlaps, each run begins when the one before it has ended.

    Raises:
        ScheduleNotFound: there is none of that name.
        InvalidInput: the span has no past tick, or too many; or a backfill of it is running.
    """

    def change(found: StoredSchedule, now: datetime) -> Progress:
        running = found.progress.backfill_at
        if running is not None:
            raise InvalidInput(
                f"a backfill of schedule {name!r} is running, its next tick is {running}",
                hint=f"wait for its end, or cancel it: flowq schedules backfill --cancel {name}",
            )
        due = _ticks(found, first, last, now)
        return replace(found.progress, backfill_at=due[0], backfill_until=due[-1])

    return _soon(engine, _change(engine, name, change))


def cancel_backfill(engine: Engine, name: str) -> StoredSchedule:
    """Start no further runs of a backfill; those that it has started go on.

    Raises:
        ScheduleNotFound: there is none of that name.
    """

    def change(found: StoredSchedule, _: datetime) -> Progress:
        return replace(found.progress, backfill_at=None, backfill_until=None)

    return _change(engine, name, change)


def remove(engine: Engine, name: str) -> StoredSchedule:
    """Delete a schedule; its runs stay. Returns it as it was.

    Raises:
        ScheduleNotFound: there is none of that name.
    """

    def work(tx: Transaction) -> StoredSchedule:
        found = _found(tx.schedules.find(name), name)
        tx.schedules.delete(name)
        return found

    return engine.records.transaction(work)


def _soon(engine: Engine, schedule: StoredSchedule) -> StoredSchedule:
    """Ask a worker to look at a schedule now; without a broker the sweeper does it later."""
    try:
        engine.dispatcher.send_schedules([(schedule.spec.name, schedule.spec.flow_name)])
    except BrokerUnavailable as error:
        logger.warning("schedule %s is left to the sweeper: %s", schedule.spec.name, error)
    return schedule


def _ticks(found: StoredSchedule, first: datetime, last: datetime, now: datetime) -> list[datetime]:
    due = ticks_within(found.spec, found.anchor, first, min(last, now), MAX_BACKFILL + 1)
    if not due:
        raise InvalidInput(
            f"schedule {found.spec.name!r} has no past tick from {first.isoformat()} to "
            f"{last.isoformat()}",
            hint=f"see its ticks: flowq schedules show {found.spec.name}",
        )
    if len(due) > MAX_BACKFILL:
        raise InvalidInput(
            f"the span has more than {MAX_BACKFILL:,} ticks", hint="backfill it in parts"
        )
    return due


def _change(engine: Engine, name: str, change: _Change) -> StoredSchedule:
    """Change the progress of a schedule, from its present state."""
    while not engine.records.transaction(lambda tx: _changed(tx, name, change)):
        pass  # somebody else has changed it in between
    return find(engine, name)


def _changed(tx: Transaction, name: str, change: _Change) -> bool:
    found = _found(tx.schedules.find(name), name)
    now = tx.schedules.now()
    progress = change(found, now)
    if progress == found.progress:
        return True
    due_at = wake_at(found.spec, progress, now)
    return tx.schedules.move(name, progress, due_at, version=found.version)


def _found(schedule: StoredSchedule | None, name: str) -> StoredSchedule:
    if schedule is None:
        raise ScheduleNotFound(
            f"there is no schedule {name!r}", hint="see all of them: flowq schedules ls"
        )
    return schedule

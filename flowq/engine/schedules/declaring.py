"""Records the schedules that code declares: when a worker starts, and only what has changed.

A declaration that differs from its row replaces the definition, and the next tick is counted from
now; an equal one changes nothing. A paused schedule stays paused. A declaration that is removed
from the code leaves its row, since no worker knows the code of all others: `flowq schedules rm`
deletes it. Of two deployments with different declarations the worker that started last wins.
"""

import logging
from dataclasses import replace
from functools import partial
from weakref import WeakKeyDictionary

from flowq.core.schedules.decide import Progress, wake_at
from flowq.core.schedules.spec import ScheduleSpec
from flowq.core.schedules.ticks import next_tick
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import DeclaredSchedule

logger = logging.getLogger(__name__)

#: What each engine of this process has recorded.
_recorded: WeakKeyDictionary[Engine, dict[str, DeclaredSchedule]] = WeakKeyDictionary()


def declare_all(engine: Engine) -> int:
    """Record the declared schedules that this process has not recorded yet.

    Returns:
        How many rows were inserted or changed.
    """
    done = _recorded.setdefault(engine, {})
    changed = 0
    for name, declared in list(engine.registry.schedules.items()):
        if done.get(name) != declared:
            changed += engine.records.transaction(partial(put, declared=declared))
            done[name] = declared
    return changed


def put(tx: Transaction, *, declared: DeclaredSchedule) -> bool:
    """Insert a declared schedule, or replace its definition if that differs; return whether."""
    spec, place = declared.spec, declared.place
    while True:  # each turn but the last, somebody else has changed the row
        found = tx.schedules.find(spec.name)
        if found is None:
            if insert(tx, spec, declared_in=place):
                return True
        elif found.declared_in is None:
            _say_added(declared)
            return False
        elif found.spec.digest == spec.digest:
            return False
        elif replace_definition(tx, found, spec, declared_in=place):
            return True


def _say_added(declared: DeclaredSchedule) -> None:
    name = declared.spec.name
    logger.error(
        "schedule %s is declared at %s, and one of that name was added by a command, which is "
        "kept. Delete it (flowq schedules rm %s), or rename the declaration",
        *(name, declared.place, name),
        extra={"action": "schedule", "schedule": name},
    )


def insert(tx: Transaction, spec: ScheduleSpec, *, declared_in: str | None) -> bool:
    """Insert a schedule; False if its name is taken."""
    now = tx.schedules.now()
    anchor = now.replace(microsecond=0)
    progress = Progress(next_tick(spec, anchor, now))
    due_at = wake_at(spec, progress, now)
    return tx.schedules.insert(spec, progress, due_at, anchor=anchor, declared_in=declared_in)


def replace_definition(
    tx: Transaction, found: StoredSchedule, spec: ScheduleSpec, *, declared_in: str | None
) -> bool:
    """Replace the definition of a schedule; its next tick is counted from now."""
    now = tx.schedules.now()
    progress = replace(
        found.progress,
        next_at=next_tick(spec, found.anchor, now),
        held_at=None,
        backfill_at=None,
        backfill_until=None,
    )
    return tx.schedules.change(
        spec,
        progress,
        wake_at(spec, progress, now),
        version=found.version,
        declared_in=declared_in,
    )

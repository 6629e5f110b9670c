"""What a seed is about: how often things go wrong, and which; and how its runs are queued.

Some runs are urgent, some begin later, some are one at a time of a key, some replace each other
before they begin or while they run, and some have shares. What they return is the same.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.limits.queueing import QueueingSpec, SingletonMode
from flowq.core.states import StopKind
from flowq.engine.registry.registry import RegisteredFlow
from tests.chaos.simulation.database import Database

_PENDING_SQL: Final = "SELECT starts_at FROM flow_runs WHERE status = 'pending'"


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things happen; drawn anew for each seed, many of them zero.

    Attributes:
        switch: Chance that a task gives way at a place where it could.
        fault: Chance that something breaks there, while faults are left.
        crash: Share of those that are the death of the worker.
        weights: Of the other events, by name.
    """

    switch: float
    fault: float
    crash: float
    faults: int
    weights: dict[str, float]


def random_rates(chance: random.Random) -> Rates:
    """Draw what this seed is about: few kinds of trouble at a time find more than all at once."""

    def some(share: float, weight: float) -> float:
        return weight if chance.random() < share else 0.0

    return Rates(
        switch=chance.choice([0.05, 0.2, 0.4, 0.6]),
        fault=chance.choice([0.0, 0.01, 0.03, 0.08]),
        crash=chance.choice([0.0, 0.3, 1.0]),
        faults=chance.choice([2, 5, 10]),
        weights={
            "lose": some(0.4, 0.5),
            "double": some(0.4, 1.0),
            "empty": some(0.2, 0.1),
            "forget": some(0.3, 0.3),
            "crash": some(0.3, 0.3),
            "cancel": some(0.3, 0.2),
            "pause": some(0.3, 0.3),
            "resume": 0.3,
            "signal": 2.0,
            "sleep": some(0.4, 0.4),
            "zombie": some(0.5, 1.0),
            "sweep": some(0.7, 0.6),
            "time": 0.8,
        },
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """How one run is queued.

    Attributes:
        rules: What its flow says of it; None for nothing.
        options: The options of its submission.
    """

    rules: QueueingSpec | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def replaces(self) -> bool:
        """Whether it cancels an earlier run of its key."""
        return self.rules is not None and (
            self.rules.debounce is not None or self.rules.singleton is SingletonMode.CANCEL_RUNNING
        )

    @property
    def delay(self) -> float:
        """How many seconds later it begins than it is accepted, at least."""
        given = dict(self.options).get("delay") or (self.rules and self.rules.debounce)
        return given.total_seconds() if given else 0.0

    def flow(self, flow: RegisteredFlow) -> RegisteredFlow:
        """Return a flow with these rules."""
        rules = self.rules
        return flow if rules is None else replace(flow, queueing=lambda _inputs, _user: rules)


def random_turns(chance: random.Random, count: int) -> list[Turn]:
    """Draw how the runs of a seed are queued; those of the same key have the same rules."""
    mode = chance.choice([None, SingletonMode.QUEUE, SingletonMode.CANCEL_RUNNING])
    debounce = timedelta(seconds=chance.choice([1.0, 40.0])) if chance.random() < 0.3 else None
    turns: list[Turn] = []
    for _ in range(count):
        share = chance.choice([None, "a", "b"])
        rules = QueueingSpec(singleton=mode, debounce=debounce, share=share)
        options: dict[str, Any] = {"priority": chance.choice([0, 0, 5, 9])}
        if debounce is None and chance.random() < 0.4:
            options["delay"] = timedelta(seconds=chance.choice([0.5, 20.0, 90.0]))
        turns.append(Turn(rules, tuple(options.items())))
    return turns


def superseded(database: Database, turns: Mapping[RunId, Turn]) -> set[RunId]:
    """Return the runs that later ones have replaced.

    Args:
        turns: How each run that a client wanted was queued.

    Raises:
        AssertionError: one was replaced, and nothing came later that could have done it.
    """
    rows = database.query("SELECT id, stop_kind FROM flow_runs ORDER BY rowid")
    runs = [RunId(UUID(row[0])) for row in rows]
    found: set[RunId] = set()
    for place, (_, kind) in enumerate(rows):
        if kind == StopKind.SUPERSEDED:
            later = [turns[one] for one in runs[place + 1 :] if one in turns]
            assert any(turn.replaces for turn in later), runs[place]
            found.add(runs[place])
    return found


def due_starts(database: Database) -> list[str]:
    """Return when pending runs begin that have a time."""
    return [row[0] for row in database.query(_PENDING_SQL) if row[0] is not None]

"""Schedules in the simulated world: whatever breaks, each tick has one run or one record.

A seed has one schedule with random rules. Sweepers of several workers ring, messages are lost and
doubled, workers die at any statement, the database and the broker do not answer. After the last
fault, the ticks from the first to the last that was handled are exactly those of runs and records.
"""

import random
from collections import Counter
from datetime import timedelta
from typing import Any, Final

from flowq.authoring.definitions.flows import Flow
from flowq.core.schedules.spec import CatchUp, Overlap, ScheduleSpec, checked
from flowq.core.schedules.ticks import key_of, ticks_within
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.queries.schedules import SkippedTicks
from flowq.engine.schedules import control
from flowq.engine.sweeper.sweep import sweep
from tests.chaos.simulation.checks import Broken
from tests.chaos.simulation.database import Database, each_statement
from tests.chaos.simulation.rates import random_rates
from tests.chaos.simulation.world import World
from tests.tools.faults import points as faults

_NAME: Final = "s"
_GRACE: Final = timedelta(seconds=5)
_EVENTS: Final = 250
_LIMIT: Final = 100_000


class SchedulePlay:
    """One seed, played."""

    def __init__(self, database: Database, seed: int, flow: Flow[..., Any]) -> None:
        database.reset()
        self._chance = random.Random(seed)
        self._world = World(database, self._chance, random_rates(self._chance))
        self._reader = self._world.worker("reader").engine
        overlap = self._chance.choice(list(Overlap))
        policies = [CatchUp.NONE, CatchUp.LAST]
        if overlap in {Overlap.ALLOW, Overlap.QUEUE}:
            policies += [CatchUp.ALL, CatchUp.ALL]
        self.spec = checked(
            ScheduleSpec(
                name=_NAME,
                flow_name=flow.type.name,
                every=timedelta(seconds=self._chance.choice([7, 20, 90])),
                jitter=timedelta(seconds=self._chance.choice([0, 5])),
                inputs={"value": 1},
                catch_up=self._chance.choice(policies),
                catch_up_limit=self._chance.choice([2, 1000]),
                overlap=overlap,
            )
        )

    def run(self) -> Counter[str]:
        """Play it; returns what happened, by kind.

        Raises:
            Broken: a tick has no run and no record, or two.
        """
        world = self._world
        control.add(self._reader, self.spec)
        with faults.injected(world.reach), each_statement(world.before_statement):
            try:
                for _ in range(_EVENTS):
                    world.clock.seconds += 0.001
                    self._event()
                self._rest()
                return self._compare()
            finally:
                world.close()

    def _event(self) -> None:
        world, chance = self._world, self._chance
        free = [one for one in world.workers if len(one.tasks) < 2]
        kind = chance.choices(
            ["deliver", "go_on", "sweep", "time", "lose", "crash"], [4, 6, 3, 2, 0.3, 0.2]
        )[0]
        if kind == "deliver" and free and world.broker.ready():
            self._deliver(again=chance.random() < 0.2)
        elif kind == "go_on" and world.tasks:
            world.go_on(chance.choice(world.tasks))
        elif kind == "sweep" and free:
            self._sweep()
        elif kind == "time":
            world.pass_time(chance.choice([0.5, 3.0, 11.0, 40.0, 130.0]))
        elif kind == "lose" and world.broker.ready():
            world.broker.take(chance.randrange(world.broker.ready()))
        elif kind == "crash" and (busy := [one for one in world.workers if one.tasks]):
            world.crash(chance.choice(busy))

    def _deliver(self, *, again: bool = False) -> None:
        world = self._world
        free = [one for one in world.workers if len(one.tasks) < 2]
        delivery = world.broker.take(self._chance.randrange(world.broker.ready()), leave=again)
        worker = self._chance.choice(free)
        world.start(worker, "deliver", lambda: world.broker.deliver(worker.engine, delivery))

    def _sweep(self) -> None:
        worker = self._chance.choice([one for one in self._world.workers if len(one.tasks) < 2])
        self._world.start(worker, "sweep", lambda: sweep(worker.engine, grace=_GRACE))

    def _rest(self) -> None:
        """Without faults, and with all ticks of the time so far: until nothing is due."""
        world = self._world
        world.faults_left = 0
        control.pause(self._reader, _NAME)  # no further ticks, so that it can come to rest
        for _ in range(_EVENTS):
            while world.tasks or world.broker.ready():
                world.clock.seconds += 0.001
                if world.tasks:
                    world.go_on(self._chance.choice(world.tasks))
                else:
                    self._deliver()
            if not self._open_runs():
                return
            world.pass_time(20)
            self._sweep()
        raise Broken("the runs of the schedule do not end")

    def _open_runs(self) -> int:
        query = "SELECT count(*) FROM flow_runs WHERE completed_at IS NULL"
        return int(self._world.database.query(query)[0][0])

    def _compare(self) -> Counter[str]:
        found = control.find(self._reader, _NAME)
        skipped = self._reader.records.autocommit(
            lambda tx: tx.overview.skipped_ticks(_NAME, limit=_LIMIT)
        )
        keys = [
            row[0] for row in self._world.database.query("SELECT idempotency_key FROM flow_runs")
        ]
        handled = Counter(keys) + self._skipped(found, skipped)
        expected = Counter(self._expected(found))
        if handled != expected:
            raise Broken(f"twice: {handled - expected}, never: {expected - handled}")
        return Counter(runs=len(keys), skipped=sum(one.ticks for one in skipped), seeds=1)

    def _expected(self, found: StoredSchedule) -> list[str]:
        last = found.progress.last_at
        if last is None:
            return []
        spec, anchor = self.spec, found.anchor
        first = anchor + timedelta(microseconds=1)
        return [key_of(_NAME, tick) for tick in ticks_within(spec, anchor, first, last, _LIMIT)]

    def _skipped(self, found: StoredSchedule, skipped: list[SkippedTicks]) -> Counter[str]:
        return Counter(
            key_of(_NAME, tick)
            for one in skipped
            for tick in ticks_within(self.spec, found.anchor, one.first, one.last, _LIMIT)
        )

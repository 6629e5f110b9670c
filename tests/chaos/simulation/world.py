"""A world of virtual workers, a broker that cannot be trusted and a clock, in one thread by a seed.

Each delivery, each submission and each pass of a sweeper runs in a greenlet. It gives way at every
fault point of the engine, before each transaction and after every call of the records, so the
scheduler may let any other go on in between: two attempts at one step, a sweeper between two
commits, a worker that was asleep past its lease. At the same places chance breaks things: the
worker dies there, or the database, the broker or the store does not answer, before or after it has
done what was asked.
Nothing gives way within a transaction: that is the database's own promise.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from greenlet import getcurrent, greenlet

from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.core.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    StoreUnavailable,
    Unavailable,
)
from flowq.engine.engine import Engine, Policies
from flowq.engine.interrupts import Interrupt
from flowq.engine.ports import Records
from flowq.engine.registry.registry import registry
from flowq.engine.results.store import ResultStore
from flowq.engine.runtime.context import StepContext
from tests.chaos.simulation.broker import Broker
from tests.chaos.simulation.database import Database, Through, writes
from tests.chaos.simulation.rates import Rates
from tests.tools.faults.points import FaultPoint

_OUTAGES: Final[dict[str, type[Unavailable]]] = {
    FaultPoint.BEFORE_PUBLISH: BrokerUnavailable,
    FaultPoint.AFTER_PUBLISH: BrokerUnavailable,
    FaultPoint.BEFORE_RESULT: StoreUnavailable,
    FaultPoint.AFTER_RESULT: StoreUnavailable,
}
#: How the message of an outage begins that is none.
_BY_CHANCE: Final = "by chance"


class Crash(Interrupt):
    """The process that runs here has died."""


@dataclass(eq=False)
class Worker:
    """A virtual process."""

    name: str
    engine: Engine
    tasks: list["Task"] = field(default_factory=list)
    asleep_until: float = 0.0  #: It does nothing, not even renew its leases, as after SIGSTOP.


class Task:
    """Something that goes on in a worker: an attempt, a submission, a pass of the sweeper."""

    def __init__(self, world: "World", worker: Worker, label: str, work: Callable[[], Any]) -> None:
        self.worker = worker
        self.label = label
        self.doomed = False
        self.broken: Unavailable | None = None
        self.crashed = False
        self.place = ""  #: Where it gave way.
        self.began: dict[str, int] = {}  #: The attempt whose code it runs, by step.
        self._world = world
        self._work = work
        self._greenlet = greenlet(self._run)

    def _run(self) -> None:
        try:
            self._work()
        except Crash:
            self.crashed = True
        except Unavailable as error:
            if not str(error).startswith(_BY_CHANCE):
                raise
            self.broken = error  # for a worker it is a task that failed

    def go_on(self) -> bool:
        """Run until it gives way or ends; return whether it has ended."""
        self._world.current = self
        try:
            self._greenlet.switch()
        finally:
            self._world.current = None
        return bool(self._greenlet.dead)

    def die(self) -> None:
        """End it where it stands, as part of a process that dies."""
        self.doomed = True
        if self._greenlet and not self._greenlet.dead:
            self._world.current = self
            self._greenlet.throw(Crash)
            self._world.current = None

    def give_way(self, place: str) -> None:
        """Let others go on; returns when it is this task's turn again."""
        self.place = place
        assert getcurrent() is self._greenlet
        parent = self._greenlet.parent
        assert parent is not None
        parent.switch()


class World:
    """Workers, broker, stores and clock around one database, and what chance does to them."""

    def __init__(self, database: Database, chance: random.Random, rates: Rates) -> None:
        self.database = database
        self.clock = database.clock
        self.chance = chance
        self.rates = rates
        self.current: Task | None = None
        #: Called after each task that has gone on, with the attempts that it has begun.
        self.look: Callable[[Mapping[str, int]], None] = lambda _began: None
        self.faults_left = rates.faults
        self.read_only_until = 0.0  #: It answers, and takes no writes, as after a failover.
        self.counts: Counter[str] = Counter()
        self.history: list[tuple[float, str, str]] = []
        #: From a step's id and attempt to how often its code was run.
        self.effects: Counter[tuple[UUID, int]] = Counter()
        self.broker = Broker(self.clock, self.reach)
        self.cache = MemoryCache()
        self._objects = MemoryObjects()
        self._events = MemoryEvents()
        self._threshold = chance.choice([0, 1024 * 1024, 1024 * 1024])
        self._inline = chance.choice([0, 1024])
        self.policies = Policies(
            max_recoveries=chance.choice([1, 5, 5]),
            chord_from=chance.choice([2, 2, 2, 3, 8]),
            outage_wait=timedelta(seconds=chance.choice([0, 20])),
            record_flows=False,  # a seed's story does not depend on which flows are known
        )
        self._names = iter(range(1, 10**9))
        self.client = self.worker("client")
        self.workers = [self.worker() for _ in range(chance.randint(1, 4))]

    def never_lost(self) -> None:
        """Let no step be recovered too often: what a program makes of that, nobody foresees."""
        self.set_policies(max_recoveries=1000)

    def set_policies(self, **changed: Any) -> None:
        """Change what the operator of all processes has set."""
        self.policies = replace(self.policies, **changed)
        for worker in (self.client, *self.workers):
            object.__setattr__(worker.engine, "policies", self.policies)

    # --- processes ---------------------------------------------------------------------------

    def worker(self, kind: str = "worker") -> Worker:
        """Start a process: with an engine of its own, so with nothing in its caches."""
        name = f"{kind}{next(self._names)}"
        results = ResultStore(self.cache, lambda: self._objects, self._threshold, self._inline)
        engine = Engine(
            records=cast(Records, Through(self.database.records, self._before, self._after)),
            results=results,
            dispatcher=self.broker,
            events=self._events,
            registry=registry,
            new_id=self.new_id,
            chance=self.chance.random,
            worker=name,
            policies=self.policies,
        )
        # Its thread counts as started: the heartbeat is an event of the simulation.
        engine.leases._pid = os.getpid()
        return Worker(name, engine)

    def start(self, worker: Worker, label: str, work: Callable[[], Any]) -> None:
        """Begin something in a worker, and run it until it first gives way."""
        task = Task(self, worker, label, work)
        worker.tasks.append(task)
        self.go_on(task)

    def go_on(self, task: Task) -> None:
        """Let a task go on."""
        self.say(task.worker.name, task.label + (f" goes on {task.place}" if task.place else ""))
        ended = task.go_on()
        self.look(task.began)
        if not ended:
            return
        if task.crashed:
            self.crash(task.worker)
            return
        task.worker.tasks.remove(task)
        if task.broken is not None:
            self.say(task.worker.name, f"{task.label} ends with {type(task.broken).__name__}")

    def crash(self, worker: Worker) -> None:
        """Kill a process with all that goes on in it; another takes its place."""
        self.say(worker.name, "dies")
        for task in worker.tasks:
            task.die()
        worker.tasks.clear()
        worker.engine.program_cache.clear()
        if worker is self.client:
            self.client = self.worker("client")
        else:
            self.workers[self.workers.index(worker)] = self.worker()

    @property
    def tasks(self) -> list[Task]:
        """What goes on and can go on now."""
        now = self.clock.seconds
        return [
            task
            for worker in (self.client, *self.workers)
            if worker.asleep_until <= now
            for task in worker.tasks
        ]

    @property
    def busy(self) -> bool:
        """Whether anything goes on anywhere."""
        return any(worker.tasks for worker in (self.client, *self.workers))

    def wake_all(self) -> None:
        """Let all workers go on that sleep."""
        for worker in self.workers:
            worker.asleep_until = 0.0

    def close(self) -> None:
        """End all that goes on."""
        self.faults_left = 0
        for worker in (self.client, *self.workers):
            for task in worker.tasks:
                task.die()
            worker.engine.program_cache.clear()

    # --- time --------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Move the clock; workers that are awake renew their leases meanwhile."""
        end = self.clock.seconds + seconds
        third = self.policies.lease.total_seconds() / 3
        while self.clock.seconds < end:
            self.clock.seconds = min(end, self.clock.seconds + third)
            for worker in self.workers:
                if worker.tasks and worker.asleep_until <= self.clock.seconds:
                    worker.engine.leases._renew()

    def monotonic(self) -> float:
        """Stand in for `time.monotonic` where the engine waits."""
        return self.clock.seconds

    def sleep(self, seconds: float) -> None:
        """Stand in for `time.sleep` where the engine waits."""
        self.clock.seconds += seconds
        self._pass("waiting", None)

    # --- chance ------------------------------------------------------------------------------

    def reach(self, point: str) -> None:
        """Give way, or break, at a named place: the hook of the engine's fault points."""
        self._pass(point, _OUTAGES.get(point))

    def _before(self, name: str) -> None:
        if name != "autocommit":  # before that each statement is a place
            self._pass(f"before {name}", DatabaseUnavailable)

    def before_statement(self) -> None:
        """Give way, or break, before a statement that is a transaction of its own."""
        if not self.database.connection.in_transaction:
            self._pass("before a statement", DatabaseUnavailable)

    def before_sql(self, statement: str) -> None:
        """Refuse a statement that writes while the database takes no writes."""
        task = self.current
        if task is None or task.doomed or self.clock.seconds >= self.read_only_until:
            return
        if writes(statement):
            self.counts["refused writes"] += 1
            raise DatabaseUnavailable(f"{_BY_CHANCE}, the database takes no writes")

    def _after(self, name: str) -> None:
        self._pass(f"after {name}", DatabaseUnavailable)

    def _pass(self, place: str, outage: type[Unavailable] | None) -> None:
        task = self.current
        if task is None:
            return  # the simulation itself reads, or renews leases
        if task.doomed:
            raise Crash
        assert not self.database.connection.in_transaction, place
        chance = self.chance.random
        if self.faults_left and chance() < self.rates.fault:
            self._break(task, place, outage)
        if chance() < self.rates.switch:
            task.give_way(place)

    def _break(self, task: Task, place: str, outage: type[Unavailable] | None) -> None:
        self.faults_left -= 1
        if outage is None or self.chance.random() < self.rates.crash:
            self.counts["crash"] += 1
            self.say(task.worker.name, f"{task.label} dies at {place}")
            raise Crash
        self.counts["outage"] += 1
        self.say(task.worker.name, f"{task.label} gets {outage.__name__} at {place}")
        raise outage(f"{_BY_CHANCE}, at {place}")

    def new_id(self) -> UUID:
        """Make a UUIDv7 of the virtual time and the seed's chance."""
        time = int(self.clock.seconds * 1000) + 1_893_456_000_000
        tail = self.chance.getrandbits(74)
        high, low = tail >> 62, tail & (1 << 62) - 1
        return UUID(int=time << 80 | 7 << 76 | high << 64 | 2 << 62 | low)

    def begin(self, here: StepContext) -> int:
        """Note that the code of an attempt begins; gives way, since users' code takes time.

        Returns:
            Which of the step's own attempts it is: those that lost their worker do not count.
        """
        self.effects[here.step_id, here.attempt] += 1
        assert self.current is not None
        self.current.began[here.step_id.hex] = here.attempt
        row = self.database.query(
            "SELECT recoveries FROM flow_step_runs WHERE id = ?", here.step_id.hex
        )
        self._pass("user code", None)
        if self.chance.random() < 0.5:
            here.raise_if_cancelled()  # some steps look, others never do
        return here.attempt - int(row[0][0])

    def say(self, who: str, what: str) -> None:
        """Add a line to the history."""
        self.history.append((self.clock.seconds, who, what))

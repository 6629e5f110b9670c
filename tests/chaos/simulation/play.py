"""One seed: what happens in its world, event by event, and what must have come of it.

First chance rules: messages are delivered in any order, lost and doubled, workers die or sleep past
their leases, stores do not answer, time passes. Then faults end, and whatever was accepted has to
come to rest within `MAX_REST` of virtual time, by messages, sweeps and the clock alone; a run
gets the signals that it waits for, and what it sleeps by its own wish comes on top. In some seeds
runs have priorities, begin later, in turn or in place of each other, or have shares. At rest each
run is what `tests.tools.random_flows.expected.evaluate` says, and nothing moves any more.
"""

import random
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Final
from unittest import mock
from uuid import UUID

from flowq.core.errors import SignalRefused, TaskRevoked
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.advance.finish import output
from flowq.engine.attempts import outages
from flowq.engine.attempts.abort import abort_attempt
from flowq.engine.engine import Engine
from flowq.engine.runs import submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.signals import newest, send_signal
from flowq.engine.runtime.context import StepContext
from flowq.engine.sweeper.sweep import sweep
from tests.chaos.simulation.broker import label_of
from tests.chaos.simulation.checks import Broken, Watch, check_counts, lost_steps, planned_attempts
from tests.chaos.simulation.database import Database, each_sql, each_statement, seconds_of
from tests.chaos.simulation.rates import (
    Turn,
    due_starts,
    random_rates,
    random_turns,
    superseded,
)
from tests.chaos.simulation.report import Report
from tests.chaos.simulation.world import Worker, World
from tests.tools.faults import points as faults
from tests.tools.invariants import assert_invariants
from tests.tools.random_flows import async_programs, programs
from tests.tools.random_flows.expected import Expected, differences, evaluate

#: Virtual seconds from the last fault until all runs have ended.
MAX_REST: Final = 900.0
_MAX_EVENTS: Final = 50_000
_SWEEP_EVERY: Final = 5.0
#: Share of the runs that are programs instead of graphs.
_ASYNC: Final = 0.4
#: Longer than a seed, so that nothing counts as late.
_NOT_LATE: Final = timedelta(days=1)
#: Of ten seeds the one in which steps are revoked, if its runs are graphs.
_REVOKED: Final = 7
#: Of ten seeds the one in which the database takes no writes for a while.
_READ_ONLY: Final = 4
_GRACE: Final = timedelta(seconds=_SWEEP_EVERY)
#: Where the lines of shares begin: a step there waits for others, not for this time.
_IN_LINE: Final = "2180"


@dataclass
class Job:
    """A run that a client wants."""

    run_id: RunId
    program: programs.Program
    accepted: bool = False
    turn: Turn = field(default_factory=Turn)

    @property
    def is_async(self) -> bool:
        """Whether it is an `async def` flow."""
        return "body" in self.program

    @cached_property
    def signals(self) -> dict[str, list[int]]:
        """What has to be sent to it."""
        return async_programs.signals_of(self.program) if self.is_async else {}


class Play:
    """One seed, played."""

    #: Of ten seeds those whose runs have priorities, delays, singletons, debounces and shares.
    in_turn: ClassVar = frozenset({5, 6, 9})

    def __init__(self, database: Database, seed: int) -> None:
        database.reset()
        self._seed = seed
        self._chance = random.Random(seed)
        self._world = World(database, self._chance, random_rates(self._chance))
        self._reader = self._world.worker("reader").engine
        self._watch = Watch(database)
        self._world.look = self._look
        self._jobs = [
            Job(
                RunId(self._world.new_id()),
                async_programs.random_program(self._chance)
                if self._chance.random() < _ASYNC
                else programs.random_program(self._chance, size=self._chance.choice([3, 6])),
            )
            for _ in range(self._chance.choice([1, 1, 2]))
        ]
        if seed % 10 in self.in_turn:
            self._queue_in_turn(random.Random(seed + 1))
        if any(job.is_async for job in self._jobs):
            self._world.never_lost()
        is_revoked = seed % 10 == _REVOKED and not any(job.is_async for job in self._jobs)
        self._world.rates.weights["revoke"] = 0.3 if is_revoked else 0.0
        self._refuses = seed % 10 == _READ_ONLY
        self._world.rates.weights["refuse_writes"] = 0.3 if self._refuses else 0.0
        self._revoked: set[StepRunId] = set()
        self._events = self._chance.randint(20, 120)
        self._cancelled: set[RunId] = set()
        self._troubled = True
        self._swept = 0  #: How much the last pass of a sweeper has moved.
        self._changes = 0  #: How many changes of state there were.
        self._thorough = seed % 100 == 0
        self._rest = 0.0

    def _queue_in_turn(self, chance: random.Random) -> None:
        """Have two more runs, and draw how all are queued; other seeds keep their story."""
        for _ in range(2):
            program = programs.random_program(chance, size=3)
            self._jobs.append(Job(RunId(self._world.new_id()), program))
        for job, turn in zip(self._jobs, random_turns(chance, len(self._jobs)), strict=True):
            job.turn = turn
        self._world.set_policies(share_window=chance.choice([1, 2, 3]))

    def run(self) -> Report:
        """Play it to its end."""
        failure: str | None = None
        world = self._world
        with (
            faults.injected(world.reach),
            programs.witnessed(self._attempt),
            each_statement(world.before_statement),
            each_sql(world.database, world.before_sql) if self._refuses else nullcontext(),
            # What waits there for an outage to pass waits in the simulation's time.
            mock.patch.object(outages, "time", world),
        ):
            try:
                self._trouble()
                self._come_to_rest()
                self._compare()
            except Exception as error:  # noqa: BLE001 - whatever it is, the seed has found it
                failure = f"{type(error).__name__}: {error}"
                self._failed_with = error
            finally:
                world.close()
        return Report(self._seed, self._lines(), world.counts, self._rest, failure)

    def _attempt(self, here: StepContext) -> int:
        """Note that the code of an attempt begins; returns its number, by which it may fail."""
        return self._world.begin(here)

    # --- events ------------------------------------------------------------------------------

    def _trouble(self) -> None:
        for _ in range(self._events):
            self._world.clock.seconds += 0.001
            self._event()
            if not self._wanted() and not self._world.busy and not self._open_runs():
                return

    def _event(self) -> None:
        world, chance = self._world, self._chance
        tasks, ready = world.tasks, world.broker.ready()
        choices: dict[Callable[[], None], float] = {
            self._deliver: 4.0 if ready and self._free() else 0.0,
            self._go_on: 6.0 if tasks else 0.0,
            self._submit: 2.0 if self._wanted() else 0.0,
        }
        for name, weight in world.rates.weights.items():
            choices[getattr(self, f"_{name}")] = weight
        chance.choices(list(choices), list(choices.values()))[0]()

    def _free(self) -> list[Worker]:
        now = self._world.clock.seconds
        return [w for w in self._world.workers if len(w.tasks) < 2 and w.asleep_until <= now]

    def _wanted(self) -> list[Job]:
        return [job for job in self._jobs if not job.accepted]

    def _submit(self) -> None:
        world = self._world
        if world.client.tasks:
            return
        job, client = self._chance.choice(self._wanted()), world.client

        def work() -> None:
            self._begin(client.engine, job)
            job.accepted = True

        world.start(client, "submit", work)

    def _begin(self, engine: Engine, job: Job) -> None:
        module = async_programs if job.is_async else programs
        flow, inputs = module.flow_of(job.program), module.inputs_of(job.program)
        query = "SELECT 1 FROM flow_runs WHERE id = ?"
        # What replaces other runs must not be submitted twice: it would replace itself.
        if not (job.turn.replaces and self._world.database.query(query, job.run_id.hex)):
            chosen, options = job.turn.flow(flow.type), dict(job.turn.options)
            submission.submit(engine, chosen, inputs, run_id=job.run_id, **options)

    def _deliver(self) -> None:
        broker = self._world.broker
        index = self._chance.randrange(broker.ready())
        # The ends of batches are few, and what they count must be counted once.
        is_end = broker.waiting[index].message is None
        doubles = self._troubled and self._world.rates.weights["double"] > 0
        self._hand_over(index, again=is_end and doubles and self._chance.random() < 0.5)

    def _hand_over(self, index: int, *, again: bool = False) -> None:
        """Give a delivery of the queue to a worker; with `again` it stays there as well."""
        world = self._world
        delivery = world.broker.take(index, leave=again)
        world.counts["doubled"] += again
        worker = self._chance.choice(self._free())
        world.start(
            worker, label_of(delivery), lambda: world.broker.deliver(worker.engine, delivery)
        )

    def _go_on(self) -> None:
        self._world.go_on(self._chance.choice(self._world.tasks))

    def _lose(self) -> None:
        waiting = len(self._world.broker.waiting)
        if waiting:
            delivery = self._world.broker.lose(self._chance.randrange(waiting))
            self._world.counts["lost"] += 1
            self._world.say("broker", f"loses {label_of(delivery)}")

    def _double(self) -> None:
        ready = self._world.broker.ready()
        if ready and self._free():
            self._hand_over(self._chance.randrange(ready), again=True)

    def _pause(self) -> None:
        """A client pauses a run, or a child run by itself."""
        world, client = self._world, self._world.client
        found = world.database.query("SELECT id FROM flow_runs WHERE status = 'running'")
        if client.tasks or not found:
            return
        run_id = RunId(UUID(self._chance.choice(found)[0]))
        world.counts["pauses"] += 1
        world.start(client, f"pause {run_id}", lambda: pause(client.engine, run_id))

    def _paused(self) -> list[RunId]:
        rows = self._world.database.query("SELECT id FROM flow_runs WHERE status = 'paused'")
        return [RunId(UUID(row[0])) for row in rows]

    def _resume(self) -> None:
        """A client resumes a run, or a child run by itself."""
        client, found = self._world.client, self._paused()
        if client.tasks or not found:
            return
        run_id = self._chance.choice(found)
        self._world.start(client, f"resume {run_id}", lambda: resume(client.engine, run_id))

    def _cancel(self) -> None:
        """A client cancels a run, or a child run by itself."""
        world, client = self._world, self._world.client
        found = world.database.query("SELECT id FROM flow_runs")
        if client.tasks or not found:
            return
        run_id = RunId(UUID(self._chance.choice(found)[0]))
        world.counts["cancels"] += 1
        self._cancelled.add(run_id)
        world.start(client, f"cancel {run_id}", lambda: cancel(client.engine, run_id))

    def _unsent(self) -> list[tuple[Job, str, int]]:
        """Return the next message of each signal that an open run still waits for, or will."""
        found: list[tuple[Job, str, int]] = []
        for job in self._jobs:
            if not job.signals or not job.accepted or not self._is_open(job):
                continue
            for name, messages in job.signals.items():
                query = "SELECT count(*) FROM flow_signals WHERE name = ?"
                sent = self._world.database.query(query, name)[0][0]
                if sent < len(messages):
                    found.append((job, name, messages[sent]))
        return found

    def _is_open(self, job: Job) -> bool:
        run_id = newest(self._reader, job.run_id)
        query = "SELECT status FROM flow_runs WHERE id = ?"
        status = self._world.database.query(query, run_id.hex)[0][0]
        return status not in TERMINAL_RUN_STATES

    def _signal(self) -> None:
        """A client sends a signal to the run that it has begun, as whatever that goes on by now."""
        world, client, unsent = self._world, self._world.client, self._unsent()
        if client.tasks or not unsent:
            return
        job, name, message = self._chance.choice(unsent)

        def work() -> None:
            try:
                send_signal(client.engine, job.run_id, name, message)
            except SignalRefused:
                if self._is_open(job):
                    raise

        world.counts["signals"] += 1
        world.start(client, f"signal {name} to {job.run_id}", work)

    def _revoke(self) -> None:
        """A worker discards a message, since an operator has revoked its step."""
        world, free, queue = self._world, self._free(), self._world.broker.waiting
        places = [i for i in range(world.broker.ready()) if queue[i].message is not None]
        if not free or not places:
            return
        delivery, worker = world.broker.take(self._chance.choice(places)), self._chance.choice(free)
        step = delivery.message
        assert step is not None
        self._revoked.add(step.id)
        world.counts["revoked"] += 1
        error = TaskRevoked("its Celery task was revoked")
        label = f"cut off {step.label} of {step.run_id}"
        world.start(worker, label, lambda: abort_attempt(worker.engine, step.id, error))

    def _refuse_writes(self) -> None:
        """The database takes no writes for a while, as after a failover; it can be read."""
        seconds = self._chance.choice([0.5, 5.0, 40.0])
        self._world.counts["read-only"] += 1
        self._world.say("database", f"takes no writes for {seconds:g} s")
        self._world.read_only_until = self._world.clock.seconds + seconds

    def _empty(self) -> None:
        self._world.counts["emptied"] += 1
        self._world.say("broker", "loses everything")
        self._world.broker.clear()

    def _forget(self) -> None:
        self._world.say("cache", "loses everything")
        self._world.cache.clear()

    def _crash(self) -> None:
        busy = [worker for worker in self._world.workers if worker.tasks]
        if busy:
            self._world.counts["crash"] += 1
            self._world.crash(self._chance.choice(busy))

    def _sleep(self) -> None:
        worker = self._chance.choice(self._world.workers)
        seconds = self._chance.choice([1.0, 20.0, 45.0, 100.0])
        worker.asleep_until = self._world.clock.seconds + seconds
        self._world.counts["slept"] += 1
        self._world.say(worker.name, f"sleeps for {seconds:g} s")

    def _zombie(self) -> None:
        """A worker sleeps past its lease; it wakes when another one has begun its step again."""
        world = self._world
        busy = [worker for worker in self._free() if worker.tasks]
        if not busy:
            return
        worker, seconds = self._chance.choice(busy), world.policies.lease.total_seconds() + 1
        worker.asleep_until = world.clock.seconds + seconds + self._chance.random() * 0.02
        world.counts["zombies"] += 1
        world.say(worker.name, f"sleeps for {seconds:g} s")
        world.pass_time(seconds)
        self._sweep()
        while sweeping := [task for task in world.tasks if task.label == "sweep"]:
            world.go_on(sweeping[0])
        if world.broker.ready() and self._free():
            self._hand_over(world.broker.ready() - 1)

    def _sweep(self) -> None:
        free = self._free()
        if free:
            worker = self._chance.choice(free)

            def work() -> None:
                self._swept = sweep(worker.engine, grace=_GRACE)

            self._world.start(worker, "sweep", work)

    def _time(self) -> None:
        seconds = self._chance.choice([0.05, 0.5, 2.0, 2.0, 6.0, 11.0, 31.0, 61.0])
        self._world.say("clock", f"{seconds:g} s pass")
        self._world.pass_time(seconds)

    # --- rest --------------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        world = self._world
        world.faults_left = 0
        world.read_only_until = 0.0
        self._troubled = False
        began = world.clock.seconds
        world.wake_all()
        world.say("chance", "from here on nothing breaks")
        # What programs wait for by their own wish comes on top of it.
        own = [async_programs.seconds_of(job.program) for job in self._jobs if job.is_async]
        own += [job.turn.delay for job in self._jobs]
        longest = MAX_REST + sum(own)  # they may have to run one after the other
        quiet = False
        events = 0
        while not quiet:
            events += 1
            if events > _MAX_EVENTS:
                raise Broken(f"not at rest after {_MAX_EVENTS} events without faults")
            if world.clock.seconds - began > longest:
                raise Broken(f"not at rest after {longest:g} s without faults")
            world.clock.seconds += 0.001
            if world.tasks:
                self._go_on()
            elif world.broker.ready():
                self._deliver()
            elif self._wanted():
                self._submit()
            elif self._paused():
                self._resume()
            elif self._unsent():
                self._signal()
            else:
                quiet = self._is_quiet()
        self._rest = world.clock.seconds - began

    def _is_quiet(self) -> bool:
        """Let the time pass until something is due, and sweep; return whether nothing is left."""
        world, now = self._world, self._world.clock.seconds
        times = world.database.query(
            "SELECT wake_at FROM flow_step_runs WHERE status IN ('queued', 'retrying', 'waiting') "
            f"AND wake_at < '{_IN_LINE}' UNION ALL "
            "SELECT s.shielded_until FROM flow_step_runs s JOIN flow_runs r ON r.id = s.flow_run_id"
            " WHERE s.status = 'waiting' AND r.status = 'cancelling' "
            "AND s.shielded_until IS NOT NULL UNION ALL "
            "SELECT lease_expires_at FROM flow_step_runs WHERE lease_token IS NOT NULL"
        )
        moments = [*(row[0] for row in times), *due_starts(world.database)]
        due = [*world.broker.next_due(), *map(seconds_of, moments)]
        at_rest = not due and not self._open_runs()
        first = min([one for one in due if one > now], default=now)
        world.pass_time(max(first - now, 0) + _SWEEP_EVERY)
        changes = self._changes
        self._swept = -1
        self._sweep()
        while world.tasks:
            self._go_on()
        # What the sweeper finds at rest, it would find for ever.
        return (
            at_rest and self._swept == 0 and not world.broker.waiting and self._changes == changes
        )

    def _open_runs(self) -> int:
        found: int = self._world.database.query(
            "SELECT count(*) FROM flow_runs "
            "WHERE status NOT IN ('completed', 'failed', 'cancelled')"
        )[0][0]
        return found

    def _look(self, began: Mapping[str, int]) -> None:
        """See what has changed, and whether it may: after each thing that has gone on."""
        for text in self._watch.changes(began):
            self._changes += 1
            self._world.say("", text)
        self._watch.rows()
        if self._thorough:
            self._invariants(_NOT_LATE)

    def _compare(self) -> None:
        world = self._world
        engine, most = self._reader, world.policies.max_recoveries
        self._invariants(timedelta(0))
        self._cancelled |= superseded(world.database, {j.run_id: j.turn for j in self._jobs})
        lost = lost_steps(world.database, most, self._cancelled, self._revoked)
        world.counts["lost steps"] += len(lost)
        attempts: dict[StepRunId, int] = {}
        for job in self._jobs:
            if job.is_async:
                self._compare_async(job)
                continue
            expected = self._expected(job, lost)
            found = differences(engine, job.run_id, expected, self._cancelled)
            if found:
                raise Broken("\n".join(found))
            attempts |= planned_attempts(expected, job.run_id)
            world.counts[f"runs {expected.state}"] += 1
        # One that is cut off is claimed for that, and no plan says when.
        attempts = {step: n for step, n in attempts.items() if step not in self._revoked}
        check_counts(self._watch, attempts, world.effects, most)

    def _expected(self, job: Job, lost: Collection[StepRunId]) -> Expected:
        return evaluate(job.program, job.run_id, lost=lost)

    def _compare_async(self, job: Job) -> None:
        engine, run_id = self._reader, newest(self._reader, job.run_id)
        view = engine.records.autocommit(lambda tx: tx.runs.view(run_id))
        assert view is not None
        self._world.counts["continued"] += run_id != job.run_id
        self._world.counts[f"programs {view.status}"] += 1
        if self._cancelled:
            return  # what a cancel of a child run leads to is not foreseen
        state, value = self._foreseen(job)
        if view.status is not state:
            raise Broken(f"run {run_id} is {view.status}, expected {state}: {view.error}")
        if state is RunState.COMPLETED:
            found = output(engine, engine.definitions.get(run_id).definition)
            if found != value:
                raise Broken(f"run {run_id} returned {found!r}, expected {value!r}")

    def _foreseen(self, job: Job) -> tuple[RunState, Any]:
        return async_programs.evaluate(job.program)

    def _invariants(self, grace: timedelta) -> None:
        """Ask what `flowq doctor --invariants` asks."""
        assert_invariants(
            self._world.database.records,
            grace=grace,
            max_recoveries=self._world.policies.max_recoveries,
            definitions=self._reader.definitions,
        )

    def _lines(self) -> list[str]:
        lines = []
        for seconds, who, what in self._world.history:
            words = [self._watch.name(word) for word in what.split(" ")]
            lines.append(f"{seconds:10.3f}  {who:9}  {' '.join(words)}")
        return lines

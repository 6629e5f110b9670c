"""Runs whole flows in the test's own thread: the real engine and database, no broker, no worker."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import uuid_utils.compat as uuids

from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.authoring.definitions.flows import Flow
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Engine, Policies
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.registry.registry import registry
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import submission
from flowq.engine.sweeper.sweep import sweep


@dataclass(frozen=True)
class Played:
    """A run that has come to rest."""

    stage: "Stage"
    id: RunId
    flow: Flow[..., Any]

    @property
    def view(self) -> RunView:
        view = self.stage.engine.records.autocommit(lambda tx: tx.runs.view(self.id))
        assert view is not None
        return view

    @property
    def status(self) -> RunState:
        status = self.stage.engine.records.autocommit(lambda tx: tx.runs.status(self.id))
        assert status is not None
        return status

    @property
    def error(self) -> str:
        return self.view.error or ""

    def step(self, key: str) -> StepView:
        return next(step for step in self.view.steps if step.key == key)

    def states(self) -> dict[str, StepState]:
        return {step.key: step.status for step in self.view.steps}

    def result(self) -> Any:
        assert self.status is RunState.COMPLETED, self.error
        definition = self.stage.engine.definitions.get(self.id).definition
        value = output(self.stage.engine, definition)
        return coerce(value, adapter_for(self.flow.type.returns), where="the output")


@dataclass(frozen=True)
class Stage:
    """An engine whose steps run here."""

    engine: Engine
    dispatcher: InProcessDispatcher
    records: SqlRecords

    @classmethod
    def on(
        cls,
        records: SqlRecords,
        *,
        seed: int | None = None,
        wait: Callable[[timedelta], None] | None = None,
        threshold: int = 1024 * 1024,
        policies: Policies | None = None,
    ) -> "Stage":
        """Make one; a seed makes the order of deliveries random.

        It records no flows for pages: to record those of all tests takes longer than most tests.
        """
        pick = None if seed is None else random.Random(seed).randrange
        options: dict[str, Any] = {} if wait is None else {"wait": wait}
        dispatcher = InProcessDispatcher(pick=pick, **options)
        objects = MemoryObjects()
        engine = Engine(
            records=records,
            results=ResultStore(MemoryCache(), lambda: objects, threshold),
            dispatcher=dispatcher,
            events=MemoryEvents(),
            registry=registry,
            new_id=uuids.uuid7,
            chance=lambda: 0.0,
            worker="test",
            policies=replace(policies or Policies(), record_flows=False),
        )
        return cls(engine, dispatcher, records)

    def recording(self, module: str) -> "Stage":
        """The same, which knows the flows of one module alone, and records them for pages."""
        known = self.engine.registry
        flows = {
            name: flow
            for name, flow in known.flows.items()
            if getattr(flow.subject, "__module__", None) == module
        }
        engine = replace(
            self.engine,
            registry=replace(known, flows=flows),
            policies=replace(self.engine.policies, record_flows=True),
        )
        return replace(self, engine=engine)

    def submit(self, flow: Flow[..., Any], inputs: Mapping[str, Any]) -> Played:
        """Submit a run; none of its steps runs yet."""
        return Played(self, submission.submit(self.engine, flow.type, inputs), flow)

    def play(self, flow: Flow[..., Any], **inputs: Any) -> Played:
        """Submit a run and do all that it leads to."""
        played = self.submit(flow, inputs)
        self.dispatcher.run(self.engine)
        return played

    def sweep(self, *, seconds_late: float = 0.0) -> int:
        """Make one pass of the sweeper that takes everything for late."""
        return sweep(self.engine, grace=timedelta(seconds=-1 - seconds_late))

    def run_in_threads(self, played: Played, workers: int) -> None:
        """Do all that a run leads to with so many workers at once, and a sweeper beside them.

        What has to wait for a limit may be left to the sweeper: without one, some would for ever.
        """
        take, ended = threading.Lock(), {RunState.COMPLETED, RunState.FAILED}
        deadline, swept = time.monotonic() + 300, [time.monotonic()]

        def work() -> None:
            while played.status not in ended and time.monotonic() < deadline:
                with take:
                    delivery = self.dispatcher._next() if self.dispatcher._ready else None
                    self.dispatcher._wake(0.0)
                    if delivery is None and time.monotonic() - swept[0] > 1:
                        swept[0] = time.monotonic()
                        self.sweep()
                if delivery is None:
                    time.sleep(0.002)
                    continue
                self.dispatcher.deliver(self.engine, delivery)

        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(copy_context().run, work) for _ in range(workers)]:
                future.result()

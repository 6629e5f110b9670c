"""Runs in the test's own thread, on tables in memory and under a virtual clock.

Time is constant while there is work to do. Then it jumps to what is due next: the end of a sleep, a
retry, the timeout of a signal. `start` never makes it jump, so a test sees the run wait; `result`
does, up to the end of the run.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, cast

import uuid_utils.compat as uuids

from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.definitions.base_flow import BaseFlow
from flowq.authoring.definitions.flows import Flow
from flowq.core.errors import FlowNotFound, ResultTimeout, RunCancelled, RunFailed
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Engine, Policies
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.registry.registry import Registry, registry
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import cancel, signals
from flowq.engine.runs import submission as runs
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.sweeper.sweep import sweep
from flowq.testing.fakes import Fakes, faked
from flowq.testing.records import VirtualClock, VirtualRecords

#: A flow, or its class.
AnyFlow = Flow[..., Any] | type[BaseFlow]

BEGIN: Final = datetime(2030, 1, 1, tzinfo=UTC)
#: Time is constant while steps run, so no lease has to be renewed.
_FOREVER: Final = timedelta(days=365)
_THRESHOLD: Final = 1024 * 1024
#: Jumps of the clock after which a run counts as endless.
_MAX_JUMPS: Final = 100_000


def run(
    flow: AnyFlow,
    inputs: Mapping[str, Any] | None = None,
    *,
    fakes: Fakes | None = None,
    now: datetime = BEGIN,
) -> Any:
    """Run a flow to its end, and return its result.

    Args:
        flow: A flow, or a `BaseFlow` class.
        inputs: Its inputs, by name.
        fakes: Functions that run instead of steps: `{fetch: lambda url: "…"}`. That of a step
            class returns the content: `{Summarise: lambda text: "short"}`.
        now: When the run begins; an aware datetime.

    Raises:
        FlowNotFound: it is not a flow, or its definition is forgotten.
        InvalidInput: the inputs are wrong.
        RunFailed: the run has failed.
        ResultTimeout: it waits for a signal; use `start` then, and send it.
    """
    with start(flow, inputs, fakes=fakes, now=now) as started:
        return started.result()


def start(
    flow: AnyFlow,
    inputs: Mapping[str, Any] | None = None,
    *,
    fakes: Fakes | None = None,
    now: datetime = BEGIN,
) -> "StartedRun":
    """Start a run, and do everything that is possible without advancing the time; as `run`."""
    chosen = flow_of(flow)
    stage = Stage(registry_with(fakes or {}), now)
    try:
        started = StartedRun(stage, _submitted(stage.engine, chosen, inputs or {}), chosen)
        stage.play()
    except BaseException:
        stage.close()  # the caller gets no handle to close
        raise
    return started


def _submitted(engine: Engine, flow: Flow[..., Any], inputs: Mapping[str, Any]) -> RunId:
    name = flow.type.name
    if flow.type.program is not None and name not in registry.flows:
        raise FlowNotFound(
            f"flow {name!r} is forgotten: it was defined in a block of testing.definitions()",
            hint="run it in that block, or define it in a module that is imported before the block",
        )
    registry.check_steps()
    return runs.submit(engine, flow.type, inputs, **cast(SubmitOptions, flow.submission))


def flow_of(flow: AnyFlow) -> Flow[..., Any]:
    """Return a flow, or the flow of a class.

    Raises:
        FlowNotFound: it is no flow.
    """
    found = getattr(flow, "flow", None) if isinstance(flow, type) else flow
    if not isinstance(found, Flow):
        raise FlowNotFound(
            f"{flow!r} is not a flow", hint="give a function with @flow, or a BaseFlow class"
        )
    return found


class StartedRun:
    """A run of a test; as a context manager it closes itself.

    Attributes:
        id: Its id.
    """

    def __init__(self, stage: "Stage", run_id: RunId, flow: Flow[..., Any]) -> None:
        self.stage = stage
        self.id = run_id
        self.flow = flow

    @property
    def now(self) -> datetime:
        """The time in the test."""
        return self.stage.clock.now

    @property
    def status(self) -> RunState:
        """The state of the run; of the last one, if it continues as a new one."""
        engine = self.stage.engine
        last = signals.newest(engine, self.id)
        state = engine.records.autocommit(lambda tx: tx.runs.status(last))
        assert state is not None
        return state

    def view(self) -> RunView:
        """Return the run, or the last one as which it continues, with its steps."""
        engine = self.stage.engine
        last = signals.newest(engine, self.id)
        view = engine.records.autocommit(lambda tx: tx.runs.view(last))
        assert view is not None
        return view

    @property
    def steps(self) -> tuple[StepView, ...]:
        """The steps of the run, and what it waits for."""
        return self.view().steps

    def send_signal(self, name: str, payload: Any = None) -> None:
        """Send a signal, and do all resulting work.

        Raises:
            InvalidInput: it does not fit the flow's wait.
            SignalRefused: the run is finished, or is of a `def` flow.
        """
        signals.send_signal(self.stage.engine, self.id, name, payload)
        self.stage.play()

    def cancel(self, reason: str | None = None) -> RunState:
        """Cancel the run, and do all resulting work."""
        last = signals.newest(self.stage.engine, self.id)
        cancel.cancel(self.stage.engine, last, reason)
        self.stage.play()
        return self.status

    def wait(self, time: Duration) -> RunState:
        """Advance the time by a timedelta or seconds, and do everything that becomes due.

        Returns:
            The state of the run then.
        """
        until = self.now + duration(time, "the time to wait")
        for _ in range(_MAX_JUMPS):
            if not self.stage.jump(until):
                break
        self.stage.clock.now = max(until, self.now)
        return self.status

    def finish(self) -> RunState:
        """Advance the time until the run is finished, and return its state.

        Raises:
            ResultTimeout: it waits for a signal, or does not end.
        """
        for _ in range(_MAX_JUMPS):
            if self.status in TERMINAL_RUN_STATES or not self.stage.jump(None):
                break
        view = self.view()
        if view.status not in TERMINAL_RUN_STATES:
            raise ResultTimeout(
                f"the run is {view.status} and waits for {_awaited(view)}",
                hint="testing.start(…), then send_signal(…)",
            )
        return view.status

    def result(self) -> Any:
        """Advance the time until the run is finished, and return its result.

        Raises:
            RunFailed: it has failed.
            RunCancelled: it was cancelled.
            ResultTimeout: it waits for a signal, or does not end.
        """
        self.finish()
        view = self.view()
        if view.status is not RunState.COMPLETED:
            kind = RunFailed if view.status is RunState.FAILED else RunCancelled
            raise kind(f"the run {view.status}: {view.error}")
        engine = self.stage.engine
        value = output(engine, engine.definitions.get(view.id).definition)
        return coerce(value, adapter_for(self.flow.type.returns), where="the result")

    def close(self) -> None:
        """Delete the run."""
        self.stage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stage:
    """An engine in the test's own thread, and its clock."""

    def __init__(self, known: Registry, now: datetime) -> None:
        self.clock = VirtualClock(now)
        self._records = VirtualRecords(self.clock)
        self._dispatcher = InProcessDispatcher(wait=self.clock.move, clock=self.clock.seconds)
        objects = MemoryObjects()
        self.engine = Engine(
            records=self._records,
            results=ResultStore(MemoryCache(), lambda: objects, _THRESHOLD),
            dispatcher=self._dispatcher,
            events=MemoryEvents(),
            registry=known,
            new_id=uuids.uuid7,
            chance=lambda: 0.5,
            worker="test",
            policies=Policies(
                lease=_FOREVER, cancel_every=_FOREVER, record_flows=False, clock_runs=False
            ),
        )

    def play(self) -> None:
        """Do all work that is ready."""
        while self._dispatcher.run_due(self.engine) or self._swept():
            pass

    def _swept(self) -> bool:
        """Run the sweeper for rows that have no message; return whether it sent something."""
        sweep(self.engine, grace=timedelta(0))
        ready = self._dispatcher.due_now
        return any(one.batch is not None or one.schedule is not None for one in ready)

    def jump(self, until: datetime | None) -> bool:
        """Advance the time to the next due row, and do the work; False when none is due by then."""
        later, times = self._dispatcher.next_later, [self._records.next_due()]
        if later is not None:
            # A time in seconds may be slightly later than the same time as a datetime.
            times.append(datetime.fromtimestamp(later, UTC) + timedelta(microseconds=1))
        # All due work was done, as far as possible: a row's time is cut to milliseconds, so a retry
        # may be due by its row slightly before its real time.
        ahead = [time for time in times if time is not None and time > self.clock.now]
        due = min(ahead, default=None)
        if due is None or (until is not None and due > until):
            return False
        self.clock.now = due
        self.play()
        return True

    def close(self) -> None:
        """Delete all of it."""
        self.engine.program_cache.clear()
        self.engine.leases.close()
        self._records.close()


def registry_with(fakes: Fakes) -> Registry:
    """Return what this process knows, with fakes for some steps, and without its schedules."""
    known = Registry(dict(registry.steps) if fakes else registry.steps, registry.flows)
    known.middleware = registry.middleware
    for step, function in fakes.items():
        fake = faked(step, function)
        known.steps[fake.name] = fake
    return known


def _awaited(view: RunView) -> str:
    open_ = [step for step in view.steps if step.status is StepState.WAITING and step.called]
    return ", ".join(f"the {step.called} {step.name!r}" for step in open_) or "nothing"

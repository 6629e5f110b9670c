"""Runs in the test's own thread, on tables in memory and under a clock that jumps.

Time stands still while anything can be done. When nothing can, it jumps to what is due next: the
end of a sleep, a retry, the timeout of a signal. `start` never lets it jump by itself, so a test
sees the run wait; `result` lets it, up to the end of the run.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, cast

import uuid_utils.compat as uuids

from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.results.memory import MemoryCache, MemoryObjects
from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.definitions.base_flow import BaseFlow
from flowq.authoring.definitions.flows import Flow
from flowq.authoring.definitions.steps import Step
from flowq.core.errors import FlowNotFound, ResultTimeout, RunCancelled, RunFailed
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Engine, Policies
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.registry.registry import RegisteredStep, Registry, registry
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import cancel, signals
from flowq.engine.runs import submission as runs
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.sweeper.sweep import sweep
from flowq.testing.records import VirtualClock, VirtualRecords

#: A flow, or the class that one is written as.
AnyFlow = Flow[..., Any] | type[BaseFlow]
#: By step, what runs instead of it.
Fakes = Mapping[Step[..., Any], Callable[..., Any]]

_BEGIN: Final = datetime(2030, 1, 1, tzinfo=UTC)
#: Steps run while time stands still, so no lease ever has to be renewed.
_FOREVER: Final = timedelta(days=365)
_THRESHOLD: Final = 1024 * 1024
#: Jumps of the clock after which a run counts as one without end.
_MAX_JUMPS: Final = 100_000


def run(
    flow: AnyFlow,
    inputs: Mapping[str, Any] | None = None,
    *,
    fakes: Fakes | None = None,
    now: datetime = _BEGIN,
) -> Any:
    """Run a flow to its end, and return its result.

    Args:
        flow: A flow, or a `BaseFlow` class.
        inputs: Its inputs, by name.
        fakes: Functions that run instead of steps: `{fetch: lambda url: "…"}`.
        now: When the run begins; an aware datetime.

    Raises:
        InvalidInput: the inputs are wrong.
        RunFailed: the run has failed.
        ResultTimeout: it waits for a signal, which nobody sends; use `start` then.
    """
    with start(flow, inputs, fakes=fakes, now=now) as started:
        return started.result()


def start(
    flow: AnyFlow,
    inputs: Mapping[str, Any] | None = None,
    *,
    fakes: Fakes | None = None,
    now: datetime = _BEGIN,
) -> "StartedRun":
    """Start a run, and do all of it that can be done before time has to go by; as `run`."""
    chosen = flow_of(flow)
    stage = _Stage(_registry(fakes or {}), now)
    try:
        started = StartedRun(stage, _submitted(stage.engine, chosen, inputs or {}), chosen)
        stage.play()
    except BaseException:
        stage.close()  # nobody else can
        raise
    return started


def _submitted(engine: Engine, flow: Flow[..., Any], inputs: Mapping[str, Any]) -> RunId:
    registry.check_steps()
    return runs.submit(engine, flow.type, inputs, **cast(SubmitOptions, flow.submission))


def flow_of(flow: AnyFlow) -> Flow[..., Any]:
    """Return the flow that something is, or is written as.

    Raises:
        FlowNotFound: it is none.
    """
    found = getattr(flow, "flow", None) if isinstance(flow, type) else flow
    if not isinstance(found, Flow):
        raise FlowNotFound(
            f"{flow!r} is not a flow", hint="give a function with @flow, or a BaseFlow class"
        )
    return found


class StartedRun:
    """A run of a test; also a context manager, which forgets it at its end.

    Attributes:
        id: Its id.
    """

    def __init__(self, stage: "_Stage", run_id: RunId, flow: Flow[..., Any]) -> None:
        self.stage = stage
        self.id = run_id
        self.flow = flow

    @property
    def now(self) -> datetime:
        """The time in the test."""
        return self.stage.clock.now

    @property
    def status(self) -> RunState:
        """The state of the run; of the last one, if it has gone on as a new one."""
        engine = self.stage.engine
        last = signals.newest(engine, self.id)
        state = engine.records.autocommit(lambda tx: tx.runs.status(last))
        assert state is not None
        return state

    def view(self) -> RunView:
        """Return the run, or the last one as which it has gone on, with its steps."""
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
        """Send a signal, and do all that it leads to.

        Raises:
            InvalidInput: it is not what the flow waits for.
            SignalRefused: the run has ended, or is of a `def` flow.
        """
        signals.send_signal(self.stage.engine, self.id, name, payload)
        self.stage.play()

    def cancel(self, reason: str | None = None) -> RunState:
        """Cancel the run, and do all that it leads to."""
        last = signals.newest(self.stage.engine, self.id)
        cancel.cancel(self.stage.engine, last, reason)
        self.stage.play()
        return self.status

    def wait(self, time: Duration) -> RunState:
        """Let time go by, as a timedelta or in seconds, and do all that becomes due.

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
        """Let time go by until the run has ended, and return how.

        Raises:
            ResultTimeout: it waits for a signal, or does not come to an end.
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
        """Let time go by until the run has ended, and return its result.

        Raises:
            RunFailed: it has failed.
            RunCancelled: it was cancelled.
            ResultTimeout: it waits for a signal, or does not come to an end.
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
        """Forget the run."""
        self.stage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Stage:
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
            policies=Policies(lease=_FOREVER, cancel_every=_FOREVER),
        )

    def play(self) -> None:
        """Do what can be done now."""
        while self._dispatcher.run_due(self.engine) or self._swept():
            pass

    def _swept(self) -> bool:
        """Let the sweeper look for what no message announces; return whether it sent something."""
        sweep(self.engine, grace=timedelta(0))
        return any(delivery.batch is not None for delivery in self._dispatcher.due_now)

    def jump(self, until: datetime | None) -> bool:
        """Let time go by until the next thing is due, and do it; False when nothing is by then."""
        later, times = self._dispatcher.next_later, [self._records.next_due()]
        if later is not None:
            # What is due in seconds may be a little later than what a datetime makes of it.
            times.append(datetime.fromtimestamp(later, UTC) + timedelta(microseconds=1))
        # What is due by now was done, as far as it could be: a row's time is cut to milliseconds,
        # so a retry may be due by its row a moment before it comes.
        ahead = [time for time in times if time is not None and time > self.clock.now]
        due = min(ahead, default=None)
        if due is None or (until is not None and due > until):
            return False
        self.clock.now = due
        self.play()
        return True

    def close(self) -> None:
        self.engine.program_cache.clear()
        self._records.close()


def _registry(fakes: Fakes) -> Registry:
    if not fakes:
        return registry
    known = Registry(steps=dict(registry.steps), flows=registry.flows)
    for step, function in fakes.items():
        known.steps[step.type.name] = RegisteredStep(
            step.type.name, function, model=step.type.model
        )
    return known


def _awaited(view: RunView) -> str:
    open_ = [step for step in view.steps if step.status is StepState.WAITING and step.called]
    return ", ".join(f"the {step.called} {step.name!r}" for step in open_) or "nothing"

"""A host of programs in memory: it ends what they call in any order, and remembers all of it."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.replay import (
    Awaited,
    CallEnded,
    Cancelled,
    End,
    Execution,
    Observation,
    ProgramCall,
    Raised,
    RecordedCall,
    ReplayOutcome,
    current,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunId(UUID(int=7))

Function = Callable[..., Coroutine[Any, Any, Any]]


def call(name: str, /, **arguments: Any) -> Awaited[Any]:
    """Call a step in a program."""
    program = current()
    assert program is not None
    key = program.new_key(name)
    return program.add(StepSpec(key=key, name=name, arguments=arguments))


def start(
    function: Function, recorded: Sequence[ProgramCall] = (), run_id: RunId = RUN, **inputs: Any
) -> Execution:
    """Begin a program, with these calls recorded."""
    rows = [RecordedCall(one.key, one.spec) for one in recorded]
    return Execution(function, inputs, run_id=run_id, started_at=START, recorded=rows)


def done(key: str, value: Any = None, *, after: float = 1) -> CallEnded:
    """Return that a call has completed, some seconds after the beginning."""
    return CallEnded(key, StepState.COMPLETED, START + timedelta(seconds=after), value=value)


def failed(
    key: str, error: str = "ValueError", message: str = "no", *, after: float = 1
) -> CallEnded:
    """Return that a call has failed."""
    at = START + timedelta(seconds=after)
    return CallEnded(key, StepState.FAILED, at, error_type=error, error_message=message)


def as_text(end: End | None) -> Any:
    """Return an end as something that can be compared."""
    return ("raised", repr(end.error)) if isinstance(end, Raised) else end


@dataclass
class Host:
    """Runs a program to its end.

    Args:
        function: The program.
        pick: From a number of open calls, which of them ends next.
        fails: Whether a step fails.
    """

    function: Function
    pick: Callable[[int], int] = lambda _: 0
    fails: Callable[[ProgramCall], bool] = lambda _: False
    cancel_at: int | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    now: datetime = START
    history: list[Observation] = field(default_factory=list)
    calls: list[ProgramCall] = field(default_factory=list)  #: All that were as_text.
    cuts: list[int] = field(default_factory=list)  #: After each observation, how many of `calls`.
    due: dict[str, datetime] = field(default_factory=dict)
    open: dict[str, ProgramCall] = field(default_factory=dict)
    progress: list[ReplayOutcome] = field(default_factory=list)

    def run(self, limit: int = 500) -> End:
        """Run the program, ending one call after the other."""
        with closing(start(self.function, **self.inputs)) as execution:
            end = self.take(execution.run())
            while end is None:
                assert len(self.history) < limit, "the program does not exit"
                observation = self.next()
                self.history.append(observation)
                execution.feed([observation])
                end = self.take(execution.run())
        return end

    def take(self, progress: ReplayOutcome) -> End | None:
        """Record what is new."""
        self.progress.append(progress)
        self.calls += progress.calls
        self.cuts.append(len(self.calls))
        for one in progress.calls:
            self.open[one.key] = one
            if one.delay is not None:
                self.due[one.key] = self.now + one.delay
        for key in progress.cancelled:
            self.open.pop(key, None)
        assert set(progress.waiting) == set(self.open)
        return progress.end

    def next(self) -> Observation:
        """Let one of the open calls end."""
        if self.cancel_at == len(self.history):
            return Cancelled("enough", self.now)
        chosen = list(self.open.values())[self.pick(len(self.open))]
        del self.open[chosen.key]
        self.now = max(self.now + timedelta(milliseconds=100), self.due.get(chosen.key, self.now))
        if chosen.spec.kind is StepKind.STEP and self.fails(chosen):
            return CallEnded(
                chosen.key, StepState.FAILED, self.now, error_type="ValueError", error_message="no"
            )
        value = None if chosen.spec.kind is StepKind.TIMER else f"<{chosen.key}>"
        return CallEnded(chosen.key, StepState.COMPLETED, self.now, value=value)

"""`assert_deterministic`: replays a run from every prefix of its history.

On workers a program may be discarded and replayed at any moment, so its calls must depend only on
the record of its run. Here this is tested at every possible moment: for each k, the first k
observations are replayed and the others given one by one; the program must make the same calls and
come to the same end. Differences between processes (the order of a set of texts, which depends on
the process's hash seed; the environment) are not found.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from flowq.core.errors import FlowqError, NondeterminismError
from flowq.core.ids import RunId
from flowq.core.spec import StepSpec
from flowq.engine.attempts.programs.history import Recording, recording
from flowq.engine.engine import Engine
from flowq.engine.replay import Continued, End, ProgramCall, Raised, RecordedCall, Returned
from flowq.engine.results.codecs.encoding import encode
from flowq.testing.fakes import Fakes
from flowq.testing.runs import AnyFlow, start


def assert_deterministic(
    flow: AnyFlow,
    inputs: Mapping[str, Any] | None = None,
    *,
    signals: Sequence[tuple[str, Any]] = (),
    fakes: Fakes | None = None,
) -> None:
    """Run an `async def` flow, and replay it from every prefix of its history.

    Args:
        flow: The flow, or a `BaseFlow` class.
        inputs: Its inputs, by name.
        signals: Names and payloads of the signals that it waits for, in order.
        fakes: Functions that run instead of steps: `{fetch: lambda url: "…"}`.

    Raises:
        AssertionError: a replay made other calls, or came to another end.
        InvalidInput: the inputs are wrong.
        ResultTimeout: the run waits for a signal that is not among the given ones.
    """
    with start(flow, inputs, fakes=fakes) as started:
        for name, payload in signals:
            started.send_signal(name, payload)
        started.finish()
        engine = started.stage.engine
        run_id: RunId | None = started.id
        while run_id is not None:
            spec = engine.definitions.get(run_id).definition.spec
            if spec.program is None:
                raise AssertionError(f"{flow!r} is a `def` flow: its graph is recorded as a whole")
            _check(recording(engine, run_id))
            run_id = _next(engine, run_id)


def _next(engine: Engine, run_id: RunId) -> RunId | None:
    return engine.records.autocommit(lambda tx: tx.runs.continued_as(run_id))


@dataclass(frozen=True)
class _Expected:
    """The behaviour of a program: its calls, their number after each observation, its end."""

    calls: tuple[ProgramCall, ...]
    counts: tuple[int, ...]
    end: End | None


def _check(run: Recording) -> None:
    first = _replayed(run, (), 0)
    _compare_rows(run, first.calls)
    for cut in range(len(run.history) + 1):
        again = _replayed(run, first.calls[: first.counts[cut]], cut)
        where = f"replayed from {cut} of {len(run.history)} recorded ends"
        _compare(first.calls, again.calls, where)
        if _shown(first.end) != _shown(again.end):
            raise AssertionError(
                f"the program is not deterministic: {where} it ends with {_shown(again.end)}, "
                f"and before it ended with {_shown(first.end)}"
            )


def _replayed(run: Recording, known: Sequence[ProgramCall], cut: int) -> _Expected:
    recorded = [RecordedCall(call.key, call.spec) for call in known]
    execution = run.execution(recorded)
    with closing(execution):
        try:
            execution.replay(run.history[:cut])
            progress = execution.run()
            calls, counts = [*known, *progress.calls], [len(known) + len(progress.calls)]
            for observation in run.history[cut:]:
                execution.feed([observation])
                progress = execution.run()
                calls += progress.calls
                counts.append(len(calls))
        except NondeterminismError as error:
            raise AssertionError(f"the program is not deterministic: {error.message}") from error
        return _Expected(tuple(calls), tuple(counts), progress.end)


def _compare_rows(run: Recording, calls: Sequence[ProgramCall]) -> None:
    """Compare the calls of the run itself, which a later replay may have made differently."""
    made = {call.key: call for call in calls}
    for row in run.calls:
        call = made.get(row.key)
        if call is None or _facts(call.spec) != _facts(row.spec):
            raise AssertionError(
                f"the program is not deterministic: the run has called {_call(row.spec)} at "
                f"{row.key}, and replayed it calls {_call(call.spec) if call else 'nothing there'}"
            )


def _compare(first: Sequence[ProgramCall], again: Sequence[ProgramCall], where: str) -> None:
    for one, other in zip_longest(first, again):
        if one is None or other is None or one.key != other.key:
            keys = [call.key if call else "nothing more" for call in (one, other)]
            raise AssertionError(
                f"the program is not deterministic: {where} it calls {keys[1]}, "
                f"and before it called {keys[0]}"
            )


def _facts(spec: StepSpec) -> tuple[Any, ...]:
    return spec.kind, spec.name, spec.arguments, spec.map


def _call(spec: StepSpec) -> str:
    return f"{spec.kind} {spec.name!r} with {spec.arguments!r}"


def _shown(end: End | None) -> str:
    if isinstance(end, Raised):
        return f"{type(end.error).__name__}: {end.error}"
    if isinstance(end, Returned):
        return f"the result {_json(end.value)}"
    return f"new inputs {_json(end.inputs)}" if isinstance(end, Continued) else "a wait"


def _json(value: Any) -> str:
    try:
        return encode(value).data.decode()  # type: ignore[union-attr]  # a small value is bytes
    except (FlowqError, UnicodeDecodeError, AttributeError):
        return repr(value)

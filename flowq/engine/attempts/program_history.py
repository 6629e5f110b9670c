"""Rebuilds what a program has observed, and a live execution, from the rows of its calls.

Values are loaded when the program needs them; small ones that are not in the rows are read from the
cache in one request.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowq.core.errors import FlowNotFound
from flowq.core.ids import FIRST_ID, LeaseToken, RunId, node_id
from flowq.core.references import Reference, resolve
from flowq.core.results import StepFailure, StorageKind
from flowq.core.spec import CallSpec, StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.resolve import load, lookup
from flowq.engine.attempts.outcomes import details_in
from flowq.engine.engine import Engine
from flowq.engine.model.programs import CalledRow, ProgramState, SeenCancel
from flowq.engine.model.rows import Claim
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.replay import CallEnded, Cancelled, Execution, Observation, RecordedCall
from flowq.engine.replay.values import LAZY_BYTES
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.runtime.program_cache import CachedProgram


@dataclass(frozen=True, slots=True)
class Opened:
    """A program at its last recorded point, with the events that are new to it."""

    program: CachedProgram
    state: ProgramState
    fresh: tuple[CalledRow, ...]


def open_program(engine: Engine, claim: Claim, step: StepSpec) -> Opened:
    """Return a program at the point that its rows record: the cached one, or a replayed one.

    Raises:
        NondeterminismError: its code does not match its record.
        FlowNotFound: its flow is not defined here.
    """
    kept = engine.program_cache.take(claim.run_id)
    if kept is not None:
        opened = None
        try:
            opened = _catch_up(engine, claim, kept)
        finally:
            if opened is None:
                kept.execution.close()
        if opened is not None:
            return opened
    return _replay(engine, claim, step)


def _catch_up(engine: Engine, claim: Claim, kept: CachedProgram) -> Opened | None:
    """Feed a cached program the events since; None when it does not match the rows."""
    state = _state(engine, claim, kept.observed)
    if state.observed < kept.observed:
        return None
    if state.observed > kept.observed:
        kept.execution.feed(_observations(engine, claim, state, after=kept.observed))
        calls = {call.key: call.spec for call in kept.execution.run().calls}
        rows = engine.records.autocommit(lambda tx: tx.steps.called(claim.run_id, list(calls)))
        if len(rows) != len(calls) or not all(_same(calls[row.spec.key], row.spec) for row in rows):
            return None  # a replay of all rows reports what is wrong
    return Opened(CachedProgram(kept.execution, state.observed), state, _fresh(state))


def _replay(engine: Engine, claim: Claim, step: StepSpec) -> Opened:
    flow = flow_of(engine, step)
    assert flow.program is not None
    rows, state = engine.records.autocommit(partial(_read, claim=claim))
    arguments = resolve(step.arguments, lookup(engine, claim.run_id, []))
    execution = Execution(
        flow.program,
        flow.read(arguments),
        run_id=claim.run_id,
        started_at=state.started_at,
        recorded=[RecordedCall(row.spec.key, row.spec) for row in rows],
        flow=flow.name,
    )
    try:
        execution.replay(_observations(engine, claim, state, after=0))
    except BaseException:
        execution.close()
        raise
    return Opened(CachedProgram(execution, state.observed), state, _fresh(state))


def flow_of(engine: Engine, step: StepSpec) -> RegisteredFlow:
    """Return the flow whose program a step is.

    Raises:
        FlowNotFound: it is not defined in this process, or is a graph.
    """
    flow = engine.registry.flows.get(step.name)
    if flow is None or flow.program is None:
        what = "is not defined" if flow is None else "is no longer an `async def` function"
        raise FlowNotFound(
            f"flow {step.name!r} {what} on this worker",
            hint="start workers with the module that defines it",
        )
    return flow


def observe(engine: Engine, claim: Claim, rows: Sequence[CalledRow]) -> list[CallEnded]:
    """Return what a program observes of calls that have ended."""
    done = [row for row in rows if row.stored.status is StepState.COMPLETED]
    refs = [row.stored.result for row in done if _lazy_size(row) is None]
    small = [ref for ref in refs if ref is not None and ref.place is StorageKind.ROW]
    values = dict(zip([ref.key for ref in small], load(engine, small), strict=True))
    maps = [Reference(row.spec.key) for row in rows if _is_done_map(row)]
    find = lookup(engine, claim.run_id, maps)
    lists = {one.step: find(one) for one in maps}
    return [_ended(engine, row, values, lists) for row in rows]


def _lazy_size(row: CalledRow) -> int | None:
    """Return the size of a result that the program loads when it asks for it; else None."""
    ref = row.stored.result
    is_large = row.spec.lazy and ref is not None and ref.size > LAZY_BYTES
    return ref.size if is_large and ref is not None else None


def _is_done_map(row: CalledRow) -> bool:
    return row.stored.status is StepState.COMPLETED and row.stored.map_size is not None


def _state(engine: Engine, claim: Claim, after: int) -> ProgramState:
    state = engine.records.autocommit(lambda tx: tx.steps.program(claim.id, after=after))
    assert state is not None  # it was claimed
    return state


def _read(tx: Transaction, claim: Claim) -> tuple[list[CalledRow], ProgramState]:
    state = tx.steps.program(claim.id, after=0)
    assert state is not None
    return tx.steps.called(claim.run_id), state


def _fresh(state: ProgramState) -> tuple[CalledRow, ...]:
    return tuple(row for row in state.ended if row.observed is None)


def _observations(
    engine: Engine, claim: Claim, state: ProgramState, *, after: int
) -> list[Observation]:
    """Return what was seen after a sequence number, in order; the cancel has a number too."""
    rows = [row for row in state.ended if row.observed is not None]
    ended = observe(engine, claim, rows)
    seen: list[tuple[int, Observation]] = [
        (row.observed or 0, one) for row, one in zip(rows, ended, strict=True)
    ]
    if state.cancel is not None and state.cancel.place > after:
        seen.append((state.cancel.place, cancelled(state.cancel)))
    return [one for _, one in sorted(seen, key=lambda pair: pair[0])]


def cancelled(seen: SeenCancel) -> Cancelled:
    """Return a cancel as a program observes it."""
    return Cancelled(seen.reason, seen.at)


def _ended(
    engine: Engine, row: CalledRow, values: Mapping[str, Any], lists: Mapping[str, Any]
) -> CallEnded:
    stored = row.stored
    assert row.completed_at is not None
    ended = partial(
        CallEnded,
        row.spec.key,
        stored.status,
        row.completed_at,
        error_type=stored.error_type,
        error_message=stored.error_message,
        attempts=stored.attempt,
    )
    if stored.status is StepState.FAILED:
        return ended(details=details_in(stored.metadata))
    if stored.status is not StepState.COMPLETED or row.spec.kind is StepKind.TIMER:
        return ended()
    return ended(load=_loader(engine, row, values, lists), lazy_size=_lazy_size(row))


def _loader(
    engine: Engine, row: CalledRow, values: Mapping[str, Any], lists: Mapping[str, Any]
) -> Callable[[], Any]:
    def value() -> Any:
        key, ref = row.spec.key, row.stored.result
        if key in lists:
            items = enumerate(lists[key])
            return [_typed(engine, row.spec, item, f"{key}[{i}]") for i, item in items]
        found = None
        if ref is not None:
            found = values[ref.key] if ref.key in values else load(engine, [ref])[0]
        return _typed(engine, row.spec, found, key)

    return value


def _typed(engine: Engine, spec: CallSpec, value: Any, where: str) -> Any:
    """Convert a value by the return annotation of what was called."""
    if isinstance(value, StepFailure):
        return value
    known = engine.registry.flows if spec.kind is StepKind.FLOW else engine.registry.steps
    called = known.get(spec.name) if spec.kind is not StepKind.SIGNAL else None
    if called is None or called.returns is Any:
        return value
    return coerce(value, adapter_for(called.returns), where=f"the result of {where}")


def _same(call: StepSpec, recorded: StepSpec) -> bool:
    return (call.kind, call.name, call.arguments, call.map) == (
        recorded.kind,
        recorded.name,
        recorded.arguments,
        recorded.map,
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that a run has recorded of its program.

    Attributes:
        calls: What it has called.
        history: What it has observed, in that order.
        execution: Creates the program again, with these calls recorded.
    """

    calls: tuple[RecordedCall, ...]
    history: tuple[Observation, ...]
    execution: Callable[[Sequence[RecordedCall]], Execution]


def recording(
    engine: Engine, run_id: RunId, function: Callable[..., Coroutine[Any, Any, Any]] | None = None
) -> Recording:
    """Return what a run has recorded of its program, to replay it outside of an attempt.

    Args:
        engine: Where it is recorded.
        run_id: The run.
        function: Runs in place of the program; it has to make the same calls. So it can report
            what the program decides.
    """
    step = engine.definitions.get(run_id).definition.spec.program
    assert step is not None
    claim = Claim(
        node_id(run_id, step.key), run_id, step.key, None, 0, 0, LeaseToken(FIRST_ID), None
    )
    rows, state = engine.records.autocommit(partial(_read, claim=claim))
    flow = flow_of(engine, step)
    inputs = resolve(step.arguments, lookup(engine, run_id, []))

    def execution(recorded: Sequence[RecordedCall]) -> Execution:
        program = function or flow.program
        assert program is not None
        return Execution(
            program,
            flow.read(inputs),
            run_id=run_id,
            started_at=state.started_at,
            recorded=recorded,
            flow=flow.name,
        )

    calls = tuple(RecordedCall(row.spec.key, row.spec) for row in rows)
    history = _observations(engine, claim, state, after=0)
    if state.saw_all:
        # What it gave up in its last attempt it never saw. While a run is open, a call that has
        # ended has no place in the order yet: the program may see another one before it.
        last = sorted(_fresh(state), key=lambda row: row.stored.status is StepState.CANCELLED)
        history += observe(engine, claim, last)
    return Recording(calls, tuple(history), execution)

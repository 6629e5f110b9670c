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
from flowq.core.references import resolve
from flowq.core.results import StepFailure, StorageKind
from flowq.core.spec import CallSpec, StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.resolve import failure, load, lookup, result_of
from flowq.engine.attempts.call import log_of
from flowq.engine.attempts.outcomes import details_in
from flowq.engine.engine import Engine
from flowq.engine.model.programs import CalledRow, ProgramState, ResumedProgram, SeenCancel
from flowq.engine.model.rows import Claim, StoredStep
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.replay import CallEnded, Cancelled, Execution, Observation, RecordedCall
from flowq.engine.replay.values import COPIED_BYTES, LAZY_BYTES, LazyFacts
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.results.store import DATA_CODECS
from flowq.engine.runtime.program_cache import CachedProgram


@dataclass(frozen=True, slots=True)
class Opened:
    """A program at its last recorded point, with the events that are new to it."""

    program: CachedProgram
    state: ProgramState
    fresh: tuple[CalledRow, ...]


def open_program(
    engine: Engine, claim: Claim, step: StepSpec, resumed: ResumedProgram | None = None
) -> Opened:
    """Return a program at the point that its rows record: the cached one, or a replayed one.

    Args:
        resumed: What was read with the claim.

    Raises:
        NondeterminismError: its code does not match its record.
        FlowNotFound: its flow is not defined here.
    """
    kept = engine.program_cache.take(claim.run_id)
    if kept is not None:
        opened = None
        try:
            opened = _catch_up(engine, claim, kept, resumed)
        finally:
            if opened is None:
                kept.execution.close()
        if opened is not None:
            return opened
    return _replay(engine, claim, step)


def _catch_up(
    engine: Engine, claim: Claim, kept: CachedProgram, resumed: ResumedProgram | None
) -> Opened | None:
    """Feed a cached program the events since; None when it does not match the rows."""
    if resumed is not None and resumed.after == kept.observed:
        state = resumed.state
    else:
        state = _state(engine, claim, kept.observed)
    if state.observed < kept.observed:
        return None
    if kept.ahead is not None and state.observed > kept.observed:
        return None  # it may have seen another end than the one that was recorded
    if state.observed > kept.observed:
        kept.execution.feed(_observations(engine, claim, state, after=kept.observed))
        calls = {call.key: call.spec for call in kept.execution.run().calls}
        rows = engine.records.autocommit(lambda tx: tx.steps.called(claim.run_id, list(calls)))
        if len(rows) != len(calls) or not all(_same(calls[row.spec.key], row.spec) for row in rows):
            return None  # a replay of all rows reports what is wrong
    fresh = _fresh(state)
    sees_cancel = state.stopping is not None and state.cancel is None
    if kept.ahead is not None and (sees_cancel or not kept.ahead.has_seen(fresh)):
        return None
    return Opened(CachedProgram(kept.execution, state.observed, kept.ahead), state, fresh)


def _replay(engine: Engine, claim: Claim, step: StepSpec) -> Opened:
    flow_of(engine, step)  # nothing is read for a program that is not defined here
    rows, state = engine.records.autocommit(partial(_read, claim=claim))
    recorded = [RecordedCall(row.spec.key, row.spec) for row in rows]
    execution = _execution(engine, claim.run_id, step, state)(recorded)
    history = _observations(engine, claim, state, after=0)
    if not rows and not history:  # its code runs for the first time
        execution.host = log_of(engine, claim)
    try:
        execution.replay(history)
    except BaseException:
        execution.close()
        raise
    return Opened(CachedProgram(execution, state.observed), state, _fresh(state))


def _execution(
    engine: Engine,
    run_id: RunId,
    step: StepSpec,
    state: ProgramState,
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
) -> Callable[[Sequence[RecordedCall]], Execution]:
    """Return what creates a program at its beginning, with its recorded calls.

    That of a rerun has the clock of the first run.
    """
    flow = flow_of(engine, step)
    program = function or flow.program
    assert program is not None
    arguments = flow.read(resolve(step.arguments, lookup(engine, run_id, [])))
    rerun = engine.definitions.get(run_id).definition.spec.rerun
    began_at = rerun.began_at if rerun is not None else None

    def execution(recorded: Sequence[RecordedCall]) -> Execution:
        return Execution(
            program,
            arguments,
            run_id=run_id,
            started_at=began_at or state.started_at,
            recorded=recorded,
            flow=flow.name,
            input_limit=engine.policies.input_limit_bytes,
            seed=rerun.seed if rerun is not None else None,
        )

    return execution


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
    """Return what a program observes of calls that have ended.

    Values that it needs at once are read in one request; those of maps are in the rows of items.
    """
    ends = _ends(engine, claim, rows)
    refs = [one.result for end in ends if not end.is_late for one in end.stored]
    small = [ref for ref in refs if ref is not None and ref.place is StorageKind.ROW]
    values = dict(zip([ref.key for ref in small], load(engine, small), strict=True))
    return [_ended(engine, end, values) for end in ends]


@dataclass(frozen=True, slots=True)
class _End:
    """A call that has ended.

    Attributes:
        stored: Where its result is: its own row, or those of a map's items.
        lazy: Of a lazy call that is complete.
    """

    row: CalledRow
    stored: Sequence[StoredStep]
    lazy: LazyFacts | None

    @property
    def is_late(self) -> bool:
        """Whether the program loads the result when it asks for it."""
        return self.lazy is not None and self.lazy.size > LAZY_BYTES


def _ends(engine: Engine, claim: Claim, rows: Sequence[CalledRow]) -> list[_End]:
    done = {row.spec.key for row in rows if row.stored.status is StepState.COMPLETED}
    maps = [row.spec.key for row in rows if row.stored.map_size is not None]
    known = [key for key in maps if key in done]
    items: dict[str, list[StoredStep]] = {}
    if known:
        items = engine.records.autocommit(
            lambda tx: {key: tx.steps.items(claim.run_id, key) for key in known}
        )
    found = []
    for row in rows:
        stored = items.get(row.spec.key, [row.stored] if row.spec.key in done else [])
        is_lazy = row.spec.lazy and row.spec.key in done
        found.append(_End(row, stored, _facts(stored) if is_lazy else None))
    return found


def _facts(stored: Sequence[StoredStep]) -> LazyFacts:
    refs = [one.result for one in stored if one.result is not None]
    size = sum(ref.size for ref in refs)
    is_data = all(ref.place is StorageKind.NOWHERE or ref.codec in DATA_CODECS for ref in refs)
    failures = {
        one.map_index: failure(one)
        for one in stored
        if one.status is StepState.FAILED and one.map_index is not None
    }
    return LazyFacts(size, size <= COPIED_BYTES and is_data, failures)


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


def _ended(engine: Engine, end: _End, values: Mapping[str, Any]) -> CallEnded:
    row, stored = end.row, end.row.stored
    assert row.completed_at is not None
    reused = row.spec.reused
    ended = partial(
        CallEnded,
        row.spec.key,
        stored.status,
        row.completed_at if reused is None else reused.ended_at,
        error_type=stored.error_type,
        error_message=stored.error_message,
        attempts=stored.attempt,
        reused=reused,
    )
    if stored.status is StepState.FAILED:
        return ended(details=details_in(stored.metadata))
    if stored.status is not StepState.COMPLETED or row.spec.kind is StepKind.TIMER:
        return ended()
    # Only what this result needs is kept: a lazy one may be kept for as long as the program.
    keys = [one.result.key for one in end.stored if one.result is not None]
    own = {key: values[key] for key in keys if key in values}
    return ended(load=partial(_loaded, engine, row, end.stored, own), lazy=end.lazy)


def _loaded(
    engine: Engine, row: CalledRow, stored: Sequence[StoredStep], values: Mapping[str, Any]
) -> Any:
    """Return the value of a call that is complete; of a map the list of them."""
    refs = [one.result for one in stored if one.result is not None]
    missing = [ref for ref in refs if ref.key not in values]
    found = {
        **values,
        **dict(zip([ref.key for ref in missing], load(engine, missing), strict=True)),
    }
    key = row.spec.key
    if row.stored.map_size is None:
        return _typed(engine, row.spec, result_of(stored[0], found), key)
    return [
        _typed(engine, row.spec, result_of(one, found), f"{key}[{index}]")
        for index, one in enumerate(stored)
    ]


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
    execution = _execution(engine, run_id, step, state, function)
    calls = tuple(RecordedCall(row.spec.key, row.spec) for row in rows)
    history = _observations(engine, claim, state, after=0)
    if state.saw_all:
        # What it gave up in its last attempt it never saw. While a run is open, a call that has
        # ended has no place in the order yet: the program may see another one before it.
        last = sorted(_fresh(state), key=lambda row: row.stored.status is StepState.CANCELLED)
        history += observe(engine, claim, last)
    return Recording(calls, tuple(history), execution)

"""One attempt of a step: claim, load, run, store, complete.

The claim and the completion are one guarded UPDATE each, and the only two commits of a step that
succeeds. The claim makes duplicate messages harmless; the token in the completion makes a worker
that has lost its lease harmless. The result is written before the row that names it. `after`
decides what is advanced.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from flowq.core.errors import (
    DatabaseRefused,
    FlowNotFound,
    InvalidInput,
    LeaseLost,
    NondeterminismError,
    RunUnreadable,
    StepCancelled,
    Unavailable,
)
from flowq.core.ids import RunId, StepRunId, child_run_id
from flowq.core.references import references, resolve
from flowq.core.spec import Gate, StepKind, StepSpec
from flowq.core.states import RunState, StopKind
from flowq.engine.advance.after import complete
from flowq.engine.advance.dispatch import place_is_free
from flowq.engine.advance.passed_failures import bind, refuse_failure
from flowq.engine.advance.resolve import lookup
from flowq.engine.advance.reuse import old_child
from flowq.engine.advance.unreadable import set_aside
from flowq.engine.attempts.budgets import meters_of_runs
from flowq.engine.attempts.caching import cache_key, keep, look_up
from flowq.engine.attempts.call import call_function
from flowq.engine.attempts.claiming import claim_attempt
from flowq.engine.attempts.limits import limits_of, within
from flowq.engine.attempts.outages import end_attempt, retry_on_outage
from flowq.engine.attempts.outcomes import (
    AttemptDeferred,
    AttemptEnding,
    AttemptResult,
    cancelled,
    defer,
    end_cancelled,
    failed,
    since,
)
from flowq.engine.attempts.programs.ahead import complete_ahead
from flowq.engine.attempts.programs.program import run_program
from flowq.engine.attempts.release import Stopped, release_leases, release_paused
from flowq.engine.attempts.tracing import traced
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.interrupts import interrupt_in
from flowq.engine.model.programs import ResumedProgram
from flowq.engine.model.rows import CacheEntry, Claim, Outcome
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredStep
from flowq.engine.results.codecs import local_files
from flowq.engine.results.store import Stored
from flowq.engine.runs.inherited import Inherited
from flowq.engine.runs.pause import pause
from flowq.engine.runs.rerun_comparing import reuse_child
from flowq.engine.runs.submission import submit
from flowq.engine.runtime.execution import Attempt

logger = logging.getLogger(__name__)


class _PausedBeforeChild(BaseException):
    """The run of a step is paused at the moment when the step would start a child run."""


def run_attempt(
    engine: Engine,
    step_id: StepRunId,
    run_id: RunId | None = None,
    *,
    in_chord: bool,
    traceparent: str | None = None,
) -> AttemptResult:
    """Run one attempt of a step, if it can be claimed.

    Args:
        run_id: Its run, if the message names it: then its inputs are read in the claim's round
            trip.
        in_chord: Whether a chord advances the run after the whole batch.
        traceparent: The context of the span that has sent the message, if the message has it.
    """
    try:
        claim = claim_attempt(engine, step_id, run_id)
        if claim is None:
            return AttemptResult(AttemptEnding.NOT_CLAIMED)
        claim = replace(claim, in_chord=True) if in_chord else claim
        if engine.tracing is None:
            return _run_claimed(engine, claim)
        return traced(engine, claim, traceparent, partial(_run_claimed, engine, claim))
    except RunUnreadable as error:
        place = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
        if place is not None:
            set_aside(engine, place.run_id, error)
        return AttemptResult(AttemptEnding.NOT_CLAIMED)


def run_claimed(
    engine: Engine, claim: Claim, program: ResumedProgram | None = None
) -> AttemptResult:
    """Run an attempt that was claimed by another one's statement.

    Args:
        program: That of the claim, if it is a program that this process has resumed.
    """
    run = partial(_run_claimed, engine, claim, program)
    try:
        return run() if engine.tracing is None else traced(engine, claim, None, run)
    except RunUnreadable as error:
        set_aside(engine, claim.run_id, error)
        return AttemptResult(AttemptEnding.NOT_CLAIMED)


def _run_claimed(
    engine: Engine, claim: Claim, program: ResumedProgram | None = None
) -> AttemptResult:
    """Run a claimed attempt, under its lease."""
    started = time.monotonic()
    attempt = Attempt(partial(cancelled, engine, claim, started))
    try:
        with engine.leases.hold(claim.token, attempt), local_files():
            place_is_free(engine, claim.run_id, claim.key, claim.spec.name if claim.spec else None)
            return _run(engine, claim, attempt, started, program)
    except Stopped:
        return AttemptResult(AttemptEnding.RELEASED)
    except LeaseLost as error:
        if attempt.cancel_seen.is_set():  # the heartbeat has recorded it
            return AttemptResult(AttemptEnding.CANCELLED, error)
        if engine.leases.stopping:
            return AttemptResult(AttemptEnding.RELEASED, error)
        logger.warning("%s: %s", claim.key, error, extra={"action": "lease_lost"})
        return AttemptResult(AttemptEnding.LOST, error)
    finally:
        engine.requests.forget(claim.token)


def _run(
    engine: Engine,
    claim: Claim,
    attempt: Attempt,
    started: float,
    program: ResumedProgram | None,
) -> AttemptResult:
    """Run a claimed attempt.

    Raises:
        LeaseLost: it no longer holds its lease, and its result is ignored.
    """
    inputs: dict[str, Any] = {}
    end: Callable[[], AttemptResult]
    cause: BaseException | None = None
    try:
        step, inputs = retry_on_outage(engine, lambda _: _load(engine, claim))
        if not step.limits and program is None:  # it may have to wait, or has begun before
            publish.step_started(engine, claim)
        if engine.leases.stopping:
            release_leases(engine, [claim.token])
            return AttemptResult(AttemptEnding.RELEASED)
        if step.kind is StepKind.FLOW:
            return _start_child(engine, claim, step, inputs)
        if step.kind is StepKind.PROGRAM:
            finished = run_program(engine, claim, step, started, program)
            if isinstance(finished, AttemptResult):
                return finished
            end = finished.end
        else:
            outcome = _outcome(engine, claim, attempt, step, inputs=inputs, started=started)
            end = partial(_completed, engine, claim, outcome)
    except LeaseLost:
        raise
    except StepCancelled:
        end = partial(end_cancelled, engine, claim, started)
    except BaseException as error:  # noqa: BLE001 - whatever the step raised is its failure
        cause = error
        end = _after_error(engine, claim, error, inputs, started)
    # An error from here on is flowq's, not a failure of the step.
    try:
        return end_attempt(engine, claim, end, cause)
    except DatabaseRefused as error:
        end = partial(defer, engine, claim, error, started)
        return end_attempt(engine, claim, end, error)


def _completed(engine: Engine, claim: Claim, outcome: Outcome) -> AttemptResult:
    if claim.gate is Gate.CALL and (ended := complete_ahead(engine, claim, outcome)) is not None:
        return ended
    program = complete(engine, claim, outcome)
    return AttemptResult(AttemptEnding.COMPLETED, program=program)


def _outcome(
    engine: Engine,
    claim: Claim,
    attempt: Attempt,
    step: StepSpec,
    *,
    inputs: Mapping[str, Any],
    started: float,
) -> Outcome:
    """Return the outcome of an attempt: the result of its code, or a cached one."""
    step_type = engine.registry.step(step.name)
    bound = bind(claim, step_type, step, inputs)
    flow_name = engine.definitions.get(claim.run_id).definition.flow_name
    key = cache_key(step, step_type, flow_name, inputs, bound)
    if key is not None:
        hit = retry_on_outage(engine, lambda _: look_up(engine, claim, key))
        if hit is not None:
            found, stored = hit
            return _ended(engine, claim, stored, started, found)
    limits = limits_of(step, step_type, bound)
    with within(engine, claim, limits):
        if step.limits:
            publish.step_started(engine, claim)
        value = call_function(engine, claim, attempt, step, bound=bound, limits=limits)
    stored = retry_on_outage(engine, lambda _: _store(engine, claim, step_type, value))
    attempt.raise_if_cancelled()
    outcome = _ended(engine, claim, stored, started)
    if key is not None:
        keep(engine, claim, key, step, outcome)
    return outcome


def _ended(
    engine: Engine, claim: Claim, stored: Stored, started: float, hit: CacheEntry | None = None
) -> Outcome:
    """Return the outcome of an attempt that ends now.

    The program of a call may see its end before the database does, so it has its time here.
    """
    runs = engine.policies.clock_runs
    took = timedelta(seconds=time.monotonic() - started if runs else 0)
    ended_at = claim.began_at + took if claim.spec is not None and claim.began_at else None
    return Outcome(
        stored.ref, stored.copy, execution_time_ms=since(started), hit=hit, ended_at=ended_at
    )


def _after_error(
    engine: Engine,
    claim: Claim,
    error: BaseException,
    inputs: Mapping[str, Any],
    started: float,
) -> Callable[[], AttemptResult]:
    """Return the function that records the error of an attempt.

    Raises:
        Interrupt: it is no failure, and nothing is to be recorded.
    """
    interrupt = interrupt_in(error)
    if isinstance(interrupt, AttemptDeferred):
        return partial(interrupt.revert, engine, claim)
    if interrupt is not None:
        raise interrupt
    if isinstance(error, NondeterminismError):
        return partial(_pause, engine, claim, error, started)
    if isinstance(error, Unavailable):
        return partial(defer, engine, claim, error, started)
    return partial(failed, engine, claim, error, inputs, started)


def _pause(engine: Engine, claim: Claim, why: NondeterminismError, started: float) -> AttemptResult:
    """Pause the run of a program that does not match its record; the old code can continue it."""
    if pause(engine, claim.run_id, why.message, StopKind.CHANGED_CODE) is not RunState.PAUSED:
        return failed(engine, claim, why, {}, started)
    if not release_paused(engine, claim):
        raise claim.lost()
    return AttemptResult(AttemptEnding.WAITING)


def _load(engine: Engine, claim: Claim) -> tuple[StepSpec, dict[str, Any]]:
    """Return a step and its arguments; a program reads its own when it begins or is replayed."""
    step = claim.spec or engine.definitions.get(claim.run_id).step(claim.key)
    if step.kind is StepKind.PROGRAM:
        return step, {}
    arguments = {**step.arguments, **(claim.inputs if claim.map_index is not None else {})}
    find = lookup(engine, claim.run_id, references(arguments), claim.rows)
    return step, {name: resolve(value, find) for name, value in arguments.items()}


def _store(engine: Engine, claim: Claim, step_type: RegisteredStep, value: Any) -> Stored:
    return engine.results.store(
        value,
        step_type.returns,
        run_id=claim.run_id,
        step_id=claim.id,
        token=claim.token,
        where=claim.key,
    )


def _start_child(
    engine: Engine, claim: Claim, step: StepSpec, inputs: Mapping[str, Any]
) -> AttemptResult:
    """Start the child run of a step; the step then waits for it without holding a worker."""
    flow = engine.registry.flows.get(step.name)
    if flow is None:
        raise FlowNotFound(
            f"flow {step.name!r} is not defined on this worker",
            hint="start workers with the module that defines it",
        )

    def wait(tx: Transaction) -> None:
        # In the transaction that inserts the child: a child that ends immediately finds its parent
        # waiting, and a refused child leaves its parent running, to fail. The run is locked before
        # the step, in the same order as by a cancel and a pause.
        state = tx.runs.status_kept(claim.run_id)
        if state is RunState.PAUSED:
            raise _PausedBeforeChild
        if state is not RunState.RUNNING:
            raise StepCancelled(f"{claim.key} does not start a child run: its own run is stopping")
        if not tx.steps.wait(claim):
            raise claim.lost()

    try:
        # Child runs have user, priority and share of their parent, and spend from its budget.
        own = engine.definitions.get(claim.run_id).definition
        submit(
            engine,
            flow,
            inputs,
            parent=claim.id,
            run_id=child_run_id(claim.id),
            before=wait,
            inherited=Inherited(tuple(meters_of_runs(own)), own.spec.labels, own.spec.share),
            stored=True,
            reuse=reuse_child(engine, old_child(engine, claim.run_id, step, claim.map_index)),
            user_id=own.user_id,
            priority=own.priority,
        )
    except InvalidInput:
        refuse_failure(step, inputs)
        raise
    except _PausedBeforeChild:
        # Queued again as if it had not begun, and sent when the run is resumed.
        release_paused(engine, claim)
        return AttemptResult(AttemptEnding.RELEASED)
    return AttemptResult(AttemptEnding.WAITING)

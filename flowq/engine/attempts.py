"""One attempt of a step: claim, load, run, store, complete.

Claiming and completing are one guarded UPDATE each, and they are the only two commits on the way of
a step that succeeds: the claim makes a duplicate of the message harmless, the token in the
completion makes a worker harmless that lost its lease. The result is written before the row that
names it. A step that was sent alone advances its run in the transaction that completes it; one that
was sent in a joined batch leaves that to the batch's chord.
"""

import logging
import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from inspect import BoundArguments
from typing import Any

from flowq.core.errors import (
    FlowNotFound,
    FlowqError,
    InvalidFlow,
    InvalidInput,
    InvalidOutput,
    LeaseLost,
    NotSerializable,
    RunNotFound,
    StepCancelled,
    StepError,
    Unavailable,
)
from flowq.core.ids import LeaseToken, RunId, StepRunId, child_run_id, idempotency_key
from flowq.core.references import references, resolve
from flowq.core.retries import error_type_names, retry_delay
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import RunState, StepState
from flowq.engine.advance import Advance, Progress, advance, finish
from flowq.engine.codecs import coerce, local_files
from flowq.engine.completion import complete, end_item, lost
from flowq.engine.context import StepContext
from flowq.engine.engine import Engine
from flowq.engine.execution import Attempt
from flowq.engine.faults import FaultPoint, reach
from flowq.engine.ports import Transaction
from flowq.engine.registry import StepType
from flowq.engine.results import Stored
from flowq.engine.rows import Claim, Outcome
from flowq.engine.runs import submit
from flowq.engine.values import lookup

logger = logging.getLogger(__name__)

#: Errors that another attempt cannot mend.
_FINAL = (InvalidOutput, InvalidInput, InvalidFlow, NotSerializable)
_TYPE_LIMIT = 200
_MESSAGE_LIMIT = 4000
_TRACEBACK_LIMIT = 8000


class Ending(StrEnum):
    """How an attempt ended, for the worker that has to tell Celery."""

    NOT_CLAIMED = "not claimed"  #: A duplicate, or the run has stopped; nothing was done.
    COMPLETED = "completed"
    WAITING = "waiting"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"  #: Its run was cancelled, or stopped before it could start a child run.
    LOST = "lost"  #: The lease was lost; the attempt counts for nothing.


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an attempt."""

    how: Ending
    error: Exception | None = None
    delay: timedelta | None = None  #: Until the next attempt.


def run_attempt(
    engine: Engine, step_id: StepRunId, run_id: RunId | None = None, *, joined: bool
) -> Ended:
    """Run one attempt of a step, if there is one to run.

    Args:
        engine: The engine.
        step_id: The step run.
        run_id: Its run, when the message says so: then its inputs are read in the claim's round
            trip.
        joined: Whether a chord advances the run when the whole batch has ended.
    """
    reach(FaultPoint.BEFORE_CLAIM)
    claim = _claim(engine, step_id, run_id)
    reach(FaultPoint.AFTER_CLAIM)
    if claim is None:
        return Ended(Ending.NOT_CLAIMED)
    started = time.monotonic()
    attempt = Attempt(partial(_cancel, engine, claim, started))
    inputs: dict[str, Any] = {}
    with engine.leases.hold(claim.token, attempt), local_files():
        try:
            definition = engine.definitions.get(claim.run_id).definition
            step = definition.spec.step(claim.key)
            arguments = {**step.arguments, **(claim.inputs if claim.map_index is not None else {})}
            find = lookup(engine, claim.run_id, references(arguments), claim.rows)
            inputs = {name: resolve(value, find) for name, value in arguments.items()}
            if step.kind is StepKind.FLOW:
                return _start_child(engine, claim, step, inputs)
            step_type = engine.registry.step(step.name)
            reach(FaultPoint.BEFORE_CODE)
            value = _call(attempt, step_type, claim, step, inputs)
            reach(FaultPoint.AFTER_CODE)
            stored = _store(engine, claim, step_type, value)
            attempt.raise_if_cancelled()
        except LeaseLost as error:
            return _lost(attempt, error)
        except StepCancelled:
            end = partial(_end_cancelled, engine, claim, started)
        except Unavailable as error:
            end = partial(_give_back, engine, claim, error, started, joined=joined)
        except Exception as error:  # noqa: BLE001 - whatever the step raised is its failure
            end = partial(_fail, engine, claim, error, inputs, started, joined=joined)
        else:
            outcome = Outcome(stored.ref, stored.copy, execution_time_ms=_since(started))
            end = partial(_complete, engine, claim, outcome, joined=joined)
        try:
            # What goes wrong from here on is flowq's trouble, not the step's failure.
            return end()
        except LeaseLost as error:
            logger.warning("%s: %s", claim.key, error, extra={"action": "lease_lost"})
            return _lost(attempt, error)


def _lost(attempt: Attempt, error: LeaseLost) -> Ended:
    """Tell how an attempt without a lease ended: the heartbeat may have cancelled it."""
    seen = attempt.cancel_seen.is_set()
    return Ended(Ending.CANCELLED if seen else Ending.LOST, error)


def _claim(engine: Engine, step_id: StepRunId, run_id: RunId | None) -> Claim | None:
    """Take an attempt of a step and read what it needs; None when there is none to take."""
    try:
        reads = engine.definitions.get(run_id).reads(step_id) if run_id else []
    except RunNotFound:
        return None  # deleted since it was sent
    return engine.records.single(
        lambda tx: tx.steps.claim(
            step_id,
            token=LeaseToken(engine.new_id()),
            lease=engine.policies.lease,
            worker=engine.worker,
            reads=reads,
        )
    )


def _call(
    attempt: Attempt, step_type: StepType, claim: Claim, step: StepSpec, inputs: Mapping[str, Any]
) -> Any:
    """Call the user's function with inputs of the types it declares."""
    values = {
        name: coerce(value, step_type.parameters.get(name), where=f"{claim.key}({name})")
        for name, value in inputs.items()
    }
    bound = BoundArguments(step_type.signature, values)
    extra = {"run_id": str(claim.run_id), "step": claim.key, "attempt": claim.attempt}
    context = StepContext(
        claim.run_id,
        claim.id,
        claim.key,
        claim.map_index,
        claim.attempt,
        idempotency_key(claim.id),
        logging.LoggerAdapter(logging.getLogger(step_type.name), extra),
        attempt.cancel_seen,
    )
    call = attempt.call_async if step_type.is_async else attempt.call_sync
    return call(step_type.function, bound.args, bound.kwargs, context, step.timeout)


def _store(engine: Engine, claim: Claim, step_type: StepType, value: Any) -> Stored:
    """Write a result to where its size belongs; the row will name it."""
    reach(FaultPoint.BEFORE_RESULT)
    stored = engine.results.store(
        value,
        step_type.returns,
        run_id=claim.run_id,
        step_id=claim.id,
        token=claim.token,
        where=claim.key,
    )
    reach(FaultPoint.AFTER_RESULT)
    return stored


def _complete(engine: Engine, claim: Claim, outcome: Outcome, *, joined: bool) -> Ended:
    complete(engine, claim, outcome, joined=joined)
    return Ended(Ending.COMPLETED)


def _fail(
    engine: Engine,
    claim: Claim,
    error: Exception,
    inputs: Mapping[str, Any],
    started: float,
    *,
    joined: bool,
) -> Ended:
    """Record a failed attempt: another one follows, or the step has failed."""
    reach(FaultPoint.BEFORE_FAIL)
    definition = engine.definitions.get(claim.run_id).definition
    step = definition.spec.step(claim.key)
    metadata: dict[str, Any] = {"traceback": _traceback(error)}
    if step.map is not None and _is_small(inputs.get(step.map.parameter)):
        metadata["item"] = inputs[step.map.parameter]
    outcome = Outcome(
        execution_time_ms=_since(started),
        error_type=type(error).__qualname__[:_TYPE_LIMIT],
        error_message=_message(error),
        metadata=metadata,
    )
    delay = None
    # A bare StepError is flowq's own: what the step was given does not fit it, nor will it later.
    if not isinstance(error, _FINAL) and type(error) is not StepError:
        delay = retry_delay(
            step.retry,
            attempt=claim.attempt - claim.recoveries,
            error_types=error_type_names(error),
            chance=engine.chance(),
        )
    if delay is not None:
        if not engine.records.single(lambda tx: tx.steps.retry(claim, outcome, delay)):
            raise lost(claim)
        reach(FaultPoint.AFTER_FAIL)
        return _retrying(engine, claim, error, delay)

    if claim.map_index is not None:
        if not engine.records.single(lambda tx: tx.steps.fail(claim, outcome, advanced=True)):
            raise lost(claim)
        reach(FaultPoint.AFTER_FAIL)
        end_item(engine, claim)
        return Ended(Ending.FAILED, error)

    def work(transition: Advance, tx: Transaction) -> Progress:
        if not tx.steps.fail(claim, outcome, advanced=not joined):
            raise lost(claim)
        if not joined:
            return transition.ended({claim.key: StepState.FAILED})
        return transition.failed(step, outcome.error_message)

    advance(engine, claim.run_id, work)
    reach(FaultPoint.AFTER_FAIL)
    return Ended(Ending.FAILED, error)


def _give_back(
    engine: Engine, claim: Claim, error: Unavailable, started: float, *, joined: bool
) -> Ended:
    """Give an attempt back because a store was away: no failure of the step, so none is counted."""
    if claim.recoveries >= engine.policies.max_recoveries:
        return _fail(engine, claim, error, {}, started, joined=joined)
    outcome = Outcome(
        execution_time_ms=_since(started),
        error_type=type(error).__qualname__,
        error_message=_message(error),
    )
    delay = timedelta(seconds=2**claim.recoveries)
    if not engine.records.single(lambda tx: tx.steps.retry(claim, outcome, delay, recovered=True)):
        raise lost(claim)
    return _retrying(engine, claim, error, delay)


def _retrying(engine: Engine, claim: Claim, error: Exception, delay: timedelta) -> Ended:
    """Tell that another attempt follows, unless the run was stopped while this one ran."""
    state = engine.records.single(lambda tx: tx.runs.status(claim.run_id))
    if state is not RunState.CANCELLING:
        return Ended(Ending.RETRYING, error, delay)
    finish(engine, claim.run_id)  # which cancels the step
    return Ended(Ending.CANCELLED)


def _cancel(engine: Engine, claim: Claim, started: float) -> bool:
    """Record that a running step was cancelled; False when the attempt has lost its lease."""
    outcome = Outcome(execution_time_ms=_since(started))
    if not engine.records.single(lambda tx: tx.steps.cancel(claim, outcome)):
        return False
    logger.info("%s of run %s was cancelled", claim.key, claim.run_id, extra={"action": "cancel"})
    try:
        finish(engine, claim.run_id)
    except Unavailable as error:
        logger.warning("run %s is left to the sweeper: %s", claim.run_id, error)
    return True


def _end_cancelled(engine: Engine, claim: Claim, started: float) -> Ended:
    if not _cancel(engine, claim, started):
        raise lost(claim)
    return Ended(Ending.CANCELLED)


def _start_child(engine: Engine, claim: Claim, step: StepSpec, inputs: Mapping[str, Any]) -> Ended:
    """Start the child run of a step, which then waits for it without holding a worker."""
    flow = engine.registry.flows.get(step.name)
    if flow is None:
        raise FlowNotFound(
            f"flow {step.name!r} is not defined on this worker",
            hint="start workers with the module that defines it",
        )

    def wait(tx: Transaction) -> None:
        # In the transaction that inserts the child: one that ends at once finds its parent waiting,
        # and a child that is refused leaves its parent running, to fail. The run is locked before
        # the step, as a cancel does it.
        if tx.runs.is_stopping(claim.run_id):
            raise StepCancelled(f"{claim.key} starts no child run: its own run is stopping")
        if not tx.steps.wait(claim):
            raise lost(claim)

    submit(engine, flow, inputs, parent=claim.id, run_id=child_run_id(claim.id), before=wait)
    return Ended(Ending.WAITING)


def not_claimed(engine: Engine, step_id: StepRunId) -> None:
    """Look after a run whose message found nothing to do: it may have stopped and be done."""
    place = engine.records.single(lambda tx: tx.steps.node(step_id))
    if place is not None:
        finish(engine, place.run_id)


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _is_small(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) < 1000)


def _message(error: Exception) -> str:
    try:
        # Without the hint: it is for whoever reads this error, not for each one that cites it.
        text = error.message if isinstance(error, FlowqError) else str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's, and its __str__ too
        text = "its text cannot be read: __str__ raised"
    return _storable(text)[:_MESSAGE_LIMIT]


def _storable(text: str) -> str:
    """Return text without what no database takes: halves of surrogate pairs, as in file names."""
    return text.encode(errors="backslashreplace").decode()


def _traceback(error: Exception) -> str:
    """Return the traceback without flowq's own frames, since those say nothing about the step."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/flowq/engine/" not in frame.filename.replace("\\", "/")
    ]
    lines = [*traceback.format_list(frames), *traceback.format_exception_only(error)]
    return _storable("".join(lines))[-_TRACEBACK_LIMIT:]

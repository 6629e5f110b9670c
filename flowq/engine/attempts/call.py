"""Calls the function of a step in an attempt, with its context and the middleware around it.

The registry has the middleware of all steps, the step type its own; the first is the outermost. An
attempt without any calls the function itself.
"""

import inspect
import logging
from collections.abc import Awaitable, Sequence
from inspect import BoundArguments
from types import MappingProxyType
from typing import Any

from flowq.core.ids import idempotency_key
from flowq.core.limits.slots import Limit
from flowq.core.results import block_version
from flowq.core.spec import StepSpec
from flowq.engine.attempts.budgets import AttemptBudgets, meters_of
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.model_calls import Caller
from flowq.engine.model.rows import Claim, StoredStep
from flowq.engine.registry.registry import RegisteredStep
from flowq.engine.runtime.attempt_objects import AttemptObjects
from flowq.engine.runtime.context import StepContext
from flowq.engine.runtime.execution import Attempt
from flowq.engine.runtime.log_capture import capture_prints
from flowq.engine.runtime.logs.attempt_log import AttemptLog
from flowq.engine.runtime.middleware import StepCall, wrapped_async, wrapped_sync
from flowq.engine.runtime.model_calls import ModelCalls


def call_function(
    engine: Engine,
    claim: Claim,
    attempt: Attempt,
    step: StepSpec,
    *,
    bound: BoundArguments,
    limits: Sequence[Limit],
) -> Any:
    """Call the function of a step and return its result.

    Args:
        bound: Its validated arguments.
        limits: The limits that the attempt is within.

    Raises:
        StepTimeout: it took longer than the step's timeout.
        StepCancelled: the run was cancelled meanwhile.
        LeaseLost: the lease was lost meanwhile.
        Exception: whatever the function or a middleware raises.
    """
    step_type = engine.registry.step(step.name)
    calls = _model_calls(engine, claim, step, limits)
    log = log_of(engine, claim, prints=step.log_prints)
    context = _context(engine, attempt, step_type, claim, calls=calls, log=log)

    def wait_for(value: Awaitable[Any]) -> Any:
        # A decorator has hidden that it is async; its code has not run yet.
        return attempt.call_async(_awaited, (value,), {}, context, step.timeout)

    function, chain = step_type.function, (*engine.registry.middleware, *step_type.middleware)
    if chain:
        called = StepCall(step_type.name, MappingProxyType(bound.arguments))
        function = (
            wrapped_async(function, chain, called, context)
            if step_type.is_async
            else wrapped_sync(function, chain, called, context, wait_for=wait_for)
        )
    call = attempt.call_async if step_type.is_async else attempt.call_sync
    try:
        value = call(function, bound.args, bound.kwargs, context, step.timeout)
        return wait_for(value) if inspect.isawaitable(value) else value
    finally:
        if log is not None and log.prints:
            log.end_line()


def log_of(engine: Engine, claim: Claim, *, prints: bool = False) -> AttemptLog | None:
    """Return the log of an attempt; None when none is kept."""
    if engine.logs is None:
        return None
    if prints:
        capture_prints()
    return engine.logs.attempt(claim, prints=prints)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _context(
    engine: Engine,
    attempt: Attempt,
    step_type: RegisteredStep,
    claim: Claim,
    *,
    calls: ModelCalls,
    log: AttemptLog | None,
) -> StepContext:
    extra = {"run_id": str(claim.run_id), "step": claim.key, "attempt": claim.attempt}
    return StepContext(
        claim.run_id,
        claim.id,
        claim.key,
        claim.map_index,
        claim.attempt,
        idempotency_key(claim.id),
        logging.LoggerAdapter(logging.getLogger(step_type.name), extra),
        attempt.cancel_seen,
        calls,
        publish.streams(engine, claim),
        lambda: _attempt_objects(engine, claim),
        lambda run_id: engine.records.autocommit(lambda tx: tx.runs.view(run_id)),
        log,
        lambda key: _stored(engine, claim, key),
        claim.attempt - claim.recoveries - 1,
    )


def _stored(engine: Engine, claim: Claim, key: str) -> StoredStep | None:
    rows = engine.records.autocommit(lambda tx: tx.steps.stored(claim.run_id, [key]))
    return next(iter(rows), None)


def _model_calls(
    engine: Engine, claim: Claim, step: StepSpec, limits: Sequence[Limit]
) -> ModelCalls:
    """Return the recorder of an attempt's model calls."""
    run = engine.definitions.get(claim.run_id).definition
    meters = meters_of(engine, claim.run_id)
    caller = Caller(
        claim.run_id,
        claim.id,
        claim.token,
        claim.attempt,
        step.name,
        run.flow_name,
        run.user_id,
        meters,
        tuple(limit for limit in limits if limit.counts_tokens),
        run.spec.labels,
    )
    return ModelCalls(
        engine.requests,
        engine.new_id,
        caller,
        engine.model_guards,
        lambda: engine.results.objects,
        engine.policies.unknown_cost,
        AttemptBudgets(engine) if meters else None,
        engine.tracing,
    )


def _attempt_objects(engine: Engine, claim: Claim) -> AttemptObjects:
    """Return what an attempt may store beside its result."""
    return AttemptObjects(
        lambda: engine.results.objects,
        engine.results.threshold_bytes,
        block_version(claim.id, claim.token),
        engine.definitions.get(claim.run_id).definition.user_id,
        engine.events.now,
    )

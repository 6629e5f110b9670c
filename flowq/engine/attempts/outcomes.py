"""The other ends of an attempt: failed, retried, deferred or cancelled.

Each end is a write guarded by the attempt's token; `after` then advances the run. If the database
is unreachable when a step has finished, the end waits (see `outages`), and the result is kept.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from flowq.core.errors import (
    BudgetExceeded,
    DatabaseNotMigrated,
    DatabaseRefused,
    FetchRefused,
    InvalidAnswer,
    InvalidFlow,
    InvalidInput,
    InvalidOutput,
    ModelRefused,
    ModelUnavailable,
    NotSerializable,
    RetryRequested,
    StepError,
    StepFailed,
    Unavailable,
    WorkerOutdated,
    WouldBlock,
)
from flowq.core.ids import StepRunId, node_id
from flowq.core.retries import RetryPolicy, error_type_names, retry_delay
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import RunState, StepState
from flowq.engine.advance.after import after, fail, finish
from flowq.engine.advance.passed_failures import FAILURE, PassedFailure
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.interrupts import Interrupt
from flowq.engine.model.programs import ResumedProgram
from flowq.engine.model.rows import Claim, Message, Outcome
from flowq.engine.results.codecs.described import described
from flowq.engine.runtime.causes import error_details, message_of, storable, type_of

logger = logging.getLogger(__name__)

#: Errors that a retry cannot fix.
_FINAL = (
    BudgetExceeded,
    *(InvalidOutput, InvalidInput, InvalidFlow, NotSerializable),
    *(InvalidAnswer, ModelRefused, FetchRefused, WouldBlock, PassedFailure),
)
#: Keys of a failed row's metadata that flowq itself writes.
_KEPT_NAMES = frozenset({"traceback", "causes", "item", FAILURE})
#: Delay after an outage; each further one is four times as long.
_FIRST_DELAY = timedelta(seconds=15)
_MAX_DELAY = timedelta(minutes=10)


class AttemptEnding(StrEnum):
    """How an attempt ended, for the worker that reports it to Celery."""

    NOT_CLAIMED = "not claimed"  #: A duplicate, or the run has stopped; nothing was done.
    COMPLETED = "completed"
    WAITING = "waiting"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"  #: Its run was cancelled, or stopped before it could start a child run.
    RELEASED = "given back"  #: This process is stopping; another worker runs the step.
    DEFERRED = "denied"  #: A limit is reached: queued again, not counted as an attempt.
    LOST = "lost"  #: The lease was lost; the attempt counts for nothing.


class AttemptDeferred(Interrupt):
    """An attempt may not begin or continue now: it is reverted, and its step waits."""

    def revert(self, engine: Engine, claim: Claim) -> "AttemptResult":
        """Revert the attempt; raises `LeaseLost`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The end of an attempt."""

    ending: AttemptEnding
    error: BaseException | None = None
    delay: timedelta | None = None  #: Until the next attempt.
    #: What the caller runs next, by `run_following`: a program that this process has resumed,
    program: ResumedProgram | None = None
    calls: tuple[Message, ...] = ()  #: and local calls of a program,
    claimed: Claim | None = None  #: of which this one is claimed.


def failed(
    engine: Engine,
    claim: Claim,
    error: BaseException,
    inputs: Mapping[str, Any],
    started: float,
) -> AttemptResult:
    """Record a failed attempt: the step is retried, or has failed."""
    step = claim.spec or engine.definitions.get(claim.run_id).step(claim.key)
    delay = delay_after(engine, claim, step.retry, error)
    if isinstance(error, RetryRequested):
        error = error.__cause__ or error
    outcome = outcome_of(claim, step, error, inputs, started)
    if delay is not None:
        if not engine.records.transaction(lambda tx: tx.steps.retry(claim, outcome, delay)):
            raise claim.lost()
        return _retrying(engine, claim, outcome, error, delay)

    fail(engine, claim, step, outcome)
    return AttemptResult(AttemptEnding.FAILED, error)


def outcome_of(
    claim: Claim, step: StepSpec, error: BaseException, inputs: Mapping[str, Any], started: float
) -> Outcome:
    """Return what is recorded of a failed attempt."""
    if isinstance(error, PassedFailure):
        return error.outcome(since(started))
    metadata: dict[str, Any] = error_details(error)
    metadata |= _details(error)
    if step.map is not None and _is_small(inputs.get(step.map.parameter)):
        metadata["item"] = inputs[step.map.parameter]
    return Outcome(
        execution_time_ms=since(started),
        error_type=type_of(error),
        error_message=message_of(error),
        metadata=described(metadata),
        failed_step_id=_failed_call(claim, step, error),
    )


def _failed_call(claim: Claim, step: StepSpec, error: BaseException) -> StepRunId | None:
    """Return the call whose failure a program did not catch.

    A program may also raise such an error itself; then there may be no such row.
    """
    if step.kind is not StepKind.PROGRAM or not isinstance(error, StepFailed):
        return None
    key = vars(error).get("step")
    return node_id(claim.run_id, storable(key)) if isinstance(key, str) else None


def _details(error: BaseException) -> dict[str, Any]:
    """Return the details of a `StepError`, without keys that flowq itself writes.

    A user's subclass may have set anything, or not have called `__init__`.
    """
    try:
        details = getattr(error, "details", None) if isinstance(error, StepError) else None
    except Exception as broken:  # noqa: BLE001 - a property of the user's
        details = f"cannot be read: {type_of(broken)} was raised"
    if not isinstance(details, Mapping):
        return {} if details is None else {"details": details}
    return {f"{name}_" if name in _KEPT_NAMES else name: each for name, each in details.items()}


def details_in(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the details of an error from the metadata of its row."""
    return {name: each for name, each in (metadata or {}).items() if name not in _KEPT_NAMES}


def delay_after(
    engine: Engine, claim: Claim, policy: RetryPolicy, error: BaseException
) -> timedelta | None:
    """Return the delay before the retry of a failed attempt; None without a retry."""
    if isinstance(error, RetryRequested):
        has_more = claim.attempt - claim.recoveries < policy.max_attempts
        return error.delay if has_more else None
    # flowq itself raises a bare StepError: the inputs do not fit the step, now or later.
    if isinstance(error, _FINAL) or type(error) is StepError:
        return None
    return retry_delay(
        policy,
        attempt=claim.attempt - claim.recoveries,
        error_types=error_type_names(error),
        chance=engine.chance(),
        at_least=error.retry_after if isinstance(error, ModelUnavailable) else None,
    )


def defer(engine: Engine, claim: Claim, error: Unavailable, started: float) -> AttemptResult:
    """Defer an attempt, because what it needs was unreachable for longer than it could wait.

    It is not a failure of the step. But its code may run again, at whatever cost, so it counts as a
    recovery; with these delays the last one comes about half an hour after the first.
    """
    if isinstance(error, DatabaseRefused | DatabaseNotMigrated | WorkerOutdated):
        # Waiting alone may not fix that: an operator has to see it.
        extra = {"action": "put_off", "run_id": str(claim.run_id), "step": claim.key}
        logger.error("%s of run %s is deferred: %s", claim.key, claim.run_id, error, extra=extra)
    if claim.recoveries >= engine.policies.max_recoveries:
        return failed(engine, claim, error, {}, started)
    outcome = Outcome(
        execution_time_ms=since(started),
        error_type=type_of(error),
        error_message=message_of(error),
    )
    delay = min(_FIRST_DELAY * 4**claim.recoveries, _MAX_DELAY)
    if not engine.records.transaction(
        lambda tx: tx.steps.retry(claim, outcome, delay, recovered=True)
    ):
        raise claim.lost()
    return _retrying(engine, claim, outcome, error, delay)


def _retrying(
    engine: Engine, claim: Claim, outcome: Outcome, error: BaseException, delay: timedelta
) -> AttemptResult:
    """Publish that another attempt follows, unless the run was stopped while this one ran."""
    state = engine.records.autocommit(lambda tx: tx.runs.status(claim.run_id))
    if state is not RunState.CANCELLING:
        publish.step_retrying(engine, claim, outcome, delay)
        return AttemptResult(AttemptEnding.RETRYING, error, delay)
    finish(engine, claim.run_id)  # which cancels the step
    return AttemptResult(AttemptEnding.CANCELLED)


def cancelled(engine: Engine, claim: Claim, started: float) -> bool:
    """Record that a running step was cancelled; False when the attempt has lost its lease."""
    outcome = Outcome(execution_time_ms=since(started))
    if not engine.records.autocommit(lambda tx: tx.steps.cancel(claim, outcome), idempotent=False):
        return False
    logger.info("%s of run %s was cancelled", claim.key, claim.run_id, extra={"action": "cancel"})
    try:
        after(engine, claim, StepState.CANCELLED)
    except Unavailable as error:
        logger.warning("run %s is left to the sweeper: %s", claim.run_id, error)
    return True


def end_cancelled(engine: Engine, claim: Claim, started: float) -> AttemptResult:
    """End an attempt as cancelled; raises `LeaseLost`."""
    if not cancelled(engine, claim, started):
        raise claim.lost()
    return AttemptResult(AttemptEnding.CANCELLED)


def since(started: float) -> int:
    """Return the whole milliseconds since a `time.monotonic()` value."""
    return round((time.monotonic() - started) * 1000)


def _is_small(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 1000)

"""One attempt of a program: it observes new events and runs to its next wait, or its end.

The program runs in the calling thread until it waits. One transaction inserts its calls as rows of
its run and makes its own row wait, without a lease; then the calls are sent. Each observation gets
a sequence number; replays deliver them in that order.

    it waits             the row is waiting; an end of what it awaits queues it again
    it has returned      its value is stored and the row completed, as a step's
    it has raised        the row, and with it the run, fails; there is no second attempt by default
    its run is stopping  it sees a cancel, may clean up for a while, and is cancelled
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flowq.core.errors import StepCancelled, StepError
from flowq.core.results import NO_RESULT
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import RunState
from flowq.engine.advance.after import finish
from flowq.engine.advance.child_runs import cancel_orphans
from flowq.engine.attempts.call import log_of
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult, since
from flowq.engine.attempts.programs.history import cancelled, flow_of, observe, open_program
from flowq.engine.attempts.programs.suspension import Replayed, suspend
from flowq.engine.attempts.release import release_paused
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.programs import (
    ResumedProgram,
    SeenCancel,
)
from flowq.engine.model.rows import Claim, Outcome
from flowq.engine.ports import Transaction
from flowq.engine.replay import (
    Continued,
    Execution,
    Observation,
    Raised,
)
from flowq.engine.results.store import Stored
from flowq.engine.runs.submission import Continuation, continue_as_new

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended, to be recorded.

    Attributes:
        end: Records it; raises `LeaseLost`.
    """

    end: Callable[[], AttemptResult]


def run_program(
    engine: Engine,
    claim: Claim,
    step: StepSpec,
    started: float,
    resumed: ResumedProgram | None = None,
) -> AttemptResult | Finished:
    """Run a program until it waits or ends.

    Args:
        resumed: What was read with the claim.

    Raises:
        LeaseLost: the attempt no longer holds its lease.
        Exception: the program failed with this error.
    """
    at = retry_on_outage(
        engine, lambda tries: _run_to_wait(engine, claim, step, None if tries else resumed)
    )
    end = at.progress.end
    if end is None:
        return suspend(engine, claim, at)
    at.execution.close()
    if at.cancel_seen:
        if not (isinstance(end, Raised) and isinstance(end.error, asyncio.CancelledError)):
            logger.info(
                "%s of run %s ended with an error after it was cancelled: %s",
                claim.key,
                claim.run_id,
                end,
            )
        return Finished(partial(_cancelled, engine, claim, at, started))
    if isinstance(end, Continued):
        old = engine.definitions.get(claim.run_id).definition
        following = continue_as_new(engine, flow_of(engine, step), end.inputs, old)
        return Finished(partial(_continued, engine, claim, at, started, following))
    if isinstance(end, Raised):
        raise _as_failure(end.error)
    value = end.value
    stored = retry_on_outage(engine, lambda _: _store(engine, claim, step, value))
    outcome = Outcome(stored.ref, stored.copy, execution_time_ms=since(started))
    return Finished(partial(_completed, engine, claim, at, outcome))


def _run_to_wait(
    engine: Engine, claim: Claim, step: StepSpec, resumed: ResumedProgram | None
) -> Replayed:
    """Give a program its new events, and run it until it waits."""
    opened = open_program(engine, claim, step, resumed)
    for row in opened.fresh:
        if row.spec.kind in (StepKind.TIMER, StepKind.SIGNAL):
            publish.node_ended(
                engine,
                claim.run_id,
                row.spec.key,
                row.stored.status,
                error=row.stored.error_message,
            )
    execution, state = opened.program.execution, opened.state
    execution.host = log_of(engine, claim)
    try:
        observed = state.observed
        events: list[Observation] = []
        cancel = None
        if state.stopping is not None and state.cancel is None:
            observed += 1
            cancel = SeenCancel(observed, state.stopping, state.read_at)
            events.append(cancelled(cancel))
        places = range(observed + 1, observed + 1 + len(opened.fresh))
        seen = dict(zip([row.id for row in opened.fresh], places, strict=True))
        if opened.program.ahead is not None:
            progress = opened.program.ahead.progress
        else:
            execution.feed([*events, *observe(engine, claim, opened.fresh)])
            progress = execution.run()
        if progress.end is None:
            _check_length(claim, execution, engine.policies.max_calls)
    except BaseException:
        execution.close()
        raise
    finally:
        execution.host = None
    cancel_seen = cancel is not None or state.cancel is not None
    return Replayed(execution, progress, observed + len(seen), seen, cancel, cancel_seen)


def _as_failure(error: BaseException) -> BaseException:
    """Return what a program raised as an error that fails it."""
    if not isinstance(error, asyncio.CancelledError | StepCancelled):
        return error
    failure = StepError("the program was cancelled by its own code")
    failure.__cause__ = error
    return failure


def _check_length(claim: Claim, execution: Execution, most: int) -> None:
    if execution.calls > most:
        raise StepError(
            f"{claim.key} has called more than {most:,} steps, the limit that "
            "FLOWQ_PROGRAM_CALLS sets",
            hint="continue an endless loop in a new run from time to time: "
            "flowq.continue_as_new(…)",
        )


def _store(engine: Engine, claim: Claim, step: StepSpec, value: object) -> Stored:
    return engine.results.store(
        value,
        flow_of(engine, step).returns,
        run_id=claim.run_id,
        step_id=claim.id,
        token=claim.token,
        where=claim.key,
    )


# --- ends ----------------------------------------------------------------------------------------


def _completed(engine: Engine, claim: Claim, at: Replayed, outcome: Outcome) -> AttemptResult:
    _end(
        engine,
        claim,
        at,
        lambda tx: tx.steps.complete(claim, outcome, advanced=True),
        notify=partial(publish.step_completed, engine, claim, outcome),
    )
    return AttemptResult(AttemptEnding.COMPLETED)


class _RunPaused(Exception):
    """The run was paused."""


def _continued(
    engine: Engine, claim: Claim, at: Replayed, started: float, following: Continuation
) -> AttemptResult:
    """Complete a program that continues in a new run, inserted in the same transaction."""
    outcome = Outcome(result=NO_RESULT, execution_time_ms=since(started))

    def write(tx: Transaction) -> bool:
        state = tx.runs.status_kept(claim.run_id)
        if state is RunState.PAUSED:
            raise _RunPaused
        if state is not RunState.RUNNING:
            raise StepCancelled(
                f"{claim.key} does not continue in a new run: its own run is stopping"
            )
        if not tx.steps.complete(claim, outcome, advanced=True):
            return False
        following.insert(engine, tx)
        return True

    try:
        notify = partial(publish.step_completed, engine, claim, outcome)
        _end(engine, claim, at, write, is_single=False, notify=notify)
    except StepCancelled:
        return _cancelled(engine, claim, at, started)
    except _RunPaused:
        # Queued again, and replayed up to here when the run is resumed.
        release_paused(engine, claim)
        return AttemptResult(AttemptEnding.RELEASED)
    following.send(engine)
    return AttemptResult(AttemptEnding.COMPLETED)


def _cancelled(engine: Engine, claim: Claim, at: Replayed, started: float) -> AttemptResult:
    outcome = Outcome(execution_time_ms=since(started))
    _end(engine, claim, at, lambda tx: tx.steps.cancel(claim, outcome))
    return AttemptResult(AttemptEnding.CANCELLED)


def _end(
    engine: Engine,
    claim: Claim,
    at: Replayed,
    write: Callable[[Transaction], bool],
    *,
    is_single: bool = True,
    notify: Callable[[], None] = lambda: None,
) -> None:
    """End a program's row and all calls that are no longer awaited."""
    rows = list(at.given_up)

    def work(tx: Transaction) -> bool:
        ended = write(tx)
        if ended:
            tx.steps.give_up(claim.run_id, rows)
        return ended

    alone = is_single and not rows
    once = (
        engine.records.autocommit(write, idempotent=False)
        if alone
        else engine.records.transaction(work)
    )
    if not once:
        raise claim.lost()
    notify()
    if rows:
        cancel_orphans(engine, claim.run_id)
    finish(engine, claim.run_id)

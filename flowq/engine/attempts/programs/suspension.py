"""How a program waits: its new calls are recorded and sent, and the live program is kept.

One transaction inserts its calls as rows of its run and makes its own row wait, without a lease;
then the calls are sent. What a program that awaits one call alone records is one statement.
"""

from dataclasses import dataclass

from flowq.core.ids import (
    StepRunId,
    batch_of_calls,
    batch_of_timer,
    node_id,
)
from flowq.core.states import StepState
from flowq.engine.advance.child_runs import cancel_orphans
from flowq.engine.advance.dispatch import first_look, program_batch, send, send_advance
from flowq.engine.advance.wake import NEAR
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.attempts.programs.calls import batches_of, claiming_next, local_calls, new_call
from flowq.engine.attempts.programs.reuse import reuse_calls
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.programs import Claiming, NewCall, SeenCancel, Suspension
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import Batch, Claim
from flowq.engine.replay import Execution, ReplayOutcome
from flowq.engine.runtime.program_cache import CachedProgram


@dataclass(frozen=True, slots=True)
class Replayed:
    """The progress of a program."""

    execution: Execution
    progress: ReplayOutcome
    observed: int
    seen: dict[StepRunId, int]
    cancel: SeenCancel | None = None  #: Seen in this attempt.
    cancel_seen: bool = False  #: Whether it has seen one in any attempt.

    @property
    def given_up(self) -> dict[StepRunId, int]:
        """Rows that it awaits no longer, with the sequence numbers at which they count as seen."""
        rows = [node_id(self.execution.run_id, key) for key in self.progress.cancelled]
        return {row: place for place, row in enumerate(rows, start=self.observed + 1)}


@dataclass(frozen=True, slots=True)
class Wait:
    """What a program records when it begins to wait, and what is sent after that."""

    at: Replayed
    suspension: Suspension
    batches: list[Batch]

    def recorded(
        self, engine: Engine, *, queued: bool = False, claimed: Claim | None = None
    ) -> AttemptResult:
        """Keep the program and send its calls, after the commit.

        Args:
            queued: Whether the program was queued again at once.
            claimed: Its local call, if that was claimed too.
        """
        execution, suspension = self.at.execution, self.suspension
        run_id, batches = execution.run_id, self.batches
        engine.program_cache.put(run_id, CachedProgram(execution, suspension.observed))
        if suspension.given_up:
            cancel_orphans(engine, run_id)
        if queued:
            batches = [*batches, program_batch(engine, run_id)]
        publish.calls_started(engine, run_id, suspension.calls)
        publish.reused(engine, run_id, suspension.reused)
        local, batches = local_calls(suspension.calls, batches)
        send(engine, batches, again=True)
        for call in suspension.calls:
            if call.delay is not None and call.delay <= NEAR:
                timer = batch_of_timer(run_id, call.id)
                priority = engine.definitions.get(run_id).definition.priority
                send_advance(engine, [timer], call.delay, priority=priority)
        return AttemptResult(AttemptEnding.WAITING, calls=local, claimed=claimed)


def wait_of(engine: Engine, at: Replayed) -> Wait:
    """Return what a program records that waits now."""
    run_id, progress = at.execution.run_id, at.progress
    calls, reused = _new_calls(engine, at)
    batches = batches_of(engine, run_id, calls)
    definition = engine.definitions.get(run_id).definition
    share = next((batch.share for batch in batches), None)
    given_up = at.given_up
    alone = [node_id(run_id, key) for key in progress.alone]
    suspension = Suspension(
        observed=at.observed + len(given_up),
        seen=at.seen,
        calls=calls,
        alone={row: batch_of_calls(run_id, row, 1) for row in alone},
        given_up=given_up,
        cancel=at.cancel,
        cancel_seen=at.cancel_seen,
        cleanup=engine.policies.cleanup,
        resend_after=engine.policies.resend_after,
        reused=reused,
        share=definition.spec.share,
        calls_look=first_look(engine, definition, share),
        is_next={call.spec.key for call in calls} == set(progress.waiting),
    )
    return Wait(at, suspension, batches)


def suspend(engine: Engine, claim: Claim, at: Replayed) -> AttemptResult:
    """Record that a program waits, and its new calls; then send these.

    Raises:
        LeaseLost: the attempt no longer holds its lease.
    """
    wait = wait_of(engine, at)
    claiming = claiming_next(engine, wait.suspension)

    def work(tries: int) -> tuple[StepState, Claim | None]:
        if tries and claiming is not None:
            # The claim may have been committed with only its answer lost.
            tokens = [claiming.token]
            engine.records.transaction(lambda tx: tx.steps.release_leases(tokens))
        return _record(engine, claim, wait.suspension, claiming)

    try:
        state, claimed = retry_on_outage(engine, work)
    except BaseException:
        at.execution.close()
        raise
    return wait.recorded(engine, queued=state is StepState.QUEUED, claimed=claimed)


def _record(
    engine: Engine, claim: Claim, suspension: Suspension, claiming: Claiming | None
) -> tuple[StepState, Claim | None]:
    """Record a suspension, by one statement if possible; return the claim of its local call too.

    Raises:
        LeaseLost: nothing has changed.
    """
    if suspension.next_call is not None:
        made = engine.records.atomic(
            lambda tx: tx.steps.suspend_for_next(claim, suspension, claiming)
        )
        if made is not None:
            return StepState.WAITING, made.claim
    state = engine.records.transaction(lambda tx: tx.steps.suspend(claim, suspension))
    if state is None:
        raise claim.lost()
    return state, None


def _new_calls(engine: Engine, at: Replayed) -> tuple[list[NewCall], list[ReusedStep]]:
    """Return the rows of new calls, and of those that a rerun reuses."""
    run_id, calls = at.execution.run_id, at.progress.calls
    group_of = {key: keys for keys in at.progress.groups for key in keys}
    first = at.execution.calls - len(calls) + 2  # the program's own place is 1
    new = [
        new_call(run_id, call, first + number, group_of.get(call.key, (call.key,)))
        for number, call in enumerate(calls)
    ]
    return reuse_calls(engine, run_id, new, has_diverged=at.execution.has_diverged)

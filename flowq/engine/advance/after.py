"""What is advanced after a row has ended: the one place that decides it.

What a row gates is one value, `Gate`: a node gates its dependents (after the last node the run
ends), an item gates its map, a call gates its program. The code that ends a row calls:

    an attempt     `complete`, `fail`; `after`, when its end has been recorded already
    a child run    `step_ended`: the step that waited for it has ended with it
    a batch        `batch_ended`: the body of a chord, a timer, or what the sweeper has found

A completed member of a chord leaves this to the body of the chord; a failed one stops its run, ends
its map or wakes its program immediately. All of it runs after the commit of the end, or in the same
transaction, so of two rows that end at the same moment the later one sees both. The sweeper repeats
what was missed. All functions are idempotent and safe to call concurrently.
"""

import logging
from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid5

from flowq.core.errors import RunUnreadable
from flowq.core.ids import BatchId, BatchKind, LeaseToken, RunId, StepRunId, parse_batch
from flowq.core.spec import Gate, StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.advance import Advance, AdvanceOutcome
from flowq.engine.advance.child_runs import cancel_orphans
from flowq.engine.advance.conditions import Evaluation, evaluate_conditions
from flowq.engine.advance.dispatch import (
    alone,
    first_look,
    node_batch,
    place_is_free,
    resend,
    send,
    share_of,
)
from flowq.engine.advance.finish import complete_and_close, finish_if_done, returns_result_of
from flowq.engine.advance.starting import start_due
from flowq.engine.advance.unreadable import set_aside, set_aside_if_unreadable
from flowq.engine.advance.wake import (
    program_of,
    timers_due,
    wake,
    wake_after,
    wake_or_resume,
    woken,
)
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.events.failure_log import log_failure
from flowq.engine.model.programs import ResumedProgram, Resuming
from flowq.engine.model.rows import Claim, Outcome, StepRef
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

#: Kinds of steps that may have started child runs.
_WITH_CHILDREN = frozenset({StepKind.FLOW, StepKind.PROGRAM})


# --- after an attempt ----------------------------------------------------------------------------


def complete(engine: Engine, claim: Claim, outcome: Outcome) -> ResumedProgram | None:
    """Complete a step and advance what it gates, in as few round trips as possible.

    Returns:
        The program that waited for it, if this process keeps that and has claimed it: the caller
        runs it next.

    Raises:
        LeaseLost: the attempt no longer holds its lease; nothing has changed.
    """
    if claim.gate is Gate.CALL:
        return _complete_call(engine, claim, outcome)
    if claim.gate is Gate.NODE and not claim.in_chord:
        known = engine.definitions.get(claim.run_id)
        if known.graph.dependents[claim.key]:
            _complete_and_release(engine, claim, outcome)
            return None
        if returns_result_of(known.definition, claim.key):
            if not complete_and_close(engine, known.definition, claim, outcome):
                after(engine, claim, StepState.COMPLETED)
            return None
    advanced = not claim.in_chord
    if not engine.records.autocommit(
        lambda tx: tx.steps.complete(claim, outcome, advanced=advanced), idempotent=False
    ):
        raise claim.lost()
    publish.step_completed(engine, claim, outcome)
    after(engine, claim, StepState.COMPLETED)
    return None


def fail(engine: Engine, claim: Claim, step: StepSpec, outcome: Outcome) -> None:
    """Fail a step for good and advance what it gates; raises as `complete`.

    Whether a node stops the run is decided in the same transaction; the failure of an item or a
    call is handled after it, by its map or its program.
    """

    def work(transition: Advance, tx: Transaction) -> AdvanceOutcome:
        if not tx.steps.fail(claim, outcome, advanced=not claim.in_chord):
            raise claim.lost()
        transition.on_commit(partial(_report_failure, engine, claim, step, outcome))
        if claim.in_chord:
            return transition.failed(step, outcome.error_message)
        return transition.ended({claim.key: StepState.FAILED})

    if claim.gate is Gate.NODE:
        advance(engine, claim.run_id, work)
        return
    advanced = claim.gate is Gate.ITEM
    if not engine.records.autocommit(
        lambda tx: tx.steps.fail(claim, outcome, advanced=advanced), idempotent=False
    ):
        raise claim.lost()
    _report_failure(engine, claim, step, outcome)
    after(engine, claim, StepState.FAILED)


def after(engine: Engine, claim: Claim, state: StepState) -> None:
    """Advance after an attempt that has ended its row; any part of this may have been done before.

    Args:
        state: How it has ended.
    """
    run_id, key = claim.run_id, claim.key
    if claim.gate is Gate.CALL:
        if state is not StepState.COMPLETED or not _release_claimed(engine, claim):
            _call_ended(engine, run_id, key)
    elif state is StepState.CANCELLED:
        finish(engine, run_id)  # it is stopping
    elif claim.gate is Gate.ITEM and state is StepState.FAILED:
        _map_ended(engine, run_id, key)
    elif claim.in_chord:
        return  # the body advances the run
    elif claim.gate is Gate.ITEM:
        if not engine.records.autocommit(lambda tx: tx.steps.has_open(run_id, key)):
            _map_ended(engine, run_id, key)
    elif dependents := engine.definitions.get(run_id).graph.dependents[key]:
        states = engine.records.autocommit(lambda tx: tx.steps.states(run_id, dependents))
        queued = [one for one in dependents if states[one] is StepState.QUEUED]
        resend(engine, alone(engine, [StepRef(run_id, one, None) for one in queued]))
        run_ready(engine, run_id)
    else:
        finish(engine, run_id)


def _report_failure(engine: Engine, claim: Claim, step: StepSpec, outcome: Outcome) -> None:
    publish.step_failed(engine, claim, outcome)
    called = engine.definitions.get(claim.run_id).is_called(claim.key)
    log_failure(claim, step, outcome, called=called)


def _complete_and_release(engine: Engine, claim: Claim, outcome: Outcome) -> None:
    """Complete a node and decrement the counters of its dependents, in one statement.

    Plain dependents are also queued at zero. Others, and those of which a dependency was skipped,
    are decided in a second transaction; if that never runs, they stay pending without open
    dependencies, which the sweeper looks for.
    """
    known = engine.definitions.get(claim.run_id)
    dependents = known.graph.dependents[claim.key]
    share = share_of(known.definition, len(dependents), follow=True)
    look = first_look(engine, known.definition, share)
    release_plan = known.release_plan(claim.key, look)
    released = engine.records.atomic(
        lambda tx: tx.steps.complete_and_release(claim, outcome, dependents, release_plan)
    )
    if released is None:
        raise claim.lost()
    publish.step_completed(engine, claim, outcome)
    states = {key: state for key, (_, state) in released.items()}
    free = [key for key, end in released.items() if end == (0, StepState.PENDING)]
    queued = [key for key in dependents if states.get(key) is StepState.QUEUED]
    if queued and release_plan is not None:
        send(engine, [node_batch(engine, known.definition, release_plan.batch, queued, share)])
    elif free:
        advance(engine, claim.run_id, lambda step, _tx: step.decide(free, Evaluation()))
    elif all(state is StepState.CANCELLED for state in states.values()):
        finish(engine, claim.run_id)  # it has stopped


def _complete_call(engine: Engine, claim: Claim, outcome: Outcome) -> ResumedProgram | None:
    """Complete a call of a program, and wake the program if it awaits this call alone.

    If this process keeps the live program, it claims that at once: no message is sent, and nothing
    is replayed.
    """
    assert claim.spec is not None
    run_id, resend_after = claim.run_id, engine.policies.resend_after
    resuming = _resuming(engine, claim)
    if claim.spec.group == 1:
        program = program_of(engine, run_id)
        ended = engine.records.atomic(
            lambda tx: tx.steps.complete_and_wake(claim, outcome, program, resend_after, resuming)
        )
        if ended is None:
            raise claim.lost()
        publish.step_completed(engine, claim, outcome)
        woken(engine, run_id, queued=ended.queued)
    else:
        batch = engine.records.autocommit(
            lambda tx: tx.steps.complete_call(claim, outcome), idempotent=False
        )
        if batch is None:
            raise claim.lost()
        publish.step_completed(engine, claim, outcome)
        # Meanwhile its program may have begun to await it alone.
        if claim.in_chord and parse_batch(batch)[0] is BatchKind.CALLS:
            return None
        ended = wake_or_resume(engine, run_id, batch, resuming)
    if not ended.queued and ended.resumed is None:
        finish(engine, run_id)
    return ended.resumed


def _resuming(engine: Engine, claim: Claim) -> Resuming | None:
    """Return how this process would claim the program of a call, if it keeps that live."""
    observed = engine.program_cache.observed(claim.run_id)
    if observed is None or engine.leases.stopping:
        return None
    return Resuming(token_of_program(claim), engine.policies.lease, engine.worker, observed)


def token_of_program(claim: Claim) -> LeaseToken:
    """Return the token with which the attempt of a call claims its program.

    It derives from the attempt, so that the program is found again if the answer was lost.
    """
    return LeaseToken(uuid5(claim.token, "program"))


def token_of_next(claim: Claim) -> LeaseToken:
    """Return the token with which the attempt of a call claims the next call of its program."""
    return LeaseToken(uuid5(claim.token, "next"))


def _release_claimed(engine: Engine, claim: Claim) -> bool:
    """Queue and send what this attempt has claimed without an answer: its program, the next call.

    Returns:
        Whether there was such a row.
    """
    tokens = [token_of_program(claim), token_of_next(claim)]
    places = engine.records.transaction(lambda tx: tx.steps.release_leases(tokens))
    resend(engine, alone(engine, places))
    return bool(places)


# --- after a child run, a batch, a timer ---------------------------------------------------------


def step_ended(engine: Engine, step_id: StepRunId) -> None:
    """Advance after a step that ended without it: its child run ended, or its batch was lost."""
    place = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
    if place is None:
        return
    run_id, key = place.run_id, place.key
    gate = engine.definitions.get(run_id).gate(place)
    if gate is Gate.CALL:
        _call_ended(engine, run_id, key)
    elif gate is Gate.ITEM:
        _map_ended(engine, run_id, key)
    else:
        advance(engine, run_id, lambda step, tx: step.ended(tx.steps.advance(run_id, None, [key])))


def batch_ended(engine: Engine, batch: BatchId) -> None:
    """Advance after a batch: the body, and the error callback, of its chord."""
    kind, named = parse_batch(batch)
    try:
        _batch_ended(engine, batch, kind, named)
    except RunUnreadable as error:
        run_id = RunId(named)
        if kind is BatchKind.ITEMS:
            node = engine.records.autocommit(lambda tx: tx.steps.node(StepRunId(named)))
            run_id = run_id if node is None else node.run_id
        set_aside(engine, run_id, error)


def _batch_ended(engine: Engine, batch: BatchId, kind: BatchKind, named: UUID) -> None:
    run_id = RunId(named)
    if kind is BatchKind.RUN:
        run_ready(engine, run_id)
    elif kind is BatchKind.START:
        start_due(engine, run_id)
    elif kind is BatchKind.TIMER:
        timers_due(engine, run_id)
    elif kind is BatchKind.NODES:
        advance(engine, run_id, lambda step, tx: step.ended(tx.steps.advance(run_id, batch)))
    elif kind is BatchKind.ITEMS:
        node = engine.records.autocommit(lambda tx: tx.steps.node(StepRunId(named)))
        if node is None:
            logger.warning("batch %s belongs to no run; was the run deleted?", batch)
        else:
            _map_ended(engine, node.run_id, node.key)
    else:  # of calls; among them may be maps whose items have all ended
        keys = engine.records.autocommit(lambda tx: tx.steps.expanded(run_id, batch))
        moved = [_end_map(engine, run_id, key) for key in keys]
        if not any([*moved, wake(engine, run_id, batch)]):
            finish(engine, run_id)


def not_claimed(engine: Engine, step_id: StepRunId) -> None:
    """Check a run whose message found nothing to claim: it may be stopping, without open steps."""
    place = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
    if place is not None:
        with set_aside_if_unreadable(engine, place.run_id):
            place_is_free(engine, place.run_id, place.key)
            finish(engine, place.run_id)


# --- advancing ------------------------------------------------------------------------------------


def run_ready(engine: Engine, run_id: RunId) -> None:
    """Decide about every step without open dependencies; finish the run if all have ended."""
    advance(engine, run_id, lambda step, tx: step.decide(tx.steps.ready(run_id), Evaluation()))


def finish(engine: Engine, run_id: RunId) -> None:
    """Finish a run if all its steps have ended, and advance the run whose step waited for it."""
    parent = finish_if_done(engine, engine.definitions.get(run_id).definition)
    if parent is not None:
        step_ended(engine, parent)


def _call_ended(engine: Engine, run_id: RunId, key: str) -> None:
    """Wake the program that called a row; if it does not wait, its run may have to be closed."""
    if not wake_after(engine, run_id, key):
        finish(engine, run_id)


def _map_ended(engine: Engine, run_id: RunId, key: str) -> None:
    """Advance after one item of a map, or all of them, have ended."""
    if not _end_map(engine, run_id, key):
        finish(engine, run_id)


def _end_map(engine: Engine, run_id: RunId, key: str) -> bool:
    """End a map if its items allow that, and advance after it; returns whether anything changed."""
    step = engine.definitions.get(run_id).step(key)  # may read, so not within the transaction
    return _advance(engine, run_id, lambda transition, _tx: transition.end_map(step))


def advance(
    engine: Engine, run_id: RunId, work: Callable[[Advance, Transaction], AdvanceOutcome]
) -> None:
    """Run `work` in a transaction, send what it queued, and repeat until nothing is left to decide.

    When nothing was queued, all steps of the run may have ended; then it is finished, and its
    parent run is advanced in turn.
    """
    if not _advance(engine, run_id, work):
        finish(engine, run_id)


def _advance(
    engine: Engine, run_id: RunId, work: Callable[[Advance, Transaction], AdvanceOutcome]
) -> bool:
    """Do the same as `advance` without finishing the run; returns whether anything was queued."""
    known = engine.definitions.get(run_id)
    definition, graph = known.definition, known.graph

    def once(work: Callable[[Advance, Transaction], AdvanceOutcome]) -> AdvanceOutcome:
        progress = engine.records.transaction(
            lambda tx: work(Advance(engine, tx, definition, graph), tx)
        )
        for callback in progress.after_commit:
            callback()
        send(engine, progress.batches)
        if progress.cancelled and any(
            step.kind in _WITH_CHILDREN for step in definition.spec.steps
        ):
            cancel_orphans(engine, run_id)
        return progress

    progress = once(work)
    moved = bool(progress.batches)
    if progress.called is not None:
        moved = wake_after(engine, run_id, progress.called)
    while undecided := progress.undecided:
        facts = evaluate_conditions(engine, definition, undecided)
        progress = once(partial(_decide_with, keys=undecided, facts=facts))
        moved = moved or bool(progress.batches)
    return moved


def _decide_with(
    step: Advance, _tx: Transaction, *, keys: list[str], facts: Evaluation
) -> AdvanceOutcome:
    return step.decide(keys, facts)

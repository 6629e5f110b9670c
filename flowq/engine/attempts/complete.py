"""How a step that has completed hands over to what comes after it.

A member of a chord only writes its row: the chord advances the run. A step that was sent alone, or
in a small batch, advances the run itself, in as few round trips as its dependents allow:

    nothing waits for it      complete; perhaps the run is at its end
    its dependents are plain  complete, count them down and queue them at zero, one statement
    they are not, or one of   complete and count them down, one statement; whoever reaches zero is
    several was skipped       decided in a transaction of its own

Should that second transaction never come, the step stands there, pending and waiting for nothing,
which is what the sweeper looks for.
"""

from flowq.core.errors import LeaseLost
from flowq.core.ids import BatchKind, parse_batch
from flowq.core.states import StepState
from flowq.engine.advance.advance import advance, call_ended, finish
from flowq.engine.advance.conditions import Evaluation
from flowq.engine.advance.dispatch import node_batch, send
from flowq.engine.advance.wake import program_of, wake, woken
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Claim, Outcome, StepRef


def complete(engine: Engine, claim: Claim, outcome: Outcome, *, in_chord: bool) -> None:
    """Complete a step and go on with its run.

    Raises:
        LeaseLost: the attempt no longer holds its lease; nothing has changed.
    """
    if claim.spec is not None:
        _complete_call(engine, claim, outcome, in_chord=in_chord)
        return
    known = engine.definitions.get(claim.run_id)
    dependents = known.graph.dependents.get(claim.key)  # none of an item of a program's map
    is_item = claim.map_index is not None
    if in_chord or is_item or not dependents:
        advanced = not in_chord
        if not engine.records.autocommit(
            lambda tx: tx.steps.complete(claim, outcome, advanced=advanced), idempotent=False
        ):
            raise lost(claim)
        publish.step_completed(engine, claim, outcome)
        if not in_chord:
            _after(engine, claim)
    else:
        _complete_and_release(engine, claim, outcome)


def lost(claim: Claim) -> LeaseLost:
    """Return the error of an attempt that no longer holds its lease."""
    return LeaseLost(f"attempt {claim.attempt} of {claim.key} no longer holds its lease")


def end_item(engine: Engine, claim: Claim) -> None:
    """End the map of an item that has just ended, if its other items allow that.

    Asked after the commit: of two items that end at the same moment, the later one sees both.
    """
    if engine.definitions.get(claim.run_id).is_called(claim.key):
        call_ended(engine, StepRef(claim.run_id, claim.key, claim.map_index))
    else:
        advance(engine, claim.run_id, lambda step, _tx: step.end_map(claim.key))


def _after(engine: Engine, claim: Claim) -> None:
    if claim.map_index is None:
        finish(engine, claim.run_id)
    elif not engine.records.autocommit(lambda tx: tx.steps.has_open(claim.run_id, claim.key)):
        end_item(engine, claim)


def _complete_call(engine: Engine, claim: Claim, outcome: Outcome, *, in_chord: bool) -> None:
    """Complete what a program has called, and wake it if it awaits nothing else with this."""
    assert claim.spec is not None
    run_id, resend_after = claim.run_id, engine.policies.resend_after
    if claim.spec.group == 1:
        program = program_of(engine, run_id)
        queued = engine.records.atomic(
            lambda tx: tx.steps.complete_and_wake(claim, outcome, program, resend_after)
        )
        if queued is None:
            raise lost(claim)
        publish.step_completed(engine, claim, outcome)
        woken(engine, run_id, queued=queued)
    else:
        batch = engine.records.autocommit(
            lambda tx: tx.steps.complete_call(claim, outcome), idempotent=False
        )
        if batch is None:
            raise lost(claim)
        publish.step_completed(engine, claim, outcome)
        # Its program may have come to await it by itself meanwhile.
        if in_chord and parse_batch(batch)[0] is BatchKind.CALLS:
            return
        queued = wake(engine, run_id, batch)
    if not queued:
        finish(engine, run_id)


def _complete_and_release(engine: Engine, claim: Claim, outcome: Outcome) -> None:
    known = engine.definitions.get(claim.run_id)
    dependents = known.graph.dependents[claim.key]
    release_plan = known.release_plan(claim.key, engine.policies.resend_after)
    released = engine.records.atomic(
        lambda tx: tx.steps.complete_and_release(claim, outcome, dependents, release_plan)
    )
    if released is None:
        raise lost(claim)
    publish.step_completed(engine, claim, outcome)
    states = {key: state for key, (_, state) in released.items()}
    free = [key for key, (open_count, state) in released.items() if _is_free(open_count, state)]
    queued = [key for key in dependents if states.get(key) is StepState.QUEUED]
    if queued and release_plan is not None:
        send(engine, [node_batch(engine, known.definition, release_plan.batch, queued)])
    elif free:
        advance(engine, claim.run_id, lambda step, _tx: step.decide(free, Evaluation()))
    elif all(state is StepState.CANCELLED for state in states.values()):
        _after(engine, claim)  # the run has stopped


def _is_free(open_count: int, state: StepState) -> bool:
    return open_count == 0 and state is StepState.PENDING

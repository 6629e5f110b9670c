"""The end of a call whose program this process keeps, and what the program does next, at once.

The live program is fed the result before this is recorded. It has no side effects, so it may run
ahead to its next wait. One statement then records the end of the call and the next call; nobody
claims the program in between. The statement writes nothing if the program does not wait as it is
known here, or if its run is not running: someone else has continued it, or it was paused or
cancelled. Then the end is recorded in the ordinary way.

A program that comes to anything else than one next call (several calls, a timer beside one, its own
end) is kept as it is, with what it has done ahead. The attempt that continues it begins with that,
if it finds in the rows what the program has seen; if not, the program is replayed.

The end of a call has a time, which the program's clock follows. It is that of the claim, by the
database's clock, and what the attempt has taken since then.
"""

import logging
from dataclasses import replace

from flowq.core.ids import batch_of_calls
from flowq.core.states import StepState
from flowq.engine.advance.after import token_of_next, token_of_program
from flowq.engine.advance.wake import program_of
from flowq.engine.attempts.call import log_of
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.attempts.programs.calls import claiming_next
from flowq.engine.attempts.programs.history import observe
from flowq.engine.attempts.programs.suspension import Replayed, Wait, wait_of
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.programs import CalledRow, WaitingProgram
from flowq.engine.model.rows import Claim, Outcome, StoredStep
from flowq.engine.runtime.program_cache import Ahead, CachedProgram

logger = logging.getLogger(__name__)


def complete_ahead(engine: Engine, claim: Claim, outcome: Outcome) -> AttemptResult | None:
    """End a call and record its program's next one; return None if nothing was recorded."""
    kept = engine.program_cache.take(claim.run_id)
    if kept is None:
        return None
    if kept.ahead is not None or engine.leases.stopping or not _awaits(kept, claim):
        engine.program_cache.put(claim.run_id, kept)
        return None
    try:
        did = _ahead(engine, claim, outcome, kept)
        if did is None:
            kept.execution.close()
            return None
        ahead, wait = did
        ended = None if wait is None else _recorded(engine, claim, outcome, kept, wait)
    except BaseException:
        kept.execution.close()
        raise
    if ended is None:
        engine.program_cache.put(claim.run_id, replace(kept, ahead=ahead))
    return ended


def _ahead(
    engine: Engine, claim: Claim, outcome: Outcome, kept: CachedProgram
) -> tuple[Ahead, Wait | None] | None:
    """Run a program ahead; return what it has done, and what it records if that is one next call.

    An error returns None: the program's own attempt meets it too, and handles it.
    """
    try:
        ahead = _run_ahead(engine, claim, outcome, kept)
        return ahead, _next_wait(engine, claim, kept, ahead)
    except Exception as error:  # noqa: BLE001 - see above
        logger.debug("the program of run %s does not run ahead: %s", claim.run_id, error)
        return None


def _awaits(kept: CachedProgram, claim: Claim) -> bool:
    """Return whether a program awaits a call and nothing else."""
    alone = claim.spec is not None and claim.spec.group == 1
    return alone and kept.execution.open_calls == (claim.key,)


def _run_ahead(engine: Engine, claim: Claim, outcome: Outcome, kept: CachedProgram) -> Ahead:
    """Let the program see the end of a call, which is not recorded yet, and run to its next wait.

    Raises:
        NondeterminismError: its code does not match its record.
        Exception: the result could not be loaded.
    """
    assert claim.spec is not None
    state, result = StepState.COMPLETED, outcome.result
    stored = StoredStep(claim.key, None, state, claim.attempt, result, None, None, None, None)
    batch = batch_of_calls(claim.run_id, claim.id, 1)
    row = CalledRow(claim.id, claim.spec, batch, None, outcome.ended_at, stored)
    execution = kept.execution
    execution.host = log_of(engine, _own_claim(engine, claim))
    try:
        execution.feed(observe(engine, claim, [row]))
        return Ahead(row, execution.run())
    finally:
        execution.host = None


def _own_claim(engine: Engine, claim: Claim) -> Claim:
    """Return the attempt of the program as it would be claimed after the end of a call."""
    program = engine.definitions.get(claim.run_id).definition.spec.program
    assert program is not None
    row, token = program_of(engine, claim.run_id), token_of_program(claim)
    return Claim(row, claim.run_id, program.key, None, 1, 0, token, None)


def _next_wait(engine: Engine, claim: Claim, kept: CachedProgram, ahead: Ahead) -> Wait | None:
    """Return what a program records that awaits one next call; None if it does anything else."""
    execution, progress = kept.execution, ahead.progress
    if progress.end is not None or execution.calls > engine.policies.max_calls:
        return None
    if len(progress.calls) != 1:  # the rows of many calls are made once, by the program's attempt
        return None
    place = kept.observed + 1
    wait = wait_of(engine, Replayed(execution, progress, place, {claim.id: place}))
    return None if wait.suspension.next_call is None else wait


def _recorded(
    engine: Engine, claim: Claim, outcome: Outcome, kept: CachedProgram, wait: Wait
) -> AttemptResult | None:
    """Record the end of a call with what its program does next; return None if nothing was."""
    suspension = wait.suspension
    claiming = claiming_next(engine, suspension, token_of_next(claim))
    program = WaitingProgram(program_of(engine, claim.run_id), kept.observed)
    made = engine.records.atomic(
        lambda tx: tx.steps.complete_for_next(claim, outcome, program, suspension, claiming)
    )
    if made is None:
        return None
    publish.step_completed(engine, claim, outcome)
    return replace(wait.recorded(engine, claimed=made.claim), ending=AttemptEnding.COMPLETED)

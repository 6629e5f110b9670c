"""Waiting for a database or a store that is away: for a bounded time, so that no work is lost.

What is waited for is done again from its start, so it has to be safe to do twice; the guarded
writes of an attempt are. But a write that failed may have happened all the same, its answer alone
was lost. Then the repeated write finds its token gone, as if the lease had been lost. So after a
failure the row is asked: when it says that this very attempt has ended, that was us, and what
follows from the end, which we did not get to do, is done now.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from flowq.core.errors import (
    DatabaseUnavailable,
    StoreAfterFork,
    StoreUnavailable,
    Unavailable,
)
from flowq.core.states import StepState
from flowq.engine.advance.advance import call_ended, run_ready
from flowq.engine.advance.dispatch import alone, resend
from flowq.engine.attempts.complete import end_item
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim, StepRef

logger = logging.getLogger(__name__)

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.1
_MAX_PAUSE: Final = 1.0


def retry_on_outage(engine: Engine, work: Callable[[int], T], *, stop: bool = False) -> T:
    """Do something, and do it again while the database or the store is away.

    Args:
        engine: The engine; `Policies.outage_wait` bounds the wait.
        work: What to do. Its argument is how often it was tried before; it may have been done.
        stop: Whether to wait no longer once this process is to end.

    Raises:
        DatabaseUnavailable: the database was away for longer.
        StoreUnavailable: the store was.
    """
    deadline: float | None = None
    tries = 0
    pause = _FIRST_PAUSE
    while True:
        try:
            return work(tries)
        except (DatabaseUnavailable, StoreUnavailable) as error:
            now = time.monotonic()
            if deadline is None:
                deadline = now + engine.policies.outage_wait.total_seconds()
                if now < deadline:
                    _say(engine, error)
            hopeless = isinstance(error, StoreAfterFork) or (stop and engine.leases.stopping)
            if hopeless or now >= deadline:
                raise
        tries += 1
        time.sleep(min(pause, max(0.0, deadline - now)))
        pause = min(2 * pause, _MAX_PAUSE)


def has_ended(engine: Engine, claim: Claim, *, in_chord: bool) -> StepState | None:
    """Tell how an attempt has ended that only seems to have lost its lease, and go on after it.

    Returns:
        `completed`, `failed` or `retrying`; None when the lease was really lost.
    """
    state = engine.records.autocommit(lambda tx: tx.steps.ended(claim, engine.worker))
    if state is StepState.RETRYING:
        return state
    if state not in (StepState.COMPLETED, StepState.FAILED):
        return None
    if claim.map_index is not None:
        if not in_chord or state is StepState.FAILED:
            end_item(engine, claim)
    elif claim.spec is not None:
        call_ended(engine, StepRef(claim.run_id, claim.key, None))
    elif not in_chord:
        _go_on(engine, claim)
    return state


def _go_on(engine: Engine, claim: Claim) -> None:
    """Do what follows the end of a node, of which any part may have been done."""
    run_id = claim.run_id
    dependents = engine.definitions.get(run_id).graph.dependents[claim.key]
    if dependents:
        states = engine.records.autocommit(lambda tx: tx.steps.states(run_id, dependents))
        queued = [key for key, state in states.items() if state is StepState.QUEUED]
        resend(engine, alone(engine, [StepRef(run_id, key, None) for key in queued]))
    run_ready(engine, run_id)


def _say(engine: Engine, error: Unavailable) -> None:
    wait: timedelta = engine.policies.outage_wait
    logger.warning(
        "waiting up to %g s: %s", wait.total_seconds(), error, extra={"action": "wait_out"}
    )

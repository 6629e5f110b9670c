"""Waiting for an unreachable database or store, for a bounded time, so that no work is lost.

The work is repeated from its start, so it has to be idempotent; the guarded writes of an attempt
are. But a failed write may have been committed, with only its answer lost. Then the repeated write
does not find its token, as if the lease had been lost. So after a failure the row is read: if it
shows that this attempt has ended, the write had succeeded, and the run is advanced now.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from flowq.core.errors import (
    DatabaseUnavailable,
    LeaseLost,
    StoreAfterFork,
    StoreUnavailable,
    Unavailable,
)
from flowq.core.states import StepState
from flowq.engine.advance.after import after
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim

logger = logging.getLogger(__name__)

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.1
_MAX_PAUSE: Final = 1.0


def retry_on_outage(engine: Engine, work: Callable[[int], T], *, stop: bool = False) -> T:
    """Run `work`, and repeat it while the database or the store is unreachable.

    Args:
        engine: The engine; `Policies.outage_wait` bounds the wait.
        work: What to run. Its argument is the number of earlier tries, which may have succeeded.
        stop: Whether to stop waiting when this process is stopping.

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


def end_attempt(
    engine: Engine, claim: Claim, end: Callable[[], AttemptResult], cause: BaseException | None
) -> AttemptResult:
    """End an attempt, waiting for the database if it is unreachable.

    Args:
        end: Records its end and advances the run.
        cause: The error with which its step has failed, if it has.

    Raises:
        LeaseLost: it no longer holds its lease.
        DatabaseUnavailable: the database was away for longer.
    """

    def work(tries: int) -> AttemptResult:
        try:
            return end()
        except LeaseLost:
            state = _recorded_end(engine, claim) if tries else None
            if state is None:
                raise
        if state is StepState.RETRYING:
            # The row says when that is due; a message that comes too early does nothing.
            return AttemptResult(AttemptEnding.RETRYING, cause, timedelta(0))
        after(engine, claim, state)
        return AttemptResult(AttemptEnding(state), cause)

    return retry_on_outage(engine, work)


def _recorded_end(engine: Engine, claim: Claim) -> StepState | None:
    """Return how an attempt ended that seems to have lost its lease; None if it has lost it."""
    state = engine.records.autocommit(lambda tx: tx.steps.ended(claim, engine.worker))
    ours = (StepState.COMPLETED, StepState.FAILED, StepState.RETRYING)
    return state if state in ours else None


def _say(engine: Engine, error: Unavailable) -> None:
    wait: timedelta = engine.policies.outage_wait
    logger.warning(
        "waiting up to %g s: %s", wait.total_seconds(), error, extra={"action": "wait_out"}
    )

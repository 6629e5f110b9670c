"""Graceful stop: how a stopping worker releases its steps.

    not claimed        sent again immediately; the row is unchanged
    claimed, no code   released: queued again as if never claimed, and sent again
    code is running    may end within the grace period; then it is released too, and notified: an
                       async step is cancelled, a sync one is interrupted where that is possible
    has ended          is completed as usual

A release counts neither as an attempt nor as a recovery. If a worker is killed before it has
released its steps, nothing is lost: its leases expire.
"""

import logging
from collections.abc import Sequence

from flowq.core.errors import Unavailable
from flowq.core.ids import LeaseToken, StepRunId
from flowq.core.states import AttemptEnd
from flowq.engine.advance.dispatch import alone, resend
from flowq.engine.engine import Engine
from flowq.engine.interrupts import Interrupt
from flowq.engine.model.rows import Claim

logger = logging.getLogger(__name__)


class Stopped(Interrupt):
    """Raised inside a sync step whose worker is stopping; the attempt was released."""


def send_elsewhere(engine: Engine, step_id: StepRunId) -> None:
    """Send a step to another worker; this one is stopping and begins nothing new."""
    place = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
    if place is not None:
        resend(engine, alone(engine, [place]))


def release_leases(engine: Engine, tokens: Sequence[LeaseToken]) -> int:
    """Release attempts and send their steps again; returns how many there were.

    Raises:
        DatabaseUnavailable: then their leases expire, which takes longer and counts as a recovery.
    """
    places = (
        engine.records.transaction(lambda tx: tx.steps.release_leases(tokens)) if tokens else []
    )
    if places:
        logger.info("%d steps are released", len(places), extra={"action": "give_back"})
        resend(engine, alone(engine, places))
    return len(places)


def release_paused(engine: Engine, claim: Claim) -> bool:
    """Queue a step of a paused run as if its attempt had not begun; False if the lease is lost."""
    tokens = [claim.token]
    return bool(
        engine.records.transaction(lambda tx: tx.steps.release_leases(tokens, AttemptEnd.PAUSED))
    )


def release_all(engine: Engine) -> int:
    """Release and notify all running attempts of this process; returns how many there were."""
    tokens = engine.leases.release()
    try:
        return release_leases(engine, tokens)
    except Unavailable as error:
        logger.warning(
            "%d steps could not be released; their leases will expire: %s",
            len(tokens),
            error,
            extra={"action": "give_back"},
        )
        return 0
    finally:
        engine.leases.notify_all()

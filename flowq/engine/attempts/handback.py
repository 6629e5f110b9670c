"""Graceful stop: how a worker that has to end parts with the steps that it was given.

    not claimed        sent again at once; the row was not touched
    claimed, no code   given back: queued again as if never claimed, and sent again
    code is running    may end within the grace period; then it is given back too, and told: an
                       async step is cancelled, a sync one is interrupted where that is possible
    has ended          is completed as ever

What is given back counts neither as an attempt nor as a recovery. A worker that is killed before it
has given anything back loses nothing either: its leases lapse.
"""

import logging
from collections.abc import Sequence

from flowq.core.errors import Unavailable
from flowq.core.ids import LeaseToken, StepRunId
from flowq.engine.advance.dispatch import alone, resend
from flowq.engine.engine import Engine
from flowq.engine.interrupts import Interrupt

logger = logging.getLogger(__name__)


class Stopped(Interrupt):
    """Raised inside a sync step whose worker has to end; the attempt was given back."""


def pass_on(engine: Engine, step_id: StepRunId) -> None:
    """Send a step to another worker, whose message has come to one that begins nothing more."""
    place = engine.records.single(lambda tx: tx.steps.node(step_id))
    if place is not None:
        resend(engine, alone(engine, [place]))


def give_back(engine: Engine, tokens: Sequence[LeaseToken]) -> int:
    """Give attempts back and send their steps again; returns how many there were.

    Raises:
        DatabaseUnavailable: then their leases lapse, which takes longer and counts as a recovery.
    """
    places = engine.records.write(lambda tx: tx.steps.give_back(tokens)) if tokens else []
    if places:
        logger.info("%d steps are given back", len(places), extra={"action": "give_back"})
        resend(engine, alone(engine, places))
    return len(places)


def give_back_all(engine: Engine) -> int:
    """Give back whatever runs in this process, and tell it; returns how many attempts that were."""
    tokens = engine.leases.let_go()
    try:
        return give_back(engine, tokens)
    except Unavailable as error:
        logger.warning(
            "%d steps could not be given back, their leases will lapse: %s",
            len(tokens),
            error,
            extra={"action": "give_back"},
        )
        return 0
    finally:
        engine.leases.tell_all()

"""Asks workers to start what schedules and requests have due.

A pass without a due schedule reads one entry of an index, however many schedules there are. Due
ones are taken with SKIP LOCKED and are due again after a pause, so one worker is asked at a time; a
lost message costs that pause. A sweeper takes only schedules whose flow its worker knows: others
are left for a worker that knows them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from flowq.core.errors import BrokerUnavailable
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.ports.schedules import RequestedRuns, Schedules

logger = logging.getLogger(__name__)

#: Schedules, or requests, that one pass takes.
_LIMIT: Final = 500


def ring_schedules(engine: Engine) -> int:
    """Ask workers to start what is due of schedules; called by the sweeper.

    Returns:
        How many schedules are due.
    """
    send = engine.dispatcher.send_schedules
    return _ring(engine, lambda tx: tx.schedules, send, "%d schedules are due and wait: %s")


def ring_requested(engine: Engine) -> int:
    """Ask workers to start requested runs whose message was lost; called by the sweeper.

    Returns:
        How many are due.
    """
    send = engine.dispatcher.send_requested
    return _ring(engine, lambda tx: tx.requested, send, "%d requested runs wait: %s")


def _ring(
    engine: Engine,
    rows: Callable[[Transaction], Schedules | RequestedRuns],
    send: Callable[[Sequence[tuple[str, str]]], None],
    says: str,
) -> int:
    records, policies = engine.records, engine.policies
    if not records.autocommit(lambda tx: rows(tx).any_due()):
        return 0
    flows = engine.registry.flows.keys()
    due = records.transaction(
        lambda tx: rows(tx).take_due(
            flows,
            again=policies.resend_after,
            longest=policies.max_resend_after,
            limit=_LIMIT,
        )
    )
    if due:
        try:
            send(due)
        except BrokerUnavailable as error:
            logger.warning(says, len(due), error, extra={"action": "schedule"})
    return len(due)

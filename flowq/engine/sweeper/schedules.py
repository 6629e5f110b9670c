"""Asks workers to start what schedules have due, and records the schedules that code declares.

A pass without a due schedule reads one entry of an index, however many schedules there are. Due
ones are taken with SKIP LOCKED and are due again after a pause, so one worker is asked at a time; a
lost message costs that pause. A sweeper takes only schedules whose flow its worker knows: others
are left for a worker that knows them.
"""

import logging
from typing import Final

from flowq.core.errors import RedisUnavailable
from flowq.engine.engine import Engine
from flowq.engine.schedules.declaring import declare_all

logger = logging.getLogger(__name__)

#: Schedules that one pass takes.
_LIMIT: Final = 500


def ring_schedules(engine: Engine) -> int:
    """Ask workers to start what is due; called by the sweeper.

    Returns:
        How many schedules are due.
    """
    declare_all(engine)
    records, policies = engine.records, engine.policies
    if not records.autocommit(lambda tx: tx.schedules.any_due()):
        return 0
    flows = engine.registry.flows.keys()
    due = records.transaction(
        lambda tx: tx.schedules.take_due(
            flows,
            again=policies.resend_after,
            longest=policies.max_resend_after,
            limit=_LIMIT,
        )
    )
    if due:
        try:
            engine.dispatcher.send_schedules(due)
        except RedisUnavailable as error:
            extra = {"action": "schedule"}
            logger.warning("%d schedules are due and wait: %s", len(due), error, extra=extra)
    return len(due)

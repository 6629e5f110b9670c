"""Prepares the partitions of the coming months, and drops empty ones of old months.

Only where the operator has partitioned the large tables; see `flowq db partition`. One sweeper at a
time does it, once an hour, and has two months of time: a turn that fails, because a table is locked
or the role may not make tables, is a warning, and the next turn tries again. A row without the
partition of its month is in one for all others, and nothing is lost.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from flowq.core.errors import Unavailable
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

#: The duty in the records, and its interval.
_PARTITIONS: Final = "partitions"
_EVERY: Final = timedelta(hours=1)
#: Partitions that one turn makes or drops at most.
_MAX_CHANGES: Final = 50


def care_for_partitions(engine: Engine) -> int:
    """Make the partitions that are missing, and drop empty ones; called by the sweeper.

    Returns:
        How many it has made or dropped.
    """
    turn = engine.records.autocommit(lambda tx: tx.sweeps.try_acquire(_PARTITIONS, _EVERY))
    if turn is None:
        return 0
    made = _each(engine, lambda tx: tx.sweeps.prepare_month(), "made")
    return made + _each(engine, lambda tx: tx.sweeps.drop_empty_month(), "dropped")


def _each(engine: Engine, change: Callable[[Transaction], str | None], what: str) -> int:
    for count in range(_MAX_CHANGES):
        try:
            name = engine.records.transaction(change)
        except Unavailable as error:
            logger.warning("no partition is %s now: %s", what, error, extra={"action": "partition"})
            return count
        if name is None:
            return count
        logger.info("the partition %s is %s", name, what, extra={"action": "partition"})
    return _MAX_CHANGES

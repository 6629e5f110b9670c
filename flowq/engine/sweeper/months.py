"""Runs that were paused by the budget of a month go on in the next.

One sweeper at a time looks whether the month has changed. The first that finds a new one resumes
all runs that were paused since a month had no room; each call of a model asks its budgets again, so
a run whose new month is spent as well is simply paused again. Runs that were paused for any other
reason stay as they are. How far it has come is the duty's position: the month, and while it is not
done the last run.
"""

import logging
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from flowq.core.ids import FIRST_ID, RunId
from flowq.core.states import StopKind
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.runs.pause import resume

logger = logging.getLogger(__name__)

#: The duty in the records, and how often it is done.
_MONTHS: Final = "months"
_EVERY: Final = timedelta(minutes=1)
#: Runs that one turn resumes.
_MAX_RESUMED: Final = 200


def resume_in_new_month(engine: Engine) -> int:
    """Resume runs that were paused by the budget of an earlier month; the sweeper's part.

    Returns:
        How many it has resumed.
    """
    records = engine.records
    position = records.autocommit(lambda tx: tx.sweeps.try_acquire(_MONTHS, _EVERY))
    if position is None:
        return 0
    month = records.autocommit(lambda tx: tx.meters.month())
    done, _, last = position.partition(" ")
    if done == month and not last:
        return 0
    if not done:  # nobody has looked before
        records.autocommit(lambda tx: tx.sweeps.save_cursor(_MONTHS, month))
        return 0
    after = RunId(UUID(last)) if done == month else RunId(FIRST_ID)
    found = records.autocommit(partial(_paused, after=after))
    for run_id in found:
        state = resume(engine, run_id)
        extra = {"action": "resume", "run_id": str(run_id)}
        logger.info("run %s is resumed in a new month: it is %s", run_id, state, extra=extra)
    more = len(found) == _MAX_RESUMED
    following = f"{month} {found[-1]}" if more else month
    records.autocommit(lambda tx: tx.sweeps.save_cursor(_MONTHS, following, again=more))
    return len(found)


def _paused(tx: Transaction, *, after: RunId) -> list[RunId]:
    return tx.sweeps.paused(StopKind.BUDGET_MONTH, after=after, limit=_MAX_RESUMED)

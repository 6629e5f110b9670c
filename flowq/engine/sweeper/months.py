"""Resumes runs that a monthly budget has paused, in the next month.

One sweeper at a time checks whether the month has changed. The first that sees a new month resumes
all runs that a monthly budget has paused. Each call of a model checks its budgets again, so a run
whose new month is spent as well is paused again. Runs that were paused for another reason are left
as they are. The position of the duty is the month and, until it is done, the last run.
"""

import logging
from datetime import timedelta
from typing import Final
from uuid import UUID

from flowq.core.ids import FIRST_ID, RunId
from flowq.core.states import StopKind
from flowq.engine.engine import Engine
from flowq.engine.runs.pause import resume

logger = logging.getLogger(__name__)

#: The duty in the records, and its interval.
_MONTHS: Final = "months"
_EVERY: Final = timedelta(minutes=1)
#: Runs that one turn resumes.
_MAX_RESUMED: Final = 200


def resume_in_new_month(engine: Engine) -> int:
    """Resume runs that the budget of an earlier month has paused; called by the sweeper.

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
    if not done:  # the duty was never done before
        records.autocommit(lambda tx: tx.sweeps.save_cursor(_MONTHS, month))
        return 0
    after = RunId(UUID(last)) if done == month else RunId(FIRST_ID)
    kind = StopKind.BUDGET_MONTH
    found = records.autocommit(lambda tx: tx.sweeps.paused(kind, after=after, limit=_MAX_RESUMED))
    for run_id in found:
        state = resume(engine, run_id, by_hand=False)
        extra = {"action": "resume", "run_id": str(run_id)}
        logger.info("run %s is resumed in a new month: it is %s", run_id, state, extra=extra)
    more = len(found) == _MAX_RESUMED
    following = f"{month} {found[-1]}" if more else month
    records.autocommit(lambda tx: tx.sweeps.save_cursor(_MONTHS, following, again=more))
    return len(found)

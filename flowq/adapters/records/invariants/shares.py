"""What must hold of fair shares: a step has the share of its run, and each line goes on."""

from typing import Final

from sqlalchemy import and_, case, exists, func, or_, select

from flowq.adapters.records.invariants.base import LONG_AGO, Check, R, S, in_state, steps
from flowq.adapters.records.limits.shares import in_line, is_sent
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.sql.tables import SHARED
from flowq.adapters.records.sql.types import json_text
from flowq.core.states import RunState, StepState

_OF_RUN: Final = json_text(R.spec, "queueing.share")
_OTHER_SHARE: Final = steps(
    and_(S.share.is_not(None), or_(_OF_RUN.is_(None), S.share != _OF_RUN)),
    "its share is {share}, that of its run is {of_run}",
    of_run=_OF_RUN,
    of=STEPS.join(RUNS),
)
#: Lines in which steps wait while none is sent.
_LINES: Final = (
    select(STEPS.c.share, STEPS.c.step_name)
    .where(SHARED)
    .group_by(STEPS.c.share, STEPS.c.step_name)
    .having(func.sum(case((in_line(), 1), else_=0)) > 0)
    .having(func.sum(case((is_sent(), 1), else_=0)) == 0)
    .subquery("lines")
)
_O = STEPS.alias("other").c
_FIRST: Final = (
    select(_O.id)
    .where(
        _O.share == _LINES.c.share,
        _O.step_name == _LINES.c.step_name,
        in_state(StepState.QUEUED, of=_O),
        in_line(_O),
    )
    .order_by(_O.wake_at, _O.map_index)
    .limit(1)
    .scalar_subquery()
)
#: Who has just claimed the last of those that were sent sends the next.
_CLAIMED_JUST_NOW: Final = exists().where(
    _O.share == S.share, _O.step_name == S.step_name, _O.started_at > LONG_AGO
)
_STALLED: Final = steps(
    and_(R.status == RunState.RUNNING, S.created_at <= LONG_AGO, ~_CLAIMED_JUST_NOW),
    "it is the first in the line of share {share}, of which nothing is sent",
    of=_LINES.join(STEPS, S.id == _FIRST).join(RUNS, R.id == S.flow_run_id),
)

SHARE_CHECKS: Final = (
    Check(
        "share",
        "A step that has a share has that of its run.",
        [_OTHER_SHARE],
    ),
    Check(
        "line goes on",
        "While steps wait in the line of a share, others of the line are sent.",
        [_STALLED],
    ),
)

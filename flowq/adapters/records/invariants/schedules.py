"""What must hold for schedules, and for the runs that they have started."""

from typing import Final

from sqlalchemy import String, and_, exists, literal, not_, or_

from flowq.adapters.records.invariants.base import Check, R, runs, schedules
from flowq.adapters.records.sql.repository import RUNS, SCHEDULES

_C: Final = SCHEDULES.c
_before = RUNS.alias("before")
_IS_PAUSED: Final = _C.paused_at.is_not(None)
_HAS_WORK: Final = or_(
    _C.requested_at.is_not(None),
    and_(not_(_IS_PAUSED), or_(_C.next_at.is_not(None), _C.backfill_at.is_not(None))),
)
_HAS_OWN_KEY: Final = R.idempotency_key.startswith(
    literal("schedule:", String) + R.schedule_name + literal(":", String)
)
_CONTINUES: Final = exists().where(
    _before.c.continued_as == R.id, _before.c.schedule_name == R.schedule_name
)

SCHEDULE_CHECKS: Final = (
    Check(
        "schedules",
        "The sweeper looks at a schedule as long as it has something to start, and only then; a "
        "run of a schedule has the key of its tick, or continues one.",
        [
            schedules(
                and_(_HAS_WORK, _C.wake_at.is_(None)),
                "its next tick is {next_at}, and the sweeper never looks at it",
            ),
            schedules(
                and_(not_(_HAS_WORK), _C.wake_at.is_not(None)),
                "it has nothing to start, and the sweeper looks at it at {wake_at}",
            ),
            schedules(
                _C.backfill_at.is_(None) != _C.backfill_until.is_(None),
                "its backfill is at {backfill_at}, and ends at {backfill_until}",
            ),
            schedules(_C.last_at >= _C.next_at, "its last tick {last_at} is not before {next_at}"),
            runs(
                and_(
                    R.schedule_name.is_not(None),
                    or_(R.idempotency_key.is_(None), not_(_HAS_OWN_KEY)),
                    ~_CONTINUES,
                ),
                "it is a run of schedule {schedule_name}, and its key is {idempotency_key}",
            ),
        ],
    ),
)

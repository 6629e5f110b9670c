"""What must hold for logged lines."""

from typing import Final

from sqlalchemy import and_, exists, null

from flowq.adapters.records.invariants.base import Check, S, steps
from flowq.adapters.records.sql.repository import LOGS, STEPS

_L = LOGS.c
_O = LOGS.alias("other").c
_OF_STEP: Final = STEPS.join(LOGS, _L.step_run_id == S.id)
#: A bunch that begins within another one of its attempt.
_OVERLAPS: Final = exists().where(
    _O.step_run_id == _L.step_run_id,
    _O.lease_token == _L.lease_token,
    _O.first_line > _L.first_line,
    _O.first_line < _L.first_line + _L.line_count,
)

LOG_CHECKS: Final = (
    Check(
        "logs",
        "Logged lines are in their row or in an object, belong to the run of their step, and have "
        "one number each in their attempt.",
        [
            steps(
                _L.lines.is_(null()) == _L.object_key.is_(None),
                "lines {line} have no place, or two",
                of=_OF_STEP,
                line=_L.first_line,
            ),
            steps(
                _L.flow_run_id != S.flow_run_id,
                "lines {line} are of run {run}",
                of=_OF_STEP,
                line=_L.first_line,
                run=_L.flow_run_id,
            ),
            steps(
                and_(_L.line_count > 0, _OVERLAPS),
                "another bunch of the attempt begins within lines {line}",
                of=_OF_STEP,
                line=_L.first_line,
            ),
        ],
    ),
)

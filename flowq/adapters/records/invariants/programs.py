"""What must hold for programs and their calls."""

from typing import Final

from sqlalchemy import and_, exists, func, null, or_

from flowq.adapters.records.invariants.base import (
    CALLED,
    ENDED,
    IS_PROGRAM,
    LONG_AGO,
    Check,
    R,
    S,
    in_state,
    steps,
)
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.steps.wake import of_unknown_kind
from flowq.core.states import ACTIVE_STEP_STATES, TERMINAL_STEP_STATES, RunState, StepState

_O = STEPS.alias("other").c
_M = STEPS.alias("member").c

_OF_ITS_RUN = and_(_O.flow_run_id == S.flow_run_id, _O.spec.is_not(null()))
_UNSEEN_CALL = exists().where(_OF_ITS_RUN, _O.observed.is_(None))
_OPEN_MEMBER = exists().where(
    _M.flow_run_id == _O.flow_run_id,
    _M.batch_id == _O.batch_id,
    in_state(*ACTIVE_STEP_STATES, of=_M),
)
_UNSEEN = exists().where(
    _OF_ITS_RUN,
    _O.observed.is_(None),
    in_state(*TERMINAL_STEP_STATES, of=_O),
    _O.completed_at <= LONG_AGO,
    or_(in_state(StepState.FAILED, of=_O), ~_OPEN_MEMBER),
)
_WAITS = and_(IS_PROGRAM, in_state(StepState.WAITING))
_PLACE_TWICE = exists().where(
    _OF_ITS_RUN, _O.observed == S.observed, _O.id < S.id, _O.map_index.is_(None)
)
_P = STEPS.alias("program").c
_PROGRAM_FURTHER = exists().where(
    _P.flow_run_id == S.flow_run_id,
    _P.spec.is_(null()),
    _P.observed >= func.coalesce(S.observed, 0),
)

PROGRAM_CHECKS: Final = (
    Check(
        "program waits",
        "A program that waits has an open call, and no terminal call that it has not noticed; "
        "what it waits for can be read.",
        [
            steps(
                and_(_WAITS, ~_UNSEEN_CALL, R.status == RunState.RUNNING),
                "it has seen all of its calls end",
                of=STEPS.join(RUNS),
            ),
            steps(
                and_(_WAITS, _UNSEEN, R.status == RunState.RUNNING),
                "a call of it is terminal, and it was not woken",
                of=STEPS.join(RUNS),
            ),
            steps(of_unknown_kind(STEPS), "what it waits for cannot be read"),
        ],
    ),
    Check(
        "calls",
        "Only a program has calls; what it has seen end is terminal, each at a place of its own.",
        [
            steps(and_(CALLED, ~_PROGRAM_FURTHER), "its place is {observed}, no program has it"),
            steps(and_(CALLED, S.observed.is_not(None), ~ENDED), "it was seen to end, and is open"),
            steps(
                and_(CALLED, S.observed.is_not(None), _PLACE_TWICE),
                "another call has its place {observed}",
            ),
        ],
    ),
)

"""What must hold for signals and the waits for them."""

from typing import Final

from sqlalchemy import and_, exists, func, or_

from flowq.adapters.records.invariants.base import (
    CALLED,
    LONG_AGO,
    Check,
    R,
    S,
    in_state,
    signals,
    steps,
)
from flowq.adapters.records.sql.repository import RUNS, SIGNALS, STEPS
from flowq.adapters.records.sql.types import json_text
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState

_G = SIGNALS.c
_O = SIGNALS.alias("other").c
_IS_WAIT: Final = and_(CALLED, json_text(S.spec, "kind") == StepKind.SIGNAL)
#: A wait of a rerun has what that of the earlier run received.
_IS_REUSED: Final = json_text(S.spec, "reused").is_not(None)
#: Signals that a wait received, and those that it could receive.
_RECEIVED: Final = exists().where(_G.consumed_by == S.id)
_IS_THERE: Final = exists().where(
    _G.flow_run_id == S.flow_run_id,
    _G.name == S.step_name,
    _G.consumed_by.is_(None),
    _G.created_at <= LONG_AGO,
)
_ITS_WAIT: Final = exists().where(
    S.id == _G.consumed_by,
    S.flow_run_id == _G.flow_run_id,
    S.step_name == _G.name,
    _IS_WAIT,
    in_state(StepState.COMPLETED),
)
_ANOTHER: Final = exists().where(_O.consumed_by == _G.consumed_by, _O.id != _G.id)

SIGNAL_CHECKS: Final = (
    Check(
        "signals",
        "A signal that was received is that of one completed wait for its name, in its run; a wait "
        "has completed by a signal, or failed by its timeout; none waits for one that is there.",
        [
            signals(
                and_(_G.consumed_by.is_not(None), ~_ITS_WAIT),
                "signal {name} was received by {consumed_by}, which is no completed wait for it",
            ),
            signals(
                and_(_G.consumed_by.is_not(None), _ANOTHER),
                "signal {name} was received by a wait that has received another",
            ),
            signals(
                _G.consumed_by.is_(None) != _G.consumed_at.is_(None),
                "signal {name} was received by {consumed_by} at {consumed_at}",
            ),
            steps(
                and_(_IS_WAIT, in_state(StepState.COMPLETED), ~_RECEIVED, ~_IS_REUSED),
                "it has completed, and has received no signal",
            ),
            steps(
                and_(
                    _IS_WAIT,
                    in_state(StepState.FAILED),
                    or_(_RECEIVED, func.coalesce(S.error_type, "") != "SignalTimeout"),
                ),
                "it has failed with {error_type}, which is no timeout without a signal",
            ),
            steps(
                and_(
                    _IS_WAIT,
                    in_state(StepState.WAITING),
                    S.created_at <= LONG_AGO,
                    R.status == RunState.RUNNING,
                    _IS_THERE,
                ),
                "it waits for a signal that is there",
                of=STEPS.join(RUNS),
            ),
        ],
    ),
)

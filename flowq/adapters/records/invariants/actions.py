"""What must hold for the recorded actions on runs: each was done."""

from typing import Final

from sqlalchemy import exists, or_

from flowq.adapters.records.invariants.base import Check, R, runs
from flowq.adapters.records.sql.repository import ACTIONS, RUNS, SIGNALS
from flowq.engine.model.actions import ActionKind

_A, _G = ACTIONS.c, SIGNALS.c
_N: Final = RUNS.alias("new").c
_OF_RUN: Final = _A.flow_run_id == R.id

ACTION_CHECKS: Final = (
    Check(
        "actions",
        "A run with the action cancel was asked to cancel; an action signal has its "
        "signal; an action rerun names a rerun of the run.",
        [
            runs(
                exists().where(_OF_RUN, _A.kind == ActionKind.CANCEL)
                & R.cancel_requested_at.is_(None),
                "somebody has cancelled it, but nobody has asked for that",
            ),
            runs(
                exists().where(
                    _OF_RUN, _A.kind == ActionKind.SIGNAL, ~exists().where(_G.id == _A.id)
                ),
                "somebody has sent it a signal that is not there",
            ),
            runs(
                exists().where(
                    _OF_RUN,
                    _A.kind == ActionKind.RERUN,
                    # The rerun may have been deleted since.
                    _N.id == _A.id,
                    or_(_N.rerun_of.is_(None), _N.rerun_of != R.id),
                ),
                "somebody has rerun it, but the run of that action is no rerun of it",
            ),
        ],
    ),
)

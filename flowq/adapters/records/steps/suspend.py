"""How a program is suspended and woken, without losing a wake-up.

A suspension first updates the program's row, and so holds its lock; a later statement looks for
ended calls, and sees all that was committed before. The end of a call is committed first, or holds
the lock of the program's row until its commit; it takes that lock also if the program is running.
So the second of the two sees the other. Both lock the program's row before the rows of ended calls,
so there are no deadlocks.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from sqlalchemy import (
    Float,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from typing_extensions import override

from flowq.adapters.records.control.signals import SqlSignals
from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import HELD, RUNS, STEPS, Repository, state_of
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.wake import has_ended
from flowq.core.ids import RunId, StepRunId
from flowq.core.spec import StepKind
from flowq.core.states import TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.model.programs import NewCall, Suspension
from flowq.engine.model.rows import Claim, NewStep
from flowq.engine.ports.steps import ProgramRows

_C = STEPS.c
_WAITING = StepState.WAITING
_RESEND = DbNow(bindparam("p_resend", type_=Float))

#: What a program that waits has in its row.
SUSPENDED: Final = {
    "status": _WAITING,
    "lease_token": None,
    "lease_expires_at": None,
    # Only a program that did not reach its next wait is retried.
    "attempt": 0,
    "recoveries": 0,
    "observed": bindparam("p_observed", type_=_C.observed.type),
}
_SUSPEND = Prepared(
    update(STEPS)
    .where(HELD)
    .values(**SUSPENDED)
    .returning(
        _C.shielded_until,
        select(RUNS.c.status).where(RUNS.c.id == _C.flow_run_id).scalar_subquery(),
    )
)
_SEE_CANCEL = Prepared(
    update(STEPS)
    .where(_C.id == bindparam("p_id"))
    .values(
        step_metadata=bindparam("p_metadata", type_=_C.step_metadata.type),
        shielded_until=DbNow(bindparam("p_cleanup", type_=Float)),
    )
    .returning(_C.shielded_until)
)
_SEE = update(STEPS).where(_C.id == bindparam("p_id")).values(observed=bindparam("p_place"))
_SEE_ONE = Prepared(_SEE)
_ALONE = update(STEPS).where(_C.id == bindparam("p_id")).values(batch_id=bindparam("p_batch"))

#: Calls that are not awaited any more end, unless a worker holds them.
_UNHELD = or_(
    _C.status.in_((StepState.PENDING, StepState.QUEUED, StepState.RETRYING, _WAITING)),
    and_(_C.status == StepState.RUNNING, _C.lease_token.is_(None)),
)
_GIVEN_UP: Final = {
    "status": StepState.CANCELLED,
    "completed_at": DbNow(),
    "wake_at": None,
    "advanced": True,
}
_GIVE_UP = Prepared(
    update(STEPS)
    .where(_C.id == bindparam("p_id"), _UNHELD)
    .values(**_GIVEN_UP, observed=bindparam("p_place"))
    .returning(_C.step_key, _C.map_size)
)
_GIVE_UP_ITEMS = Prepared(
    update(STEPS)
    .where(
        _C.flow_run_id == bindparam("p_run"),
        _C.step_key == bindparam("p_key"),
        _C.map_index.is_not(None),
        _UNHELD,
    )
    .values(**_GIVEN_UP)
)

#: The columns of a new call, or of one of its items.
NEW_ROW: Final[Mapping[str, Any]] = {
    "id": bindparam("p_id", type_=_C.id.type),
    "flow_run_id": bindparam("p_run", type_=_C.flow_run_id.type),
    "step_key": bindparam("p_key", type_=_C.step_key.type),
    "step_name": bindparam("p_name", type_=_C.step_name.type),
    "step_order": bindparam("p_order", type_=_C.step_order.type),
    "map_index": bindparam("p_index", type_=_C.map_index.type),
    "map_size": bindparam("p_size", type_=_C.map_size.type),
    "status": bindparam("p_state", type_=_C.status.type),
    "inputs": bindparam("p_inputs", type_=_C.inputs.type),
    "spec": bindparam("p_spec", type_=_C.spec.type),
    "batch_id": bindparam("p_batch", type_=_C.batch_id.type),
    "advanced": bindparam("p_advanced", type_=_C.advanced.type),
    "pending_dependencies": 0,
    "attempt": 0,
    "recoveries": 0,
    "resends": 0,
    "tokens_used": 0,
    "cost_estimate": 0,
    "unpriced_calls": 0,
    "created_at": DbNow(),
    "started_at": DbNow(bindparam("p_started", type_=Float)),
    "completed_at": DbNow(bindparam("p_ended", type_=Float)),
    "wake_at": DbNow(bindparam("p_wake", type_=Float)),
    "shielded_until": bindparam("p_shield", type_=_C.shielded_until.type),
}
_NEW = insert(STEPS).values(**NEW_ROW)
_NEW_ONE = Prepared(_NEW)
_NEW_OF_SHARE = _NEW.values(share=bindparam("p_share"))

_one = STEPS.alias("one")
#: An ended call that its program may see and has not seen.
_UNSEEN = and_(
    literal_column("one.spec IS NOT NULL"),
    _one.c.observed.is_(None),
    has_ended(_one),
)
_QUEUED: Final = {"status": StepState.QUEUED, "wake_at": _RESEND}
_QUEUE_IF_ENDED = Prepared(
    update(STEPS)
    .where(
        _C.id == bindparam("p_id"),
        state_of(STEPS) == _WAITING,
        exists(select(_one.c.id).where(_one.c.flow_run_id == bindparam("p_run"), _UNSEEN)),
    )
    .values(**_QUEUED)
)
_QUEUE_STOPPED = Prepared(
    update(STEPS)
    .where(_C.id == bindparam("p_id"), state_of(STEPS) == _WAITING)
    .values(
        **_QUEUED,
        shielded_until=func.coalesce(_C.shielded_until, DbNow(bindparam("p_cleanup", type_=Float))),
    )
)


class ProgramWrites(Repository, ProgramRows):
    """The programs' part of `FlowStepRunRepo` that writes."""

    @override
    def suspend(self, claim: Claim, suspension: Suspension) -> StepState | None:
        given: dict[str, Any] = {"p_id": claim.id, "p_token": claim.token}
        row = self._run(_SUSPEND, {**given, "p_observed": suspension.observed}).first()
        if row is None:
            return None
        # The run is read as it was when this statement began; a cancel that it waited for since
        # then is visible in the row.
        shield = row[0]
        stopping = shield is not None or row[1] not in (RunState.RUNNING, RunState.PAUSED)
        if suspension.cancel is not None:
            seen = suspension.cancel
            said = {"place": seen.place, "reason": seen.reason, "at": seen.at.isoformat()}
            given = {"p_id": claim.id, "p_metadata": {"cancel": said}}
            given["p_cleanup"] = suspension.cleanup.total_seconds()
            shield = self._run(_SEE_CANCEL, given).scalar()
        self._see(suspension.seen)
        for row_id, batch in suspension.alone.items():
            self._run(_ALONE, {"p_id": row_id, "p_batch": batch})
        for row_id, place in suspension.given_up.items():
            self._give_up(claim.run_id, row_id, place)
        unheard = stopping and not suspension.cancel_seen
        self._insert_calls(claim.run_id, suspension, shield, refused=unheard)
        if not unheard and any(call.spec.kind is StepKind.SIGNAL for call in suspension.calls):
            SqlSignals(self._within).match(claim.run_id, advanced=True)
        resend = suspension.resend_after.total_seconds()
        if unheard:
            self._run(_QUEUE_STOPPED, {"p_id": claim.id, "p_resend": resend, "p_cleanup": _LONG})
            return StepState.QUEUED
        asking = {"p_id": claim.id, "p_run": claim.run_id, "p_resend": resend}
        return StepState.QUEUED if self._changes(_QUEUE_IF_ENDED, asking) else _WAITING

    @override
    def give_up(self, run_id: RunId, rows: Sequence[StepRunId]) -> None:
        for row in rows:
            self._give_up(run_id, row, None)

    # --- parts of a suspension -------------------------------------------------------------------

    def _see(self, seen: Mapping[StepRunId, int]) -> None:
        rows = [{"p_id": row_id, "p_place": place} for row_id, place in seen.items()]
        if len(rows) == 1:
            self._run(_SEE_ONE, rows[0])
        elif rows:
            self._run(_SEE, rows)

    def _give_up(self, run_id: RunId, row_id: StepRunId, place: int | None) -> None:
        row = self._run(_GIVE_UP, {"p_id": row_id, "p_place": place}).first()
        if row is not None and row[1] is not None:
            self._run(_GIVE_UP_ITEMS, {"p_run": run_id, "p_key": row[0]})

    def _insert_calls(
        self, run_id: RunId, suspension: Suspension, shield: Any, *, refused: bool
    ) -> None:
        rows: list[Mapping[str, Any]] = []
        for call in suspension.calls:
            until = shield if call.shielded else None
            look = None if call.shielded else suspension.calls_look
            resend = (look or suspension.resend_after).total_seconds()
            rows.append(call_row(run_id, call, resend, until, refused=refused))
            if not refused:
                rows += [
                    _item_row(run_id, call, index, resend, until)
                    for index in range(len(call.items))
                    if index not in call.reused
                ]
        if rows and suspension.share is not None:
            urgent = {call.spec.key for call in suspension.calls if call.shielded}
            self._run(_NEW_OF_SHARE, [_shared(row, suspension.share, urgent) for row in rows])
        elif len(rows) == 1:
            self._run(_NEW_ONE, rows[0])
        elif rows:
            self._run(_NEW, rows)
        reused = list(suspension.reused)
        if not refused:
            reused += [row for call in suspension.calls for row in call.reused.values()]
        if reused:
            SqlReruns(self._within).insert_reused(run_id, reused)


def _shared(row: Mapping[str, Any], share: str, urgent: AbstractSet[str]) -> Mapping[str, Any]:
    return {**row, "p_share": None if row["p_key"] in urgent else share}


#: How long a program that is to see its cancel may wait for a worker.
_LONG: Final = 3600.0


def call_row(
    run_id: RunId, call: NewCall, resend: float, shield: Any, *, refused: bool
) -> Mapping[str, Any]:
    """Return the parameters of `NEW_ROW` for a new call."""
    state = StepState.CANCELLED if refused else call.state
    delay = None if call.delay is None else call.delay.total_seconds()
    ended = state in TERMINAL_STEP_STATES
    spec = call.spec.model_dump(mode="json", exclude_defaults=True, exclude={"arguments"})
    return {
        "p_id": call.id,
        "p_run": run_id,
        "p_key": call.spec.key,
        "p_name": call.spec.name,
        "p_order": call.order,
        "p_index": None,
        "p_size": len(call.items) if call.spec.map is not None and not refused else None,
        "p_state": state,
        "p_inputs": call.spec.arguments,
        "p_spec": spec,
        "p_batch": call.batch,
        "p_advanced": ended,
        "p_started": 0.0 if state is StepState.RUNNING else None,
        "p_ended": 0.0 if ended else None,
        "p_wake": resend if state is StepState.QUEUED else delay if state is _WAITING else None,
        "p_shield": shield,
    }


def _item_row(
    run_id: RunId, call: NewCall, index: int, resend: float, shield: Any
) -> Mapping[str, Any]:
    item: NewStep = call.items[index]
    return {
        "p_id": item.id,
        "p_run": run_id,
        "p_key": item.key,
        "p_name": item.name,
        "p_order": item.order,
        "p_index": index,
        "p_size": None,
        "p_state": StepState.QUEUED,
        "p_inputs": item.inputs,
        "p_spec": None,
        "p_batch": item.batch,
        "p_advanced": True,
        "p_started": None,
        "p_ended": None,
        "p_wake": resend,
        "p_shield": shield,
    }

"""The writes of a pause: of runs, and of their queued steps.

A parked step is queued like any other, but its `wake_at` is far in the future. Only the run's state
prevents its claim, so a parked step of a running run would be lost: therefore only queued rows are
parked, and a resume changes all queued rows of its runs. A concurrent park either has the row's
lock, or finds that the row is no longer due.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Float, and_, bindparam, case, select, update
from typing_extensions import override

from flowq.adapters.records.control.stops import NO_STOP, STOP, stop_parameters
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import PARKED, RUNS, STEPS, Repository, state_of
from flowq.adapters.records.sql.tables import OPEN
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState, run_sources
from flowq.engine.model.rows import StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.steps import AdvanceRows

_R, _C = RUNS.c, STEPS.c
_KEYS: Any = bindparam("p_keys", expanding=True)

_PAUSE = (
    update(RUNS)
    .where(_R.id.in_(_KEYS), _R.status.in_(tuple(run_sources(RunState.PAUSED))))
    .values(status=RunState.PAUSED, **STOP)
    .returning(_R.id)
)
_RESUME = (
    update(RUNS)
    .where(_R.id.in_(_KEYS), _R.status == RunState.PAUSED)
    .values(status=RunState.RUNNING, **NO_STOP)
    .returning(_R.id)
)
_CHILDREN = (
    select(_R.id)
    .join(STEPS, _C.id == _R.parent_step_run_id)
    .where(
        _C.flow_run_id.in_(_KEYS),
        _C.status == StepState.WAITING,
        _R.status == bindparam("p_state"),
    )
    .order_by(_R.id)
)
_STATUS_KEPT = Prepared(
    select(_R.status).where(_R.id == bindparam("p_run")).with_for_update(read=True)
)

_QUEUED = and_(_C.flow_run_id.in_(_KEYS), OPEN, state_of(STEPS) == StepState.QUEUED)
_PARK = update(STEPS).where(_QUEUED).values(wake_at=PARKED).returning(_C.id)
_UNPARK = (
    update(STEPS)
    .where(_QUEUED)
    .values(
        wake_at=case(
            (_C.share.is_(None), DbNow(bindparam("p_resend", type_=Float))),
            else_=DbNow(bindparam("p_place", type_=Float)),
        ),
        resends=0,
    )
    .returning(_C.flow_run_id, _C.step_key, _C.map_index)
)


class RunPauses(Repository, RunRows):
    """The part of `FlowRunRepo` that pauses."""

    @override
    def pause(self, run_ids: Sequence[RunId], reason: StopReason) -> list[RunId]:
        rows = self._run_parts(_PAUSE, stop_parameters(reason), run_ids)
        return [RunId(row[0]) for row in rows]

    @override
    def resume(self, run_ids: Sequence[RunId]) -> list[RunId]:
        return [RunId(row[0]) for row in self._run_parts(_RESUME, {}, run_ids)]

    @override
    def children(self, run_ids: Sequence[RunId], state: RunState) -> list[RunId]:
        return [RunId(row[0]) for row in self._run_parts(_CHILDREN, {"p_state": state}, run_ids)]

    @override
    def status_kept(self, run_id: RunId) -> RunState | None:
        state = self._run(_STATUS_KEPT, {"p_run": run_id}).scalar()
        return None if state is None else RunState(state)


class StepPauses(Repository, AdvanceRows):
    """The part of `FlowStepRunRepo` that pauses."""

    @override
    def park(self, run_ids: Sequence[RunId]) -> int:
        return len(list(self._run_parts(_PARK, {}, run_ids)))

    @override
    def unpark(
        self, run_ids: Sequence[RunId], resend_after: timedelta, place: timedelta
    ) -> list[StepRef]:
        given = {"p_resend": resend_after.total_seconds(), "p_place": place.total_seconds()}
        rows = self._run_parts(_UNPARK, given, run_ids)
        return [StepRef(RunId(row[0]), row[1], row[2]) for row in rows]

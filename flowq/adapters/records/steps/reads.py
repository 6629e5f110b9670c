"""What the step runs repository reads, for people and for the engine."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Text, and_, bindparam, cast, func, select
from typing_extensions import override

from flowq.adapters.records.sql.payloads import copy_from_text
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import result_ref
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.adapters.records.steps.stored import (
    NODES,
    STORED_NODES,
    nodes_of,
    stored_columns,
    stored_step,
)
from flowq.core.ids import RunId, StepRunId
from flowq.core.results import step_of_key
from flowq.core.states import ACTIVE_STEP_STATES, RunState, StepState
from flowq.engine.model.rows import StepProgress, StepRef, StoredStep
from flowq.engine.ports.steps import ReadRows

_C = STEPS.c
_NODE = _C.map_index.is_(None)
_OPEN = tuple(ACTIVE_STEP_STATES)
#: What `step_progress` needs.
PROGRESS = (
    _C.step_key,
    _C.step_order,
    _C.map_index,
    _C.map_size,
    _C.batch_id,
    _C.status,
    _C.attempt,
    _C.created_at,
    _C.started_at,
    _C.completed_at,
    _C.execution_time_ms,
    _C.tokens_used,
    _C.cost_estimate,
    _C.worker,
    _C.error_type,
    _C.error_message,
    _C.unpriced_calls,
)
_STORED = stored_columns(STEPS)
_RUN = _C.flow_run_id == bindparam("p_run")
_PLACE = Prepared(
    select(_C.flow_run_id, _C.step_key, _C.map_index).where(_C.id == bindparam("p_id"))
)
_STATES = Prepared(select(_C.step_key, _C.status).where(NODES))
_COPIES = select(_C.id, _C.result, cast(_C.outputs, Text)).where(
    _C.id.in_(bindparam("p_keys", expanding=True))
)
_OPEN_STEP = select(_C.id).where(_RUN, _C.status.in_(_OPEN)).limit(1)
_STATUS_AND_NODES = Prepared(
    select(RUNS.c.status, RUNS.c.continued_as, *_STORED)
    .outerjoin_from(RUNS, STEPS, and_(RUNS.c.status == RunState.COMPLETED, nodes_of(RUNS.c.id)))
    .where(RUNS.c.id == bindparam("p_run"))
)
_ANY_OPEN = Prepared(_OPEN_STEP)
_OPEN_ITEM = Prepared(
    _OPEN_STEP.where(_C.step_key == bindparam("p_key"), _C.map_index.is_not(None))
)


class StepReads(Repository, ReadRows):
    """The reading part of `FlowStepRunRepo`."""

    # --- for people ------------------------------------------------------------------------------

    def by_id(self, step_id: UUID) -> FlowStepRun | None:
        """Return a step run."""
        return self._session.get(FlowStepRun, step_id)

    def by_flow_run_id(
        self, run_id: UUID, *, limit: int | None = None, offset: int = 0
    ) -> Sequence[FlowStepRun]:
        """Return a run's steps in step order; items of a map after its node, by index."""
        query = (
            select(FlowStepRun)
            .where(FlowStepRun.flow_run_id == run_id)
            .order_by(
                FlowStepRun.step_order, FlowStepRun.map_index.is_not(None), FlowStepRun.map_index
            )
        )
        return self._session.scalars(query.limit(limit).offset(offset)).all()

    # --- for the engine --------------------------------------------------------------------------

    @override
    def node(self, step_id: StepRunId) -> StepRef | None:
        row = self._run(_PLACE, {"p_id": step_id}).first()
        return None if row is None else StepRef(RunId(row[0]), row[1], row[2])

    @override
    def ready(self, run_id: RunId) -> list[str]:
        query = select(_C.step_key).where(
            _C.flow_run_id == run_id,
            _C.status == StepState.PENDING,
            _C.pending_dependencies == 0,
            _NODE,
        )
        return [row[0] for row in self._run(query)]

    @override
    def states(self, run_id: RunId, keys: Iterable[str]) -> dict[str, StepState]:
        rows = self._run_parts(_STATES, {"p_run": run_id}, list(keys))
        return {row[0]: StepState(row[1]) for row in rows}

    @override
    def has_open(self, run_id: RunId, key: str | None = None) -> bool:
        if key is None:
            return self._run(_ANY_OPEN, {"p_run": run_id}).first() is not None
        return self._run(_OPEN_ITEM, {"p_run": run_id, "p_key": key}).first() is not None

    @override
    def counts(self, run_id: RunId, key: str) -> dict[StepState, int]:
        query = (
            select(_C.status, func.count())
            .where(_C.flow_run_id == run_id, _C.step_key == key, _C.map_index.is_not(None))
            .group_by(_C.status)
        )
        return {StepState(row[0]): row[1] for row in self._run(query)}

    @override
    def failed(self, run_id: RunId) -> list[StoredStep]:
        query = (
            select(*_STORED)
            .where(_C.flow_run_id == run_id, _NODE, _C.status == StepState.FAILED)
            .order_by(_C.completed_at)
        )
        return [stored_step(row) for row in self._run(query)]

    @override
    def first_failed_item(self, run_id: RunId, key: str) -> StoredStep | None:
        query = (
            select(*_STORED)
            .where(_C.flow_run_id == run_id, _C.step_key == key, _C.map_index.is_not(None))
            .where(_C.status == StepState.FAILED)
            .order_by(_C.completed_at, _C.map_index)
        )
        row = self._run(query.limit(1)).first()
        return None if row is None else stored_step(row)

    @override
    def stored(self, run_id: RunId, keys: Sequence[str]) -> list[StoredStep]:
        rows = self._run_parts(STORED_NODES, {"p_run": run_id}, keys)
        return [stored_step(row) for row in rows]

    @override
    def status_and_nodes(
        self, run_id: RunId, keys: Sequence[str]
    ) -> tuple[RunState, RunId | None, list[StoredStep]] | None:
        rows = self._run(_STATUS_AND_NODES, {"p_run": run_id, "p_keys": list(keys)}).all()
        if not rows:
            return None
        state, following = rows[0][:2]
        nodes = [stored_step(row[2:]) for row in rows if row[2] is not None]
        return RunState(state), following and RunId(following), nodes

    @override
    def item(self, run_id: RunId, key: str, index: int) -> StoredStep | None:
        query = select(*_STORED).where(
            _C.flow_run_id == run_id, _C.step_key == key, _C.map_index == index
        )
        row = self._run(query).first()
        return None if row is None else stored_step(row)

    @override
    def items(
        self, run_id: RunId, key: str, first: int = 0, limit: int | None = None
    ) -> list[StoredStep]:
        query = (
            select(*_STORED)
            .where(_C.flow_run_id == run_id, _C.step_key == key, _C.map_index >= first)
            .order_by(_C.map_index)
            .limit(limit)
        )
        return [stored_step(row) for row in self._run(query)]

    @override
    def step_progress(self, run_id: RunId) -> list[StepProgress]:
        query = select(*PROGRESS).where(_C.flow_run_id == run_id)
        rows = self._run(query.order_by(_C.step_order, _C.map_index.is_not(None), _C.map_index))
        return [step_progress(row) for row in rows]

    @override
    def copies(self, keys: Sequence[str]) -> dict[str, bytes]:
        wanted = {step_of_key(key): key for key in keys}
        found: dict[str, bytes] = {}
        for step_id, result, text in self._run_parts(_COPIES, {}, list(wanted)):
            ref = result_ref(result)
            if text is not None and ref is not None and ref.key == wanted[step_id]:
                found[ref.key] = copy_from_text(ref.codec, text)
        return found


def step_progress(row: Sequence[Any]) -> StepProgress:
    """Return the value of a row of those columns."""
    return StepProgress(row[0], row[1], row[2], row[3], row[4], StepState(row[5]), *row[6:])

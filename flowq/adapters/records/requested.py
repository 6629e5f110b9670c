"""Flows that workers have recorded, and requests of runs of them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Float, Integer, and_, bindparam, delete, insert, literal, select, update
from typing_extensions import override

from flowq.adapters.records.sql.repository import (
    DEFINITIONS,
    REQUESTED,
    Repository,
    by_dialect,
)
from flowq.adapters.records.sql.request_tables import IS_REQUESTED
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.engine.model.actions import Actor, Face
from flowq.engine.model.requested import RecordedFlow, RequestedRun, RequestOptions
from flowq.engine.ports.schedules import RequestedRuns

_D, _C = DEFINITIONS.c, REQUESTED.c
#: Seconds after which a request is forgotten.
_KEPT: Final = 86_400.0
#: Bound of the exponent of a pause, against overflow.
_MAX_DOUBLINGS: Final = 20

_THIS = _C.id == bindparam("p_id", type_=_C.id.type)
_DUE = and_(IS_REQUESTED, _C.wake_at <= DbNow(), _C.created_at > DbNow(-_KEPT))
_IS_ANY_DUE: Final = select(literal(1)).select_from(REQUESTED).where(_DUE).limit(1)
_TAKE: Final = (
    select(_C.id, _C.flow_name, _C.rings)
    .where(_DUE, _C.flow_name.in_(bindparam("p_keys", expanding=True)))
    .order_by(_C.wake_at)
    .limit(bindparam("p_limit", type_=Integer))
    .with_for_update(skip_locked=True)
)
_RING: Final = (
    update(REQUESTED)
    .where(_C.id.in_(bindparam("p_keys", expanding=True)))
    .values(rings=_C.rings + 1, wake_at=DbNow(bindparam("p_again", type_=Float)))
)
_RECORD: Final = by_dialect(
    DEFINITIONS,
    lambda new: new.values(updated_at=DbNow()).on_conflict_do_update(
        index_elements=["flow_name"],
        set_={"input_schema": new.excluded.input_schema, "updated_at": new.excluded.updated_at},
    ),
)
_FLOWS: Final = select(_D.flow_name, _D.input_schema).where(
    _D.flow_name.in_(bindparam("p_keys", expanding=True))
)
_INSERT: Final = insert(REQUESTED).values(
    created_at=DbNow(), wake_at=DbNow(bindparam("p_after", type_=Float)), rings=0
)


class SqlRequestedRuns(Repository, RequestedRuns):
    """Implements `flowq.engine.ports.schedules.RequestedRuns`."""

    @override
    def flow(self, name: str) -> RecordedFlow | None:
        return self.flows([name]).get(name)

    @override
    def flows(self, names: Sequence[str]) -> Mapping[str, RecordedFlow]:
        rows = self._run_parts(_FLOWS, {}, names)
        return {name: RecordedFlow(name, schema) for name, schema in rows}

    @override
    def names(self, *, after: str = "", limit: int) -> list[str]:
        some = select(_D.flow_name).where(_D.flow_name > after).order_by(_D.flow_name)
        return [row[0] for row in self._run(some.limit(limit))]

    @override
    def record(self, flow: RecordedFlow) -> None:
        row = {"flow_name": flow.name, "input_schema": flow.input_schema}
        self._run(_RECORD[self._connection.dialect.name], row)

    @override
    def insert(self, run: RequestedRun, check_after: timedelta) -> None:
        self._run(delete(REQUESTED).where(_C.created_at < DbNow(-_KEPT)))
        row = {
            "id": run.id,
            "flow_name": run.flow_name,
            "inputs": run.inputs,
            "options": run.options.model_dump(mode="json", exclude_defaults=True),
            "face": run.actor.face,
            "actor": run.actor.name,
            "p_after": check_after.total_seconds(),
        }
        self._run(_INSERT, row)

    @override
    def find(self, run_id: RunId) -> RequestedRun | None:
        row = self._run(select(REQUESTED).where(_THIS), {"p_id": run_id}).first()
        return None if row is None else _requested(row)

    @override
    def any_due(self) -> bool:
        return self._run(_IS_ANY_DUE).first() is not None

    @override
    def take_due(
        self, flows: Collection[str], *, again: timedelta, longest: timedelta, limit: int
    ) -> list[tuple[str, str]]:
        taken = list(self._run_parts(_TAKE, {"p_limit": limit}, sorted(flows)))
        by_rings: dict[int, list[UUID]] = defaultdict(list)
        for run_id, _, rings in taken:
            by_rings[rings].append(run_id)
        for rings, ids in by_rings.items():
            pause = min(again * 2 ** min(rings, _MAX_DOUBLINGS), longest)
            self._run(_RING, {"p_keys": ids, "p_again": pause.total_seconds()})
        return [(str(run_id), flow) for run_id, flow, _ in taken]

    @override
    def delete(self, run_id: RunId) -> bool:
        return self._changes(delete(REQUESTED).where(_THIS), {"p_id": run_id})

    @override
    def refuse(self, run_id: RunId, problem: str) -> None:
        refused = update(REQUESTED).where(_THIS).values(problem=problem, wake_at=None)
        self._run(refused, {"p_id": run_id})


def _requested(row: Any) -> RequestedRun:
    return RequestedRun(
        id=RunId(row.id),
        flow_name=row.flow_name,
        inputs=row.inputs,
        options=RequestOptions.model_validate(row.options),
        actor=Actor(Face(row.face), row.actor),
        created_at=row.created_at,
        problem=row.problem,
    )

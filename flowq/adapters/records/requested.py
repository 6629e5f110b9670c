"""Flows that workers have recorded, and requests of runs of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, and_, bindparam, delete, insert, select, update
from typing_extensions import override

from flowq.adapters.records.sql.repository import (
    DEFINITIONS,
    REQUESTED,
    by_dialect,
)
from flowq.adapters.records.sql.request_tables import IS_REQUESTED
from flowq.adapters.records.sql.ringing import RingingRows, rings_of
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.engine.model.actions import Actor, Face
from flowq.engine.model.requested import RecordedFlow, RequestedRun, RequestOptions
from flowq.engine.ports.schedules import RequestedRuns

_D, _C = DEFINITIONS.c, REQUESTED.c
#: Seconds after which a request is forgotten, and a flow that no worker has renewed.
_KEPT: Final = 86_400.0
_KEPT_FLOW: Final = 7 * 86_400.0
#: Seconds after which a worker renews its flows.
_FRESH: Final = 86_400.0

_THIS = _C.id == bindparam("p_id", type_=_C.id.type)
_IS_KEPT = _C.created_at > DbNow(-_KEPT)
_DUE = and_(IS_REQUESTED, _C.wake_at <= DbNow(), _IS_KEPT)
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


class SqlRequestedRuns(RingingRows, RequestedRuns):
    """Implements `flowq.engine.ports.schedules.RequestedRuns`."""

    _rings = rings_of(REQUESTED, "id", _DUE)

    @override
    def flow(self, name: str) -> RecordedFlow | None:
        rows = self._run_parts(_FLOWS, {}, [name])
        return next((RecordedFlow(name, schema) for name, schema in rows), None)

    @override
    def fresh(self, names: Sequence[str]) -> Mapping[str, RecordedFlow]:
        rows = self._run_parts(_FLOWS.where(_D.updated_at > DbNow(-_FRESH)), {}, names)
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
        row = self._run(select(REQUESTED).where(_THIS, _IS_KEPT), {"p_id": run_id}).first()
        return None if row is None else _requested(row)

    @override
    def delete(self, run_id: RunId) -> bool:
        return self._changes(delete(REQUESTED).where(_THIS), {"p_id": run_id})

    @override
    def refuse(self, run_id: RunId, problem: str) -> None:
        refused = update(REQUESTED).where(_THIS).values(problem=problem, wake_at=None)
        self._run(refused, {"p_id": run_id})

    @override
    def purge(self) -> None:
        self._run(delete(REQUESTED).where(_C.created_at <= DbNow(-_KEPT)))
        self._run(delete(DEFINITIONS).where(_D.updated_at <= DbNow(-_KEPT_FLOW)))


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

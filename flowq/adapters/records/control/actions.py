"""Actions on runs: written with what they do, read by pages."""

from typing import Any, Final

from sqlalchemy import insert, or_, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import ACTIONS, SIGNALS, Repository
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId, StepRunId
from flowq.engine.model.actions import ActionKind, ActionView, Actor, Face, NewAction
from flowq.engine.ports.actions import ActionRows

_A, _G = ACTIONS.c, SIGNALS.c
#: A newer flowq may know others: they are read as text.
_KINDS: Final = frozenset(ActionKind)
_FACES: Final = frozenset(Face)
_INSERT: Final = insert(ACTIONS).values(created_at=DbNow())
#: The action of a signal has the signal's id, that of a rerun the id of the new run.
_OF_RUN: Final = (
    select(*(_A.id, _A.kind, _A.face, _A.actor, _A.details, _A.created_at), _G.payload)
    .outerjoin_from(ACTIONS, SIGNALS, _G.id == _A.id)
    .order_by(_A.created_at.desc(), _A.id.desc())
)


class SqlActions(Repository, ActionRows):
    """Implements `flowq.engine.ports.actions.ActionRows`."""

    @override
    def insert(self, action: NewAction) -> None:
        row = {"id": action.id, "flow_run_id": action.run_id, "kind": action.kind}
        who = {"face": action.actor.face, "actor": action.actor.name}
        self._run(_INSERT, {**row, **who, "details": dict(action.details) or None})

    @override
    def of_run(self, run_id: RunId, *, limit: int = 1_000) -> list[ActionView]:
        rows = self._run(_OF_RUN.where(or_(_A.flow_run_id == run_id, _A.id == run_id)).limit(limit))
        return [_view(row) for row in rows][::-1]

    @override
    def of_signal(self, run_id: RunId, wait: StepRunId) -> ActionView | None:
        sent = _OF_RUN.where(_A.flow_run_id == run_id, _G.consumed_by == wait)
        row = self._run(sent.limit(1)).first()
        return None if row is None else _view(row)


def _view(row: Any) -> ActionView:
    return ActionView(
        id=row.id,
        kind=ActionKind(row.kind) if row.kind in _KINDS else row.kind,
        actor=Actor(Face(row.face) if row.face in _FACES else row.face, row.actor),
        at=row.created_at,
        details=row.details if isinstance(row.details, dict) else {},
        payload=row.payload,
    )

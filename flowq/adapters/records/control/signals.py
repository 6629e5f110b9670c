"""Signals: stored first, then matched with a wait, in one place.

A sender commits the signal and then, with the lock of the program's row, looks for a wait. A
suspension holds that lock too, inserts the waits and then looks for signals. So the second of the
two sees the other, and each signal is delivered once.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Integer, Text, and_, bindparam, cast, exists, insert, or_, select, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, SIGNALS, STEPS, Repository, state_of
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.results import ResultRef, StorageKind, row_key
from flowq.core.spec import StepKind
from flowq.core.states import StepState
from flowq.engine.model.rows import NewSignal
from flowq.engine.ports.signals import SignalRows

_C, _G = STEPS.c, SIGNALS.c
_IS_SIGNAL: Final = json_text(_C.spec, "kind") == StepKind.SIGNAL
_WAITS = and_(_C.spec.is_not(None), _C.status == StepState.WAITING, _IS_SIGNAL)
_FREE = _G.consumed_by.is_(None)

_INSERT = insert(SIGNALS).values(created_at=DbNow())
_WANTED = (
    select(_C.inputs)
    .where(
        _C.flow_run_id == bindparam("p_run"),
        _C.spec.is_not(None),
        _C.step_name == bindparam("p_name"),
        _IS_SIGNAL,
    )
    .order_by(_C.step_order.desc())
    .limit(1)
)
_LOCK = select(_C.id).where(_C.id == bindparam("p_id")).with_for_update()
_WAITING = (
    select(_C.id, _C.step_key, _C.step_name)
    .where(_C.flow_run_id == bindparam("p_run"), _WAITS)
    .order_by(_C.step_order)
)
_OLDEST = (
    select(_G.id, cast(_G.payload, Text), _G.payload)
    .where(_G.flow_run_id == bindparam("p_run"), _G.name == bindparam("p_name"), _FREE)
    .order_by(_G.created_at, _G.id)
    .limit(1)
)
_GIVE = Prepared(
    update(STEPS)
    .where(_C.id == bindparam("p_id"), state_of(STEPS) == StepState.WAITING)
    .values(
        status=StepState.COMPLETED,
        completed_at=DbNow(),
        wake_at=None,
        result=bindparam("p_result", type_=_C.result.type),
        outputs=bindparam("p_outputs", type_=_C.outputs.type),
        advanced=bindparam("p_advanced"),
    )
)
_TAKE = Prepared(
    update(SIGNALS)
    .where(_G.id == bindparam("p_id"), _FREE)
    .values(consumed_by=bindparam("p_by"), consumed_at=DbNow())
)
_MOVE = update(SIGNALS).where(_G.flow_run_id == bindparam("p_run"), _FREE)
_UNDELIVERED = (
    select(_G.flow_run_id)
    .distinct()
    .join(RUNS, RUNS.c.id == _G.flow_run_id)
    .where(
        _FREE,
        or_(
            RUNS.c.continued_as.is_not(None),
            exists().where(_C.flow_run_id == _G.flow_run_id, _C.step_name == _G.name, _WAITS),
        ),
    )
    .limit(bindparam("p_limit", type_=Integer))
)


class SqlSignals(Repository, SignalRows):
    """Implements `flowq.engine.ports.SignalRows`."""

    @override
    def insert(self, signal: NewSignal) -> None:
        row = {"id": signal.id, "flow_run_id": signal.run_id, "name": signal.name}
        self._run(_INSERT, {**row, "payload": signal.payload})

    @override
    def wanted(self, run_id: RunId, name: str) -> Mapping[str, Any] | None:
        row = self._run(_WANTED, {"p_run": run_id, "p_name": name}).first()
        if row is None:
            return None
        return row[0] if isinstance(row[0], dict) else {}

    @override
    def awaited(self, run_id: RunId) -> list[str]:
        return [row[2] for row in self._run(_WAITING, {"p_run": run_id})]

    @override
    def lock(self, program: StepRunId) -> None:
        self._run(_LOCK, {"p_id": program})

    @override
    def match(self, run_id: RunId, *, advanced: bool) -> list[str]:
        given: list[str] = []
        for wait, key, name in self._run(_WAITING, {"p_run": run_id}).all():
            signal = self._run(_OLDEST, {"p_run": run_id, "p_name": name}).first()
            if signal is None:
                continue
            taking = {"p_id": signal[0], "p_by": wait}
            if not self._changes(_TAKE, taking):
                continue  # another process takes it now, and will look again
            result = _result(StepRunId(signal[0]), signal[1]).model_dump(
                mode="json", exclude_defaults=True
            )
            giving = {"p_id": wait, "p_result": result, "p_outputs": signal[2]}
            if not self._changes(_GIVE, {**giving, "p_advanced": advanced}):
                self._run(_RETURN, {"p_id": signal[0]})
                continue
            given.append(key)
        return given

    @override
    def move(self, run_id: RunId, new: RunId) -> None:
        self._run(_MOVE.values(flow_run_id=new), {"p_run": run_id})

    @override
    def undelivered(self, *, limit: int) -> list[RunId]:
        return [RunId(row[0]) for row in self._run(_UNDELIVERED, {"p_limit": limit})]


#: The wait has just timed out, or was cancelled.
_RETURN = (
    update(SIGNALS).where(_G.id == bindparam("p_id")).values(consumed_by=None, consumed_at=None)
)


def _result(signal: StepRunId, text: str | None) -> ResultRef:
    """Return a signal's payload as the result of the wait for it."""
    data = "null" if text is None else text
    encoded = data.encode()
    return ResultRef(
        place=StorageKind.ROW,
        key=row_key(signal, LeaseToken(signal)),
        size=len(encoded),
        sha256=sha256(encoded).hexdigest(),
        data=data,
    )

"""The starting part of the runs repository: runs that are recorded before they begin.

A run with a singleton key begins while no other run of the key is in flight; the unique index
`uq_flow_runs_singleton` holds that whatever happens. Those who start runs of a key take its lock
first, so they never run into the index. Those who replace or skip runs of a key take another lock
of it, so of two at the same moment the second sees the first. SQLite has one writer at a time, and
needs no locks.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Float, Integer, String, and_, bindparam, exists, or_, select, union_all
from sqlalchemy import update as update_of
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository, state_of
from flowq.adapters.records.sql.tables import DEBOUNCED, IN_LINE, SINGLETON, STARTING
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.model.starts import PendingRun, StartedRun
from flowq.engine.ports.runs import RunRows

_R: Final = RUNS.c
_other = RUNS.alias("other")
_FLOW, _KEY = bindparam("p_flow", type_=String), bindparam("p_key", type_=String)
_IDS: Any = bindparam("p_keys", expanding=True)
_LIMIT: Final = bindparam("p_limit", type_=Integer)

_OF_KEY: Final = and_(_R.flow_name == _FLOW, _R.singleton_key == _KEY)
_IN_FLIGHT: Final = exists().where(
    _other.c.flow_name == _FLOW,
    _other.c.singleton_key == _KEY,
    _other.c.started_at.is_not(None),
    _other.c.completed_at.is_(None),
)
_DUE: Final = or_(_R.starts_at.is_(None), _R.starts_at <= DbNow())
_parent = RUNS.alias("parent")
#: A child run does not begin while its parent is paused.
_PARENT_PAUSED: Final = exists().where(
    STEPS.c.id == _R.parent_step_run_id,
    _parent.c.id == STEPS.c.flow_run_id,
    _parent.c.status == RunState.PAUSED,
)
_BEGUN: Final = {"status": RunState.RUNNING, "started_at": DbNow(), "starts_at": None}
_START: Final = (
    update_of(RUNS)
    .where(_R.id.in_(_IDS), state_of(RUNS) == RunState.PENDING, _DUE, _R.singleton_key.is_(None))
    .values(**_BEGUN)
    .returning(_R.id, _R.priority)
)
_FIRST: Final = (
    select(_R.id)
    .where(_OF_KEY, IN_LINE, _DUE, ~_PARENT_PAUSED)
    .order_by(_R.priority.desc(), _R.id)
    .limit(1)
)
_START_NEXT: Final = (
    update_of(RUNS)
    .where(
        _R.id == _FIRST.correlate(None).scalar_subquery(),
        state_of(RUNS) == RunState.PENDING,
        ~_IN_FLIGHT,
    )
    .values(**_BEGUN)
    .returning(_R.id, _R.priority)
)
_LINE_UP: Final = (
    update_of(RUNS)
    .where(_R.id.in_(_IDS), state_of(RUNS) == RunState.PENDING, _R.starts_at <= DbNow())
    .values(starts_at=None)
)

#: The columns for `pending_run`.
_PENDING: Final = select(
    _R.id, _R.flow_name, _R.priority, _R.singleton_key, _R.starts_at, DbNow().label("now")
)
_TO_START: Final = _PENDING.where(
    _R.id == bindparam("p_run", type_=_R.id.type), state_of(RUNS) == RunState.PENDING
)
_gone = RUNS.alias("gone")
_REPLACED_BY: Final = _PENDING.where(
    DEBOUNCED,
    exists().where(
        _gone.c.id == bindparam("p_run", type_=_R.id.type),
        _gone.c.flow_name == _R.flow_name,
        _gone.c.debounce_key == _R.debounce_key,
    ),
)
DUE_STARTS: Final = (
    _PENDING.where(STARTING, _R.starts_at <= DbNow()).order_by(_R.starts_at).limit(_LIMIT)
)
#: Those of a slice of the open runs that nothing else would start.
IN_LINE_FOR_NOTHING: Final = (
    _PENDING.where(
        IN_LINE,
        _R.starts_at.is_(None),
        _R.created_at < DbNow(bindparam("p_before", type_=Float)),
        _R.id > bindparam("p_after", type_=_R.id.type),
        _R.id <= bindparam("p_to", type_=_R.id.type),
        ~exists().where(
            _other.c.flow_name == _R.flow_name,
            _other.c.singleton_key == _R.singleton_key,
            _other.c.started_at.is_not(None),
            _other.c.completed_at.is_(None),
        ),
    )
    .order_by(_R.id)
    .limit(_LIMIT)
)
#: In two parts, each by its partial index: the flow may have many runs that have ended.
_HAVE_KEY: Final = union_all(
    *(
        select(_R.id).where(_OF_KEY, _R.cancel_requested_at.is_(None), one)
        for one in (SINGLETON, IN_LINE)
    )
)
_STARTS_OF: Final = select(_R.id, _R.starts_at).where(
    _R.id.in_(_IDS), state_of(RUNS) == RunState.PENDING
)
_HOLDER: Final = select(_R.id).where(_OF_KEY, SINGLETON)
#: Locked: a run that begins meanwhile is not among them.
_WAITS_IN_DEBOUNCE: Final = (
    select(_R.id).where(_R.flow_name == _FLOW, DEBOUNCED, _R.debounce_key == _KEY).with_for_update()
)

#: One lock of a key for those who start runs, another for those who replace them.
_STARTS, _REPLACES = "start", "replace"
_MOVE_KEY: Final = update_of(RUNS).where(_R.id == bindparam("p_run", type_=_R.id.type))


class RunStarts(Repository, RunRows):
    """The part of `FlowRunRepo` that starts runs."""

    @override
    def start(self, run_ids: Sequence[RunId]) -> list[StartedRun]:
        return [StartedRun(RunId(row[0]), row[1]) for row in self._run_parts(_START, {}, run_ids)]

    @override
    def start_next(self, flow_name: str, key: str) -> list[StartedRun]:
        self._lock(_STARTS, flow_name, key)
        rows = self._run(_START_NEXT, {"p_flow": flow_name, "p_key": key})
        return [StartedRun(RunId(row[0]), row[1]) for row in rows]

    @override
    def line_up(self, run_ids: Sequence[RunId]) -> None:
        self._run(_LINE_UP, {"p_keys": list(run_ids)})

    @override
    def to_start(self, run_id: RunId) -> PendingRun | None:
        for statement in (_TO_START, _REPLACED_BY):
            row = self._run(statement, {"p_run": run_id}).first()
            if row is not None:
                return pending_run(row)
        return None

    @override
    def with_singleton_key(self, flow_name: str, key: str) -> list[RunId]:
        self._lock(_REPLACES, flow_name, key)
        rows = self._run(_HAVE_KEY, {"p_flow": flow_name, "p_key": key})
        return sorted(RunId(row[0]) for row in rows)

    @override
    def in_debounce(self, flow_name: str, key: str) -> list[RunId]:
        self._lock(_REPLACES, flow_name, key)
        rows = self._run(_WAITS_IN_DEBOUNCE, {"p_flow": flow_name, "p_key": key})
        return [RunId(row[0]) for row in rows]

    @override
    def starts(self, run_ids: Sequence[RunId]) -> dict[RunId, datetime | None]:
        return {RunId(row[0]): row[1] for row in self._run_parts(_STARTS_OF, {}, run_ids)}

    @override
    def holder(self, flow_name: str, key: str) -> RunId | None:
        found = self._run(_HOLDER, {"p_flow": flow_name, "p_key": key}).scalar()
        return None if found is None else RunId(found)

    @override
    def pass_key_on(self, run_id: RunId, new: RunId, key: str) -> None:
        self._run(_MOVE_KEY.values(singleton_key=None), {"p_run": run_id})
        self._run(_MOVE_KEY.values(singleton_key=key), {"p_run": new})


def pending_run(row: Sequence[Any]) -> PendingRun:
    """Return the value of a row of a pending run."""
    left = timedelta(0) if row[4] is None else row[4] - row[5]
    return PendingRun(RunId(row[0]), row[1], row[2], row[3], left)

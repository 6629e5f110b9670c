"""The writes of an advance: queue, expand, end, decrement counters, cancel.

They change nodes without a lease: a pending step, or the node of a map. Each is guarded by the
state it comes from, like the writes of an attempt.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    Float,
    Integer,
    and_,
    bindparam,
    insert,
    or_,
    update,
)
from typing_extensions import override

from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.adapters.records.sql.many import insert_many
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import STEPS, Repository
from flowq.adapters.records.sql.types import DbNow, dump_json
from flowq.adapters.records.steps.stored import NODES
from flowq.core.ids import BatchId, RunId
from flowq.core.states import TERMINAL_STEP_STATES, StepState, step_sources
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import NewStep
from flowq.engine.ports.steps import AdvanceRows

_C = STEPS.c
_PENDING = _C.status == StepState.PENDING
_WAKE_AT = DbNow(bindparam("p_resend", type_=Float))
#: A running node without a lease is a map with open items.
_EXPANDED = and_(_C.status == StepState.RUNNING, _C.lease_token.is_(None), _C.map_index.is_(None))

_QUEUE = Prepared(
    update(STEPS)
    .where(NODES, _PENDING, _C.pending_dependencies == bindparam("p_open", type_=Integer))
    .values(
        status=StepState.QUEUED,
        batch_id=bindparam("p_batch"),
        pending_dependencies=0,
        wake_at=_WAKE_AT,
    )
    .returning(_C.step_key)
)

_RELEASE = Prepared(
    update(STEPS)
    .where(NODES)
    .values(pending_dependencies=_C.pending_dependencies - bindparam("p_count", type_=Integer))
    .returning(_C.step_key, _C.pending_dependencies, _C.status)
)

_EXPAND = Prepared(
    update(STEPS)
    .where(NODES, _PENDING)
    .values(
        status=StepState.RUNNING,
        map_size=bindparam("p_size"),
        batch_id=bindparam("p_batch"),
        started_at=DbNow(),
    )
)

#: What the items of all maps begin with.
_ITEM: Final[Mapping[str, Any]] = {
    "status": StepState.QUEUED,
    "created_at": DbNow(),
    "pending_dependencies": 0,
    "advanced": True,
}
#: Rows that are inserted together.
_BUNCH: Final = 2_000
_COMMON: Final = ("flow_run_id", "step_key", "batch_id", "share", "step_name", "step_order")
_INSERT_MANY = insert_many(
    STEPS,
    ["id", "map_index", "inputs"],
    {
        **{name: bindparam(f"p_{name}", type_=_C[name].type) for name in _COMMON},
        **_ITEM,
        "wake_at": _WAKE_AT,
    },
)

_ENDED_NODE = and_(
    _C.flow_run_id == bindparam("p_run"),
    _C.map_index.is_(None),
    _C.advanced.is_(False),
    _C.status.in_(tuple(TERMINAL_STEP_STATES)),
)
_MARK = update(STEPS).values(advanced=True).returning(_C.step_key, _C.status)
_ADVANCE_BATCH = Prepared(_MARK.where(_ENDED_NODE, _C.batch_id == bindparam("p_batch")))
_ADVANCE_KEYS = Prepared(_MARK.where(_ENDED_NODE, NODES))

_CANCEL = (
    update(STEPS)
    .where(_C.flow_run_id == bindparam("p_run"))
    .values(status=StepState.CANCELLED, completed_at=DbNow(), wake_at=None, advanced=True)
)
_UNHELD = _C.status.in_(tuple(step_sources(StepState.CANCELLED) - {StepState.RUNNING}))
#: A cancelled program, and its calls that clean up, have some time for that.
_SHIELD_IS_OVER = or_(_C.shielded_until.is_(None), _C.shielded_until <= DbNow())
_CANCEL_RUN = _CANCEL.where(or_(_UNHELD, _EXPANDED), _SHIELD_IS_OVER)
_ABANDON = _CANCEL.where(_C.status.not_in(tuple(TERMINAL_STEP_STATES))).values(
    lease_token=None, lease_expires_at=None
)
_CANCEL_ITEMS = _CANCEL.where(_UNHELD, _C.step_key == bindparam("p_key"), _C.map_index.is_not(None))


class AdvanceWrites(Repository, AdvanceRows):
    """The advances' part of `FlowStepRunRepo`."""

    @override
    def end_nodes(
        self,
        run_id: RunId,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        map_size: int | None = None,
        advanced: bool = True,
    ) -> list[str]:
        unheld = or_(_PENDING, _EXPANDED) if StepState.RUNNING in step_sources(state) else _PENDING
        query = update(STEPS).where(NODES, unheld).returning(_C.step_key)
        query = query.values(status=state, completed_at=DbNow(), wake_at=None, advanced=advanced)
        if reason is not None:
            query = query.values(error_type="StepError", error_message=reason)
        if map_size is not None:
            query = query.values(map_size=map_size)
        return [row[0] for row in self._run_parts(query, {"p_run": run_id}, keys)]

    @override
    def queue(
        self,
        run_id: RunId,
        batch: BatchId,
        keys: Sequence[str],
        resend_after: timedelta,
        *,
        ended: int = 0,
    ) -> list[str]:
        given = {
            "p_run": run_id,
            "p_batch": batch,
            "p_open": ended,
            "p_resend": resend_after.total_seconds(),
        }
        return [row[0] for row in self._run_parts(_QUEUE, given, keys)]

    @override
    def expand(
        self,
        run_id: RunId,
        key: str,
        items: Sequence[NewStep],
        batch: BatchId,
        resend_after: timedelta,
        *,
        reused: Mapping[int, ReusedStep] = MappingProxyType({}),
        share: str | None = None,
    ) -> bool:
        given = {"p_run": run_id, "p_keys": [key], "p_batch": batch, "p_size": len(items)}
        if not self._changes(_EXPAND, given):
            return False
        common = {"flow_run_id": run_id, "step_key": key, "batch_id": batch, "share": share}
        after = resend_after.total_seconds()
        for rows in _bunches(items, reused):
            first = rows[0][1]
            of_step = {**common, "step_name": first.name, "step_order": first.order}
            self._insert_items(of_step, rows, after)
        SqlReruns(self._within).insert_reused(run_id, list(reused.values()))
        return True

    def _insert_items(
        self, common: Mapping[str, Any], rows: Sequence[tuple[int, NewStep]], after: float
    ) -> None:
        """Insert items of a map, which are queued; on PostgreSQL in one statement for all."""
        if self._connection.dialect.name == "postgresql":
            given = {f"p_{name}": value for name, value in common.items()} | {
                "p_all_id": [item.id for _, item in rows],
                "p_all_map_index": [index for index, _ in rows],
                "p_all_inputs": [dump_json(item.inputs) for _, item in rows],
                "p_resend": after,
            }
            self._run(_INSERT_MANY, given)
            return
        same = {name: value for name, value in common.items() if value is not None}
        self._run(
            insert(STEPS).values(**same, **_ITEM, wake_at=DbNow(after)),
            [{"id": item.id, "map_index": index, "inputs": item.inputs} for index, item in rows],
        )

    @override
    def advance(
        self, run_id: RunId, batch: BatchId | None, keys: Sequence[str] | None = None
    ) -> dict[str, StepState]:
        if keys is None:
            rows = self._run(_ADVANCE_BATCH, {"p_run": run_id, "p_batch": batch})
        else:
            rows = self._run(_ADVANCE_KEYS, {"p_run": run_id, "p_keys": list(keys)})
        return {row[0]: StepState(row[1]) for row in rows}

    @override
    def release(self, run_id: RunId, counts: Mapping[str, int]) -> list[str]:
        by_count: dict[int, list[str]] = {}
        for key, count in counts.items():
            by_count.setdefault(count, []).append(key)
        free: list[str] = []
        for count, keys in sorted(by_count.items()):
            given: dict[str, Any] = {"p_run": run_id, "p_count": count}
            free += [
                row[0]
                for row in self._run_parts(_RELEASE, given, keys)
                if row[1] == 0 and row[2] == StepState.PENDING
            ]
        return free

    @override
    def abandon(self, run_id: RunId) -> int:
        return self._run(_ABANDON, {"p_run": run_id}).rowcount

    @override
    def cancel_open(self, run_id: RunId, key: str | None = None) -> int:
        if key is None:
            return self._run(_CANCEL_RUN, {"p_run": run_id}).rowcount
        return self._run(_CANCEL_ITEMS, {"p_run": run_id, "p_key": key}).rowcount


def _bunches(
    items: Sequence[NewStep], reused: Mapping[int, ReusedStep]
) -> Iterator[list[tuple[int, NewStep]]]:
    """Yield the items that are not reused with their indices, some at a time."""
    new = ((index, item) for index, item in enumerate(items) if index not in reused)
    while rows := list(islice(new, _BUNCH)):
        yield rows

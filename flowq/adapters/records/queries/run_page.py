"""The data of a run's page: sums in SQL, and rows page by page.

A run may have ten thousand items, and its page is read often. So items are counted by the database,
listed by keyset over the index of nodes, and only the columns that are shown are read.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from typing_extensions import override

from flowq.adapters.records.queries.run_steps import COST, SAVED_COST, RunStepReads
from flowq.adapters.records.runs.views import view
from flowq.adapters.records.sql.repository import METERS, RUNS, STEPS
from flowq.adapters.records.sql.types import json_text
from flowq.core.ids import RunId, StepRunId, ids_of_same_moment
from flowq.core.limits.budgets import run_meter
from flowq.core.references import LITERAL
from flowq.core.spec import StepKind
from flowq.core.states import DONE_STEP_STATES, RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import RunView
from flowq.engine.queries.run_page import RunLink, RunOrigin, RunPage, SignalWait

_C, _R, _M = STEPS.c, RUNS.c, METERS.c
_LINKS: Final = 10
_WAITS: Final = 10
_IS_NODE: Final = _C.map_index.is_(None)
#: Items of a map are counted, not its node.
_IS_LEAF: Final = _C.map_size.is_(None)


class RunPageReads(RunStepReads):
    """Implements `flowq.engine.queries.port.RunPages`."""

    @override
    def run_page(self, run_id: RunId) -> RunPage | None:
        recorded = view(self._connection, run_id, steps=False)
        if recorded is None:
            return None
        children, count = self._children(run_id)
        spent, warned_at = self._spent(run_id)
        return RunPage(
            **self._as_it_is_now(recorded),
            spent=None if recorded.budget is None else spent,
            warned_at=warned_at,
            parent=None if recorded.parent is None else self._parent(recorded.parent),
            children=children,
            child_count=count,
            takes_signals=self._is_program(run_id),
            waits=() if recorded.completed_at is not None else self._waits(run_id),
            origin=self._origin(run_id),
        )

    # --- parts of the head -----------------------------------------------------------------------

    def _as_it_is_now(self, run: RunView) -> dict[str, Any]:
        """Sum the rows of a run: the totals in its own row may be old."""
        query = (
            select(
                _C.status,
                func.count().filter(_IS_LEAF),
                func.sum(_C.tokens_used),
                COST,
                func.count(_C.cached_from),
                func.coalesce(func.sum(_C.saved_tokens), 0),
                SAVED_COST,
                func.sum(_C.unpriced_calls),
            )
            .where(_C.flow_run_id == run.id)
            .group_by(_C.status)
        )
        rows = self._run(query).all()
        states = {StepState(row[0]): row[1] for row in rows if row[1]}
        used = sum((Usage(int(row[2]), row[3], int(row[7])) for row in rows), Usage())
        summed = replace(
            run,
            total=sum(states.values()),
            done=sum(states.get(state, 0) for state in DONE_STEP_STATES),
            tokens=used.tokens,
            cost=used.cost,
            unpriced=used.unpriced,
        )
        return {
            "run": summed,
            "states": states,
            "hits": sum(row[4] for row in rows),
            "saved": sum((Usage(int(row[5]), row[6]) for row in rows), Usage()),
        }

    def _origin(self, run_id: RunId) -> RunOrigin:
        query = select(_R.execution_mode, _R.flow_metadata, _R.idempotency_key, _R.deadline)
        mode, metadata, key, deadline = self._run(query.where(_R.id == run_id)).one()
        return RunOrigin(mode, metadata if isinstance(metadata, dict) else {}, key, deadline)

    def _is_program(self, run_id: RunId) -> bool:
        """Return whether the run has the row of a program."""
        query = select(_C.id).where(
            _C.flow_run_id == run_id, _IS_NODE, _C.spec.is_(None), _C.observed.is_not(None)
        )
        return self._run(query.limit(1)).first() is not None

    def _spent(self, run_id: RunId) -> tuple[Usage, datetime | None]:
        query = select(_M.used, _M.cost, _M.warned_at).where(_M.key == run_meter(run_id))
        row = self._run(query).first()
        return (Usage(), None) if row is None else (Usage(int(row[0]), row[1]), row[2])

    def _parent(self, step_id: StepRunId) -> RunLink | None:
        query = (
            select(_R.id, _R.flow_name, _R.status, _C.step_key)
            .join_from(STEPS, RUNS, _R.id == _C.flow_run_id)
            .where(_C.id == step_id)
        )
        row = self._run(query).first()
        return None if row is None else _link(row)

    def _children(self, run_id: RunId) -> tuple[tuple[RunLink, ...], int]:
        """Return the first child runs: their ids have the time of this one's, see `core.ids`."""
        query = (
            select(_R.id, _R.flow_name, _R.status, _C.step_key, func.count().over())
            .join(STEPS, _C.id == _R.parent_step_run_id)
            .where(
                _R.id.between(*ids_of_same_moment(run_id)),
                _C.flow_run_id == run_id,
            )
            .order_by(_R.created_at, _C.step_order, _C.map_index)
            .limit(_LINKS)
        )
        rows = self._run(query).all()
        return tuple(_link(row) for row in rows), rows[0][4] if rows else 0

    def _waits(self, run_id: RunId) -> tuple[SignalWait, ...]:
        query = (
            select(_C.step_key, _C.step_name, _C.created_at, _C.wake_at, _C.inputs)
            .where(
                _C.flow_run_id == run_id,
                _C.spec.is_not(None),
                _C.status == StepState.WAITING,
                json_text(_C.spec, "kind") == StepKind.SIGNAL,
            )
            .order_by(_C.step_order)
            .limit(_WAITS)
        )
        return tuple(
            SignalWait(row[0], row[1], row[2], row[3], _schema(row[4])) for row in self._run(query)
        )


def _schema(wanted: Any) -> Any:
    """Return the schema of a wait's message, see `engine.runs.signals`."""
    return ((wanted or {}).get("schema") or {}).get(LITERAL)


def _link(row: Sequence[Any]) -> RunLink:
    return RunLink(RunId(row[0]), row[1], RunState(row[2]), row[3])

"""What the open steps of runs wait for, as far as rows show: a few reads, bounded in size."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from typing_extensions import override

from flowq.adapters.records.limits.shares import IN_LINE
from flowq.adapters.records.sql.reading import shown_kind
from flowq.adapters.records.sql.repository import RUNS, SLOTS, STEPS, WAITS, Repository
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.ids import RunId
from flowq.core.references import LITERAL
from flowq.core.spec import StepKind
from flowq.core.states import OPEN_RUN_STATES, TERMINAL_STEP_STATES, RunState, StepState, StopKind
from flowq.engine.model.waits import (
    Holder,
    LimitWait,
    OpenStep,
    OpenSteps,
    QueuedSteps,
    WaitingSteps,
)
from flowq.engine.queries.port import Waits

_C, _R, _W, _S = STEPS.c, RUNS.c, WAITS.c, SLOTS.c
_NOW: Final = DbNow()
_MAX_ROWS: Final = 200
_MAX_LIMITS: Final = 10
_MAX_HOLDERS: Final = 3
_MAX_NAMES: Final = 50
#: Steps that could continue; the others wait for them.
_OPEN: Final = tuple(frozenset(StepState) - TERMINAL_STEP_STATES - {StepState.PENDING})
#: The node of a map with open items: the items have the reasons.
_IS_EXPANDED: Final = and_(_C.map_index.is_(None), _C.map_size.is_not(None))


#: Steps that a worker runs.
_LEASED: Final = STEPS.alias("leased")
#: A program waits for its calls, which are rows too.
_IS_PROGRAM: Final = and_(_C.spec.is_(None), _C.observed.is_not(None))
#: The share in whose line a step is, so that it is not sent.
_LINE_OF: Final = case((and_(_C.status == StepState.QUEUED, IN_LINE), _C.share))


def is_waiting(run_id: Any, status: Any) -> ColumnElement[bool]:
    """Return the condition of open runs without a running step."""
    at_work = exists().where(
        _LEASED.c.flow_run_id == run_id,
        _LEASED.c.status == StepState.RUNNING,
        _LEASED.c.lease_token.is_not(None),
    )
    return and_(status.in_(tuple(OPEN_RUN_STATES)), ~at_work)


class WaitReads(Repository, Waits):
    """Implements `flowq.engine.queries.port.Waits`."""

    @override
    def open_steps(self, run_id: RunId) -> OpenSteps | None:
        columns = (_NOW, _R.flow_name, _R.status, _R.error_message, _R.stop_kind)
        head = select(*columns).where(_R.id == run_id)
        run = self._run(head).first()
        if run is None:
            return None
        nodes, items = self._open_nodes(run_id), self._open_items(run_id)
        return OpenSteps(
            run[0],
            run[1],
            RunState(run[2]),
            run[3],
            StopKind(run[4]) if run[4] else None,
            (*nodes[:_MAX_ROWS], *items),
            self._limits(run_id),
            cut=len(nodes) > _MAX_ROWS,
        )

    @override
    def waiting_steps(self, run_ids: Sequence[RunId]) -> list[WaitingSteps]:
        kind = json_text(_C.spec, "kind")
        query = (
            select(
                _C.flow_run_id,
                _C.status,
                kind,
                func.min(_C.step_name),
                func.min(_C.wake_at),
                func.count(),
                func.count(_LINE_OF) == func.count(),
            )
            .join(RUNS, _R.id == _C.flow_run_id)
            .where(
                _C.flow_run_id.in_(run_ids),
                is_waiting(_R.id, _R.status),
                _C.status.in_(_OPEN),
                ~_IS_EXPANDED,
                ~and_(_IS_PROGRAM, _C.status == StepState.WAITING),
            )
            .group_by(_C.flow_run_id, _C.status, kind)
        )
        return [
            WaitingSteps(
                RunId(row[0]), StepState(row[1]), shown_kind(row[2]) if row[2] else None, *row[3:]
            )
            for row in self._run(query)
        ]

    @override
    def ended_at(self, run_id: RunId, keys: Sequence[str]) -> dict[str, datetime]:
        query = select(_C.step_key, _C.completed_at).where(
            _C.flow_run_id == run_id,
            _C.step_key.in_(keys),
            _C.map_index.is_(None),
            _C.completed_at.is_not(None),
        )
        return {row[0]: row[1] for row in self._run(query)}

    @override
    def queued_steps(self) -> list[QueuedSteps]:
        chosen = (
            select(
                _C.step_name.label("name"),
                func.count().label("steps"),
                func.count(_C.flow_run_id.distinct()).label("runs"),
                # PostgreSQL has no max() of UUIDs before its version 18.
                func.min(_C.created_at).label("since"),
            )
            .join(RUNS, _R.id == _C.flow_run_id)
            .where(_C.status == StepState.QUEUED, _R.status == RunState.RUNNING)
            .group_by(_C.step_name)
            .order_by(func.count().desc())
            .limit(_MAX_NAMES)
        )
        return [self._sampled(*row) for row in self._run(chosen).all()]

    def _sampled(self, name: str, steps: int, runs: int, since: datetime) -> QueuedSteps:
        one = (
            select(_C.flow_run_id, _C.step_key)
            .join(RUNS, _R.id == _C.flow_run_id)
            .where(
                _C.step_name == name,
                _C.status == StepState.QUEUED,
                _R.status == RunState.RUNNING,
            )
            .limit(1)
        )
        row = self._run(one).one()
        return QueuedSteps(name, steps, runs, RunId(row[0]), row[1], since)

    # --- parts -----------------------------------------------------------------------------------

    def _open_nodes(self, run_id: RunId) -> list[OpenStep]:
        query = (
            select(
                _C.step_key,
                _C.step_name,
                _C.status,
                _C.created_at,
                _C.attempt,
                _C.wake_at,
                _C.lease_expires_at,
                _C.worker,
                _C.error_type,
                json_text(_C.spec, "kind"),
                json_text(_C.spec, "queue"),
                json_text(_C.spec, "shadow"),
                _C.spec.is_not(None),
                _C.inputs,
                _LINE_OF,
            )
            .where(
                _C.flow_run_id == run_id,
                _C.map_index.is_(None),
                _C.status.in_(_OPEN),
                ~_IS_EXPANDED,
            )
            .order_by(_C.step_order)
            .limit(_MAX_ROWS + 1)
        )
        return [_node(row) for row in self._run(query)]

    def _open_items(self, run_id: RunId) -> list[OpenStep]:
        # Steps that wait in a line have reasons of their own.
        query = (
            select(
                _C.step_key,
                func.min(_C.step_name),
                _C.status,
                func.min(_C.map_index),
                func.count(),
                func.min(_C.created_at),
                func.max(_C.attempt),
                func.min(_C.wake_at),
                func.min(_C.lease_expires_at),
                func.min(_C.worker),
                func.max(_C.error_type),
                _LINE_OF,
            )
            .where(
                _C.flow_run_id == run_id,
                _C.map_index.is_not(None),
                _C.status.in_(_OPEN),
                or_(_C.status != StepState.QUEUED, ~_in_line()),
            )
            .group_by(_C.step_key, _C.status, _LINE_OF)
            .order_by(func.min(_C.step_order), _C.status)
            .limit(_MAX_ROWS)
        )
        return [
            replace(OpenStep(row[0], row[1], StepState(row[2]), *row[3:-1]), share=row[-1])
            for row in self._run(query).all()
        ]

    def _limits(self, run_id: RunId) -> tuple[LimitWait, ...]:
        query = (
            select(
                _C.step_key,
                _W.key,
                func.max(_W.slots),
                func.max(_W.per_seconds),
                func.count(),
                func.min(_W.since),
                func.min(_W.turn_at),
            )
            .join_from(WAITS, STEPS, _C.id == _W.step_run_id)
            .where(_C.flow_run_id == run_id, _C.status == StepState.QUEUED)
            .group_by(_C.step_key, _W.key)
            .order_by(func.min(_W.since))
            .limit(_MAX_LIMITS)
        )
        return tuple(self._limit(row) for row in self._run(query).all())

    def _limit(self, row: Sequence[Any]) -> LimitWait:
        step, limit, slots, per, count, since, turn_at = row
        line = select(func.count(), func.count().filter(_W.since < since)).where(_W.key == limit)
        total, before = self._run(line).one()
        holders = (
            select(_R.id, _R.flow_name, _C.step_key, _C.map_index, _C.worker)
            .join_from(SLOTS, STEPS, _C.id == _S.step_run_id)
            .join(RUNS, _R.id == _C.flow_run_id)
            .where(_S.key == limit, _S.token.is_not(None))
            .order_by(_S.number)
            .limit(_MAX_HOLDERS)
        )
        return LimitWait(
            key=step,
            limit=limit,
            slots=slots,
            per=None if per is None else timedelta(seconds=per),
            count=count,
            place=before + 1,
            line=total,
            since=since,
            turn_at=turn_at,
            holders=tuple(Holder(RunId(one[0]), *one[1:]) for one in self._run(holders)),
        )


def _in_line() -> Any:
    return select(_W.step_run_id).where(_W.step_run_id == _C.id).exists()


def _node(row: Sequence[Any]) -> OpenStep:
    kind, queue, shadow, is_called, inputs, share = row[9:]
    found = shown_kind(kind) if is_called else None
    wait = inputs if isinstance(inputs, dict) else {}
    wanted = wait.get("schema") if found is StepKind.SIGNAL else None
    return OpenStep(
        row[0],
        row[1],
        StepState(row[2]),
        None,
        1,
        since=row[3],
        attempt=row[4],
        wake_at=row[5],
        lease_until=row[6],
        worker=row[7],
        error_type=row[8],
        kind=found,
        queue=queue if is_called else None,
        shadow=shadow if is_called else None,
        wanted=wanted.get(LITERAL) if isinstance(wanted, dict) else None,
        share=share,
    )

"""The step runs repository: every change that an attempt or an advance makes, as guarded UPDATEs.

The WHERE of each UPDATE is its whole guard: the state it comes from and, for the writes of an attempt,
the lease token. So each may be sent by anyone, at any time, twice at once: one of them changes the row,
the others see a rowcount of zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from flowq.adapters.records.models import FlowRun, FlowStepRun
from flowq.adapters.records.payloads import copy_to_json
from flowq.adapters.records.step_reads import StepReads
from flowq.adapters.records.types import DbNow
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId
from flowq.core.states import (
    ACTIVE_STEP_STATES,
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
    step_sources,
)
from flowq.engine.rows import Claim, NewStep, Outcome

_RUNS = FlowRun.__table__
_STEPS = FlowStepRun.__table__
_C = _STEPS.c
_OPEN = tuple(ACTIVE_STEP_STATES)
_ENDED = tuple(TERMINAL_STEP_STATES)
_NODE = _C.map_index.is_(None)
#: A due message may be a moment early by the database's clock; it is not worth losing.
_EARLY = 1.0


class FlowStepRunRepo(StepReads):
    """Reads and writes `flow_step_runs` within the session it is given; never commits."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)

    # --- attempts --------------------------------------------------------------------------------

    def claim(
        self, step_id: StepRunId, *, token: LeaseToken, lease: timedelta, worker: str
    ) -> Claim | None:
        """Take one attempt of a queued, or due retrying, step of a running run."""
        due = and_(_C.status == StepState.RETRYING, _C.wake_at <= DbNow(_EARLY))
        runs = exists().where(_RUNS.c.id == _C.flow_run_id, _RUNS.c.status == RunState.RUNNING)
        query = (
            update(_STEPS)
            .where(_C.id == step_id, or_(_C.status == StepState.QUEUED, due), runs)
            .values(
                status=StepState.RUNNING,
                attempt=_C.attempt + 1,
                lease_token=token,
                lease_expires_at=DbNow(lease.total_seconds()),
                started_at=DbNow(),
                wake_at=None,
                worker=worker,
            )
            .returning(
                _C.flow_run_id, _C.step_key, _C.map_index, _C.attempt, _C.recoveries, _C.inputs
            )
        )
        row = self._session.execute(query).first()
        if row is None:
            return None
        return Claim(step_id, RunId(row[0]), row[1], row[2], row[3], row[4], token, row[5])

    def renew(self, tokens: Sequence[LeaseToken], lease: timedelta) -> set[LeaseToken]:
        """Extend leases in one statement; returns those that still hold."""
        query = (
            update(_STEPS)
            .where(_C.status == StepState.RUNNING, _C.lease_token.in_(tokens))
            .values(lease_expires_at=DbNow(lease.total_seconds()))
            .returning(_C.lease_token)
        )
        return {LeaseToken(row[0]) for row in self._session.execute(query)}

    def complete(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `completed`, if the lease still holds."""
        return self._end_attempt(claim, StepState.COMPLETED, outcome, advanced=advanced)

    def fail(self, claim: Claim, outcome: Outcome, *, advanced: bool) -> bool:
        """`running` → `failed`, if the lease still holds."""
        return self._end_attempt(claim, StepState.FAILED, outcome, advanced=advanced)

    def retry(self, claim: Claim, outcome: Outcome, delay: timedelta) -> bool:
        """`running` → `retrying` until `delay` from now, if the lease still holds."""
        wake_at = DbNow(delay.total_seconds())
        return self._leave(claim, StepState.RETRYING, **_outcome(outcome), wake_at=wake_at)

    def wait(self, claim: Claim) -> bool:
        """`running` → `waiting` for a child run, if the lease still holds."""
        return self._leave(claim, StepState.WAITING)

    def end_waiting(self, step_id: StepRunId, state: StepState, outcome: Outcome) -> bool:
        """`waiting` → `completed` or `failed`; False when it is not waiting."""
        query = update(_STEPS).where(_C.id == step_id, _C.status == StepState.WAITING)
        values = {**_outcome(outcome), "status": state, "completed_at": DbNow()}
        return self._changed(query.values(values))

    def _end_attempt(
        self, claim: Claim, to: StepState, outcome: Outcome, *, advanced: bool
    ) -> bool:
        # An item of a map gates nothing but its map, so there is never anything to advance for it.
        values: dict[str, Any] = {} if claim.map_index is not None else {"advanced": advanced}
        return self._leave(claim, to, **_outcome(outcome), **values, completed_at=DbNow())

    def _leave(self, claim: Claim, to: StepState, **values: Any) -> bool:
        query = update(_STEPS).where(
            _C.id == claim.id, _C.lease_token == claim.token, _C.status == StepState.RUNNING
        )
        return self._changed(
            query.values(status=to, lease_token=None, lease_expires_at=None, **values)
        )

    # --- advance ---------------------------------------------------------------------------------

    def settle(
        self,
        run_id: RunId,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        map_size: int | None = None,
    ) -> list[str]:
        """End nodes that need no attempt; returns the keys that this call has ended."""
        sources = tuple(step_sources(state) & {StepState.PENDING, StepState.RUNNING})
        # A running node without a lease is an expanded map; one with a lease belongs to its worker.
        query = (
            update(_STEPS)
            .where(*_nodes(run_id, keys), _C.status.in_(sources), _C.lease_token.is_(None))
            .values(status=state, completed_at=DbNow(), advanced=True)
            .returning(_C.step_key)
        )
        if reason is not None:
            query = query.values(error_type="StepError", error_message=reason)
        if map_size is not None:
            query = query.values(map_size=map_size)
        return [row[0] for row in self._session.execute(query)]

    def queue(
        self, run_id: RunId, batch: BatchId, keys: Sequence[str], resend_after: timedelta
    ) -> list[str]:
        """`pending` → `queued` for nodes without open dependencies; returns the keys it queued."""
        query = (
            update(_STEPS)
            .where(
                *_nodes(run_id, keys),
                _C.status == StepState.PENDING,
                _C.pending_dependencies == 0,
            )
            .values(
                status=StepState.QUEUED,
                batch_id=batch,
                wake_at=DbNow(resend_after.total_seconds()),
            )
            .returning(_C.step_key)
        )
        return [row[0] for row in self._session.execute(query)]

    def expand(
        self,
        run_id: RunId,
        key: str,
        items: Sequence[NewStep],
        batch: BatchId,
        resend_after: timedelta,
    ) -> bool:
        """Turn a pending map into `running` and insert its items as `queued`."""
        node = update(_STEPS).where(*_nodes(run_id, [key]), _C.status == StepState.PENDING)
        if not self._changed(
            node.values(
                status=StepState.RUNNING,
                map_size=len(items),
                batch_id=batch,
                started_at=DbNow(),
            )
        ):
            return False
        if items:
            constant = insert(_STEPS).values(
                flow_run_id=run_id,
                step_key=key,
                status=StepState.QUEUED,
                created_at=DbNow(),
                wake_at=DbNow(resend_after.total_seconds()),
                batch_id=batch,
                pending_dependencies=0,
                advanced=True,
            )
            rows = [
                {
                    "id": item.id,
                    "step_name": item.name,
                    "step_order": item.order,
                    "map_index": index,
                    "inputs": item.inputs,
                }
                for index, item in enumerate(items)
            ]
            self._session.execute(constant, rows)
        return True

    def advance(
        self, run_id: RunId, batch: BatchId | None, keys: Sequence[str] | None = None
    ) -> dict[str, StepState]:
        """Mark ended nodes, of a batch or by key, as advanced; returns those this call marked."""
        which = _C.batch_id == batch if keys is None else _C.step_key.in_(keys)
        query = (
            update(_STEPS)
            .where(
                _C.flow_run_id == run_id,
                _C.advanced.is_(False),
                _C.status.in_(_ENDED),
                which,
                _NODE,
            )
            .values(advanced=True)
            .returning(_C.step_key, _C.status)
        )
        return {row[0]: StepState(row[1]) for row in self._session.execute(query)}

    def release(self, run_id: RunId, counts: Mapping[str, int]) -> list[str]:
        """Count ended dependencies down; returns pending steps that now wait for nothing."""
        by_count: dict[int, list[str]] = {}
        for key, count in counts.items():
            by_count.setdefault(count, []).append(key)
        free: list[str] = []
        for count, keys in sorted(by_count.items()):
            query = (
                update(_STEPS)
                .where(*_nodes(run_id, keys))
                .values(pending_dependencies=_C.pending_dependencies - count)
                .returning(_C.step_key, _C.pending_dependencies, _C.status)
            )
            free += [
                row[0]
                for row in self._session.execute(query)
                if row[1] == 0 and row[2] == StepState.PENDING
            ]
        return free

    def cancel_open(self, run_id: RunId, key: str | None = None) -> int:
        """Cancel every step of a run, or every item of one map, that no worker holds."""
        sources = tuple(step_sources(StepState.CANCELLED) - {StepState.RUNNING})
        query = update(_STEPS).where(_C.flow_run_id == run_id)
        if key is None:
            expanded = and_(_C.status == StepState.RUNNING, _C.lease_token.is_(None))
            query = query.where(or_(_C.status.in_(sources), and_(_NODE, expanded)))
        else:
            query = query.where(_C.status.in_(sources), _C.step_key == key, _C.map_index >= 0)
        values = {"status": StepState.CANCELLED, "completed_at": DbNow(), "wake_at": None}
        result = self._session.execute(query.values({**values, "advanced": True}))
        return int(result.rowcount)  # type: ignore[attr-defined]

    def _changed(self, query: Any) -> bool:
        return bool(self._session.execute(query).rowcount)  # type: ignore[attr-defined]


def _nodes(run_id: UUID, keys: Iterable[str]) -> tuple[ColumnElement[bool], ...]:
    return _C.flow_run_id == run_id, _C.step_key.in_(list(keys)), _NODE


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """Return the columns that an attempt leaves, adding what it used to what was used before."""
    values: dict[str, Any] = {
        "execution_time_ms": outcome.execution_time_ms,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message
        and outcome.error_message.replace("\0", "\N{SYMBOL FOR NULL}"),
    }
    if outcome.usage.tokens or outcome.usage.cost:
        values["tokens_used"] = _C.tokens_used + outcome.usage.tokens
        values["cost_estimate"] = _C.cost_estimate + outcome.usage.cost
    if outcome.metadata is not None:
        values["step_metadata"] = outcome.metadata
    if outcome.result is not None:
        values["result"] = outcome.result.model_dump(mode="json", exclude_defaults=True)
        if outcome.copy is not None:
            values["outputs"] = copy_to_json(outcome.result.codec, outcome.copy)
    return values

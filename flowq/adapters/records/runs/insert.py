"""The inserting part of the runs repository.

A run whose id or idempotency key may be taken is inserted with `ON CONFLICT DO NOTHING`: the second
insert waits for the end of the first one's transaction.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Float, Text, bindparam, cast, func, insert, select
from sqlalchemy.orm import Session
from typing_extensions import override

from flowq.adapters.records.control.actions import SqlActions
from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.adapters.records.sql.many import in_columns, insert_many
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository, by_dialect
from flowq.adapters.records.sql.types import DbNow, EncodedJson, dump_json
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.core.limits.queueing import QueueingSpec
from flowq.core.limits.shares import place_in_line
from flowq.core.states import RunState, StepState
from flowq.engine.model.reruns import NewRerun
from flowq.engine.model.rows import NewRun
from flowq.engine.ports.runs import RunRows

_NEW_RUN: Final[dict[str, Any]] = {
    "status": RunState.RUNNING,
    "created_at": DbNow(),
    "started_at": DbNow(),
    "deadline": func.coalesce(
        bindparam("p_deadline", type_=RUNS.c.deadline.type),
        DbNow(bindparam("p_deadline_in", type_=Float)),
    ),
}
_INSERT_RUN = insert(RUNS).values(**_NEW_RUN)
_INSERT_UNLESS_THERE: Final = by_dialect(
    RUNS, lambda new: new.values(**_NEW_RUN).on_conflict_do_nothing().returning(RUNS.c.id)
)
#: A run that begins later.
_INSERT_PENDING: Final = by_dialect(
    RUNS,
    lambda new: (
        new.values(
            **{
                **_NEW_RUN,
                "status": RunState.PENDING,
                "started_at": None,
                "starts_at": func.coalesce(
                    bindparam("p_starts", type_=RUNS.c.starts_at.type),
                    DbNow(bindparam("p_starts_in", type_=Float)),
                ),
            }
        )
        .on_conflict_do_nothing()
        .returning(RUNS.c.id)
    ),
)
_INSERT_STEPS = insert(STEPS).values(
    created_at=DbNow(), wake_at=DbNow(bindparam("p_resend", type_=Float))
)
#: The same on PostgreSQL.
_INSERT_MANY_STEPS = insert_many(
    STEPS,
    [
        *("id", "flow_run_id", "step_key", "step_name", "step_order", "pending_dependencies"),
        *("inputs", "observed", "status", "batch_id", "share"),
    ],
    {"created_at": DbNow()},
    later=["wake_at"],
)

_WITH_KEYS = Prepared(
    select(RUNS.c.idempotency_key, RUNS.c.id, cast(RUNS.c.inputs, Text)).where(
        RUNS.c.flow_name == bindparam("p_flow"),
        RUNS.c.idempotency_key.in_(bindparam("p_keys", expanding=True)),
    )
)
_AMONG = Prepared(select(RUNS.c.id).where(RUNS.c.id.in_(bindparam("p_keys", expanding=True))))


class RunInserts(Repository, RunRows):
    """The inserting part of `FlowRunRepo`."""

    @override
    def insert(self, runs: Sequence[NewRun], resend_after: timedelta) -> set[RunId]:
        """Insert runs; of transactions with the same key, all but the first wait for its end."""
        certain = [
            run for run in runs if run.is_new and run.idempotency_key is None and not run.waits
        ]
        if certain:
            self._run(_INSERT_RUN, [self._run_row(run) for run in certain])
        inserted = {run.id for run in certain}
        dialect = self._connection.dialect.name
        for run in runs:
            if run.id in inserted:
                continue
            unless_there = (_INSERT_PENDING if run.waits else _INSERT_UNLESS_THERE)[dialect]
            row = {**self._run_row(run), **(_waiting_row(run) if run.waits else {})}
            if self._run(unless_there, row).first():
                inserted.add(run.id)
        ours = [run for run in runs if run.id in inserted]
        if steps := [row for run in ours for row in _step_rows(run, resend_after)]:
            self._insert_steps(steps)
        for run in runs:
            if run.rerun is not None and run.id in inserted:
                self._insert_reused(run.id, run.rerun)
        return inserted

    def _insert_steps(self, rows: Sequence[Mapping[str, Any]]) -> None:
        # The driver of a caller's session may take no arrays.
        if isinstance(self._within, Session) or self._connection.dialect.name != "postgresql":
            self._run(_INSERT_STEPS, [_in_seconds(row) for row in rows])
            return
        given = in_columns(rows)
        given["p_all_inputs"] = [dump_json(inputs) for inputs in given["p_all_inputs"]]
        self._run(_INSERT_MANY_STEPS, given)

    def _insert_reused(self, run_id: RunId, rerun: NewRerun) -> None:
        reruns = SqlReruns(self._within)
        if not reruns.keep(rerun.of):
            raise RunNotFound.of(rerun.of)
        reruns.insert_reused(run_id, rerun.rows)
        if rerun.action is not None:
            SqlActions(self._within).insert(rerun.action)

    @override
    def with_keys(
        self, flow_name: str, keys: Sequence[str]
    ) -> dict[str, tuple[RunId, Mapping[str, Any]]]:
        rows = self._run_parts(_WITH_KEYS, {"p_flow": flow_name}, keys)
        return {row[0]: (RunId(row[1]), json.loads(row[2])) for row in rows}

    @override
    def among(self, run_ids: Sequence[RunId]) -> set[RunId]:
        return {RunId(row[0]) for row in self._run_parts(_AMONG, {}, run_ids)}

    def _run_row(self, run: NewRun) -> Mapping[str, Any]:
        # The engine of a caller's session may serialise JSON differently.
        spec: Any = run.spec.to_json()
        if not isinstance(self._within, Session):
            spec = EncodedJson(run.spec.model_dump_json(exclude_defaults=True).encode())
        return {
            "id": run.id,
            "flow_name": run.flow_name,
            "user_id": run.user_id,
            "execution_mode": run.mode,
            "inputs": run.inputs,
            "flow_metadata": run.metadata or None,
            "spec": spec,
            "parent_step_run_id": run.parent,
            "document_id": run.document_id,
            "priority": run.priority,
            "schedule_name": run.schedule,
            "rerun_of": run.rerun.of if run.rerun else None,
            "total_steps": len(run.steps) + (len(run.rerun.rows) if run.rerun else 0),
            "idempotency_key": run.idempotency_key,
            "budget_usd": run.budget.usd if run.budget else None,
            "budget_tokens": run.budget.tokens if run.budget else None,
            "budget_action": run.budget.action if run.budget else None,
            **_moments("p_deadline", run.deadline),
        }


def _waiting_row(run: NewRun) -> Mapping[str, Any]:
    queueing = run.spec.queueing or QueueingSpec()
    return {
        "singleton_key": queueing.singleton_key if queueing.singleton is not None else None,
        "debounce_key": queueing.debounce_key if queueing.debounce is not None else None,
        **_moments("p_starts", run.starts),
    }


def _moments(name: str, given: datetime | timedelta | None) -> Mapping[str, Any]:
    """Return the parameters for a time that is given, or that counts by the database's clock."""
    after = given.total_seconds() if isinstance(given, timedelta) else None
    return {name: given if isinstance(given, datetime) else None, f"{name}_in": after}


def _step_rows(run: NewRun, resend_after: timedelta) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of the steps of a run; if it has a share, the queued ones are in its lines."""
    # This time is used only while a step is queued.
    share = run.spec.share
    look = resend_after if share is None else place_in_line(run.priority)
    for step in run.steps:
        yield {
            "id": step.id,
            "flow_run_id": run.id,
            "step_key": step.key,
            "step_name": step.name,
            "step_order": step.order,
            "pending_dependencies": step.pending,
            "inputs": step.inputs,
            "observed": step.observed,
            "status": StepState.QUEUED if step.batch else StepState.PENDING,
            "batch_id": step.batch,
            "share": share,
            "wake_at": look.total_seconds(),
        }


def _in_seconds(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row as parameters of `_INSERT_STEPS`."""
    others = {name: value for name, value in row.items() if name != "wake_at"}
    return {**others, "p_resend": row["wake_at"]}

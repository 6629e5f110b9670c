"""The runs repository: reads for people, guarded updates for the engine.

Each change of state is one UPDATE whose WHERE lists the states it may come from, taken from the table
in `flowq.core.states`; a rowcount of zero means that someone else was there first.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Text, and_, cast, func, insert, select, update
from sqlalchemy.orm import Session

from flowq.adapters.records.models import FlowRun, FlowStepRun
from flowq.adapters.records.types import DbNow, EncodedJson
from flowq.adapters.records.views import listed, view
from flowq.core.ids import RunId, StepRunId
from flowq.core.spec import FlowSpec
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState, run_sources
from flowq.engine.rows import Definition, NewRun, RunView

_RUNS = FlowRun.__table__
_STEPS = FlowStepRun.__table__
_DIGITS = 32
_DONE = (StepState.COMPLETED, StepState.SKIPPED)


class FlowRunRepo:
    """Reads and writes `flow_runs` within the session it is given; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- for people ------------------------------------------------------------------------------

    def by_id(self, run_id: UUID) -> FlowRun | None:
        """Return a run."""
        return self._session.get(FlowRun, run_id)

    def by_user_id(self, user_id: str, *, limit: int = 50, offset: int = 0) -> Sequence[FlowRun]:
        """Return a user's runs, newest first."""
        return self._newest(FlowRun.user_id == user_id, limit, offset)

    def by_status(
        self, status: RunState, *, limit: int = 100, offset: int = 0
    ) -> Sequence[FlowRun]:
        """Return the runs in a state, newest first."""
        return self._newest(FlowRun.status == status, limit, offset)

    def by_flow_name(self, name: str, *, limit: int = 50, offset: int = 0) -> Sequence[FlowRun]:
        """Return the runs of a flow, newest first."""
        return self._newest(FlowRun.flow_name == name, limit, offset)

    def newest(self, *, limit: int = 50, offset: int = 0) -> Sequence[FlowRun]:
        """Return the newest runs."""
        return self._newest(None, limit, offset)

    def find(self, text: str) -> list[tuple[RunId, str]]:
        """Return runs whose id begins with `text`, three at most, with the names of their flows."""
        digits = text.replace("-", "").lower()
        if not digits or len(digits) > _DIGITS or set(digits) - set("0123456789abcdef"):
            return []
        low, high = UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))
        rows = self._newest(FlowRun.id.between(low, high), 3, 0)
        return [(RunId(row.id), row.flow_name) for row in rows]

    def view(self, run_id: RunId) -> RunView | None:
        """Return a run with its steps as they stand now."""
        return view(self._session, run_id)

    def views(
        self, *, status: RunState | None = None, flow_name: str | None = None, limit: int = 50
    ) -> list[RunView]:
        """Return the newest runs, without their steps."""
        where = [FlowRun.status == status] if status else []
        where += [FlowRun.flow_name == flow_name] if flow_name else []
        return listed(self._newest(and_(True, *where), limit, 0))

    def _newest(self, where: Any, limit: int, offset: int) -> Sequence[FlowRun]:
        # UUIDv7 ids sort by time, so the newest are found by an index however many runs there are.
        query = select(FlowRun).order_by(FlowRun.id.desc()).limit(limit).offset(offset)
        return self._session.scalars(query if where is None else query.where(where)).all()

    # --- for the engine --------------------------------------------------------------------------

    def insert(self, run: NewRun) -> bool:
        """Insert a run and its steps; False when a run of that id is there already."""
        there = select(_RUNS.c.id).where(_RUNS.c.id == run.id)
        if self._session.execute(there).first() is not None:
            return False
        self._session.execute(
            insert(_RUNS).values(
                id=run.id,
                flow_name=run.flow_name,
                user_id=run.user_id,
                status=RunState.PENDING,
                created_at=DbNow(),
                inputs=run.inputs,
                flow_metadata=run.metadata or None,
                spec=EncodedJson(run.spec.model_dump_json(exclude_defaults=True).encode()),
                parent_step_run_id=run.parent,
                total_steps=len(run.steps),
            ),
        )
        if run.steps:
            rows = [
                {
                    "id": step.id,
                    "flow_run_id": run.id,
                    "step_key": step.key,
                    "step_name": step.name,
                    "step_order": step.order,
                    "pending_dependencies": step.pending,
                    "inputs": step.inputs,
                }
                for step in run.steps
            ]
            self._session.execute(
                insert(_STEPS).values(status=StepState.PENDING, created_at=DbNow()), rows
            )
        return True

    def definition(self, run_id: RunId) -> Definition | None:
        """Read what never changes about a run; the engine keeps it, see `engine.definitions`."""
        c = _RUNS.c
        query = select(c.flow_name, c.user_id, c.parent_step_run_id, cast(c.spec, Text))
        row = self._session.execute(query.where(c.id == run_id)).first()
        if row is None:
            return None
        parent = StepRunId(row[2]) if row[2] else None
        return Definition(run_id, row[0], row[1], parent, FlowSpec.model_validate_json(row[3]))

    def status(self, run_id: RunId) -> RunState | None:
        """Read the state of a run."""
        state = self._session.execute(select(_RUNS.c.status).where(_RUNS.c.id == run_id)).scalar()
        return None if state is None else RunState(state)

    def start(self, run_id: RunId) -> bool:
        """`pending` → `running`."""
        return self._change(run_id, RunState.RUNNING, (RunState.PENDING,), started_at=DbNow())

    def stop(self, run_id: RunId, *, error: str | None = None, cancel: bool = False) -> bool:
        """→ `cancelling`: nothing new begins. Keeps the first error."""
        values: dict[str, Any] = {"error_message": error} if error else {}
        if cancel:
            values["cancel_requested_at"] = DbNow()
        return self._change(
            run_id, RunState.CANCELLING, tuple(run_sources(RunState.CANCELLING)), **values
        )

    def close(
        self,
        run_id: RunId,
        state: RunState,
        *,
        outputs: Any = None,
        error: str | None = None,
    ) -> bool:
        """Close a run with its totals, progress and time; False when it is closed already."""
        # The elapsed time is taken from the database's clock on both ends.
        started, now = self._session.execute(
            select(_RUNS.c.started_at, DbNow()).where(_RUNS.c.id == run_id)
        ).one()
        totals = self.totals(run_id)
        return self._change(
            run_id,
            state,
            tuple(run_sources(state)),
            outputs=outputs,
            completed_at=DbNow(),
            last_heartbeat=DbNow(),
            execution_time_ms=round((now - started).total_seconds() * 1000) if started else None,
            **({"error_message": func.coalesce(_RUNS.c.error_message, error)} if error else {}),
            **totals,
        )

    def roll_up(self, run_id: RunId) -> bool:
        """Write progress and totals of a run that is going on, as its rows stand now."""
        running = select(_STEPS.c.step_key).where(
            _STEPS.c.flow_run_id == run_id, _STEPS.c.status == StepState.RUNNING
        )
        current = self._session.execute(running.order_by(_STEPS.c.step_order).limit(1)).scalar()
        values = {**self.totals(run_id), "current_step": current, "last_heartbeat": DbNow()}
        open_states = tuple(set(RunState) - TERMINAL_RUN_STATES)
        query = update(_RUNS).where(_RUNS.c.id == run_id, _RUNS.c.status.in_(open_states))
        return bool(self._session.execute(query.values(values)).rowcount)  # type: ignore[attr-defined]

    def totals(self, run_id: RunId) -> dict[str, Any]:
        """Sum a run's rows: steps, how many are done, tokens and cost.

        The node of a map is no step of its own: its items are.
        """
        c = _STEPS.c
        leaf = c.map_size.is_(None)
        row = self._session.execute(
            select(
                func.count().filter(leaf),
                func.count().filter(leaf, c.status.in_(_DONE)),
                func.coalesce(func.sum(c.tokens_used), 0),
                func.sum(c.cost_estimate),
            ).where(c.flow_run_id == run_id)
        ).one()
        total, done = row[0], row[1]
        return {
            "total_steps": total,
            "step_progress": done,
            "progress_percentage": round(100.0 * done / total, 1) if total else 100.0,
            "total_tokens": int(row[2]),
            "total_cost": row[3] or Decimal(0),
        }

    def cancel_requested(self, run_id: RunId) -> bool:
        """Tell whether someone asked to cancel this run."""
        query = select(_RUNS.c.cancel_requested_at).where(_RUNS.c.id == run_id)
        return self._session.execute(query).scalar() is not None

    def open_ids(self, *, limit: int) -> list[RunId]:
        """Ids of runs that have not ended, oldest first."""
        open_states = tuple(set(RunState) - TERMINAL_RUN_STATES)
        query = select(_RUNS.c.id).where(_RUNS.c.status.in_(open_states)).order_by(_RUNS.c.id)
        return [RunId(row[0]) for row in self._session.execute(query.limit(limit))]

    def _change(
        self, run_id: RunId, to: RunState, sources: tuple[RunState, ...], **values: Any
    ) -> bool:
        query = update(_RUNS).where(_RUNS.c.id == run_id, _RUNS.c.status.in_(sources))
        result = self._session.execute(query.values(status=to, **values))
        return bool(result.rowcount)  # type: ignore[attr-defined]

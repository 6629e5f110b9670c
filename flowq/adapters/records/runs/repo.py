"""The runs repository: reads for people, guarded updates for the engine.

Each change of state is one UPDATE whose WHERE lists the states it may come from, taken from the
table in `flowq.core.states`; a rowcount of zero means that another process was first.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Text,
    and_,
    bindparam,
    cast,
    select,
    union_all,
    update,
)
from typing_extensions import override

from flowq.adapters.records.control.cancel import RunCancels
from flowq.adapters.records.control.pause import RunPauses
from flowq.adapters.records.control.stops import STOP, stop_of_row, stop_parameters
from flowq.adapters.records.limits.meters import SqlMeters
from flowq.adapters.records.runs.closing import (
    CLOSE,
    CLOSE_IF_CLEAN,
    HAS_FAILED,
    HAS_OPEN,
    ROLL_UP,
)
from flowq.adapters.records.runs.insert import RunInserts
from flowq.adapters.records.runs.starting import RunStarts
from flowq.adapters.records.runs.views import budget_of_row, listed, view
from flowq.adapters.records.runs.waits import is_waiting
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import flow_spec
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.sql.tables import FlowRun
from flowq.adapters.records.sql.types import json_text
from flowq.core.ids import RunId, StepRunId, ids_with_prefix
from flowq.core.limits.budgets import BudgetSpec, run_meter
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState, run_sources
from flowq.engine.model.rows import Definition, RunEnding, RunView
from flowq.engine.model.stops import StopReason

_S = STEPS.c
_THIS = RUNS.c.id == bindparam("p_run")
_STATUS = Prepared(select(RUNS.c.status).where(_THIS))
_STATES = Prepared(
    select(RUNS.c.id, RUNS.c.status).where(RUNS.c.id.in_(bindparam("p_keys", expanding=True)))
)
#: The columns for `definition_of_row`.
DEFINITION_COLUMNS: Final = (
    RUNS.c.flow_name,
    RUNS.c.user_id,
    RUNS.c.parent_step_run_id,
    cast(RUNS.c.spec, Text),
    RUNS.c.priority,
)
_DEFINITION = Prepared(select(*DEFINITION_COLUMNS).where(_THIS))
_STAND_IN = Prepared(
    select(RUNS.c.flow_name, RUNS.c.user_id, RUNS.c.parent_step_run_id).where(_THIS)
)
_IDS: Any = bindparam("p_keys", expanding=True)
_URGENT = union_all(
    select(RUNS.c.id, RUNS.c.priority).where(RUNS.c.id.in_(_IDS), RUNS.c.priority > 0),
    select(_S.id, RUNS.c.priority)
    .join(RUNS, RUNS.c.id == _S.flow_run_id)
    .where(_S.id.in_(_IDS), RUNS.c.priority > 0),
)
_BUDGETS = Prepared(
    select(RUNS.c.id, RUNS.c.budget_usd, RUNS.c.budget_tokens, RUNS.c.budget_action).where(
        RUNS.c.id.in_(bindparam("p_keys", expanding=True)), RUNS.c.budget_action.is_not(None)
    )
)

_ENDING = Prepared(
    select(
        RUNS.c.status,
        HAS_OPEN,
        HAS_FAILED,
        RUNS.c.cancel_requested_at,
        RUNS.c.continued_as,
        RUNS.c.error_message,
        RUNS.c.stop_kind,
        RUNS.c.failed_step_id,
    ).where(_THIS)
)

_STOP = Prepared(
    update(RUNS)
    .where(_THIS, RUNS.c.status.in_(tuple(run_sources(RunState.CANCELLING))))
    .values(status=RunState.CANCELLING, **STOP)
)
_CONTINUED = Prepared(select(RUNS.c.continued_as).where(_THIS))
_LINK = update(RUNS).where(_THIS).values(continued_as=bindparam("p_new"), parent_step_run_id=None)
_old = RUNS.alias("old")
#: Columns that a run passes on to its continuation.
_INHERITED = (
    "execution_mode",
    "flow_metadata",
    "deadline",
    "priority",
    "parent_step_run_id",
    "budget_usd",
    "budget_tokens",
    "budget_action",
    "schedule_name",
)
_INHERIT = (
    update(RUNS)
    .where(RUNS.c.id == bindparam("p_new"))
    .values(
        {
            name: select(_old.c[name]).where(_old.c.id == bindparam("p_run")).scalar_subquery()
            for name in _INHERITED
        }
    )
)


class FlowRunRepo(RunInserts, RunStarts, RunCancels, RunPauses):
    """Reads and writes `flow_runs` within a session or a connection; never commits."""

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

    def matching(
        self,
        *,
        run_id: UUID | None = None,
        user_id: str | None = None,
        unit_id: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Sequence[FlowRun]:
        """Return the runs to which all of this applies, newest first.

        Args:
            run_id: Only this run.
            user_id: Only those of this user.
            unit_id: Only those with this `unit_id` in their metadata; reads all rows.
            limit: How many at most.
            offset: How many of the newest are left out.
        """
        where = [] if run_id is None else [FlowRun.id == run_id]
        where += [] if user_id is None else [FlowRun.user_id == user_id]
        if unit_id is not None:
            where += [json_text(RUNS.c.flow_metadata, "unit_id") == unit_id]
        return self._newest(and_(True, *where), limit, offset)

    @override
    def find(self, text: str) -> list[tuple[RunId, str]]:
        span = ids_with_prefix(text)
        if span is None:
            return []
        rows = self._newest(FlowRun.id.between(*span), 3, 0)
        return [(RunId(row.id), row.flow_name) for row in rows]

    @override
    def view(self, run_id: RunId) -> RunView | None:
        return view(self._connection, run_id)

    @override
    def head(self, run_id: RunId) -> RunView | None:
        return view(self._connection, run_id, steps=False)

    @override
    def views(
        self,
        *,
        status: RunState | None = None,
        flow_name: str | None = None,
        waiting: bool = False,
        limit: int = 50,
    ) -> list[RunView]:
        where = [FlowRun.status == status] if status else []
        where += [FlowRun.flow_name == flow_name] if flow_name else []
        where += [is_waiting(FlowRun.id, FlowRun.status)] if waiting else []
        return listed(self._newest(and_(True, *where), limit, 0))

    def _newest(self, where: Any, limit: int, offset: int) -> Sequence[FlowRun]:
        # UUIDv7 ids sort by time, so an index finds the newest however many runs there are.
        query = select(FlowRun).order_by(FlowRun.id.desc()).limit(limit).offset(offset)
        return self._session.scalars(query if where is None else query.where(where)).all()

    # --- for the engine --------------------------------------------------------------------------

    @override
    def definition(self, run_id: RunId) -> Definition | None:
        row = self._run(_DEFINITION, {"p_run": run_id}).first()
        return None if row is None else definition_of_row(run_id, row)

    @override
    def stand_in(self, run_id: RunId) -> Definition | None:
        row = self._run(_STAND_IN, {"p_run": run_id}).first()
        if row is None:
            return None
        parent = StepRunId(row[2]) if row[2] else None
        return Definition(run_id, row[0], row[1], parent, FlowSpec(name=row[0], steps=()))

    @override
    def urgent(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        return {row[0]: row[1] for row in self._run_parts(_URGENT, {}, ids)}

    @override
    def status(self, run_id: RunId) -> RunState | None:
        state = self._run(_STATUS, {"p_run": run_id}).scalar()
        return None if state is None else RunState(state)

    @override
    def states(self, run_ids: Sequence[RunId]) -> dict[RunId, RunState]:
        return {RunId(row[0]): RunState(row[1]) for row in self._run_parts(_STATES, {}, run_ids)}

    @override
    def continued_as(self, run_id: RunId) -> RunId | None:
        row = self._run(_CONTINUED, {"p_run": run_id}).first()
        return None if row is None or row[0] is None else RunId(row[0])

    @override
    def continue_as(self, run_id: RunId, new: RunId) -> None:
        self._run(_INHERIT, {"p_run": run_id, "p_new": new})
        self._run(_LINK, {"p_run": run_id, "p_new": new})
        SqlMeters(self._within).inherit(run_meter(run_id), run_meter(new))

    @override
    def budgets(self, run_ids: Sequence[RunId]) -> dict[RunId, BudgetSpec]:
        rows = self._run(_BUDGETS, {"p_keys": list(run_ids)})
        return {RunId(row[0]): budget_of_row(*row[1:]) for row in rows}

    @override
    def raise_budget(self, run_id: RunId, *, usd: Decimal | None, tokens: int | None) -> None:
        values = {"budget_usd": usd, "budget_tokens": tokens}
        given = {name: value for name, value in values.items() if value is not None}
        self._run(update(RUNS).where(RUNS.c.id == run_id).values(**given))

    @override
    def stop(self, run_id: RunId, reason: StopReason) -> bool:
        return self._changes(_STOP, {"p_run": run_id, **stop_parameters(reason)})

    @override
    def ending(self, run_id: RunId) -> RunEnding | None:
        row = self._run(_ENDING, {"p_run": run_id}).first()
        if row is None:
            return None
        asked, continued = row[3] is not None, row[4] is not None
        stop = stop_of_row(*row[5:8])
        return RunEnding(RunState(row[0]), row[1], row[2], stop, asked, continued)

    @override
    def close(
        self,
        run_id: RunId,
        state: RunState,
        *,
        outputs: Any = None,
        outputs_of: str | None = None,
        reason: StopReason | None = None,
        if_clean: bool = False,
    ) -> bool:
        given = {"p_run": run_id, "p_state": state, "p_sources": list(run_sources(state))}
        given |= {"p_outputs": outputs, "p_key": outputs_of}
        if if_clean:
            return self._changes(CLOSE_IF_CLEAN, given)
        return self._changes(CLOSE, given | stop_parameters(reason))

    @override
    def roll_up(self, run_id: RunId) -> bool:
        return self._changes(ROLL_UP, {"p_run": run_id})


def definition_of_row(run_id: RunId, row: Sequence[Any]) -> Definition:
    """Return the definition in a row of `DEFINITION_COLUMNS`; raises `RunUnreadable`."""
    parent = StepRunId(row[2]) if row[2] else None
    return Definition(run_id, row[0], row[1], parent, flow_spec(row[3]), row[4])

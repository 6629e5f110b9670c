"""Reads of programs: their progress, and their calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
)
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import call_spec
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.stored import stored_columns, stored_step
from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.spec import CallSpec
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.model.programs import CalledRow, ProgramState, SeenCancel
from flowq.engine.ports.steps import ProgramRows

_program = STEPS.alias("program")
CALL = STEPS.alias("call")
_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STEP_STATES))


def call_columns(table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns that `called_row` takes."""
    c = table.c
    own = [c.id, c.spec, c.inputs, c.batch_id, c.observed, c.completed_at]
    return [*own, *stored_columns(table)]


def state_columns(program: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns that `program_state` takes, of a program's row and of its run."""
    return [
        program.c.observed,
        RUNS.c.started_at.label("run_started_at"),
        RUNS.c.status.label("run_status"),
        RUNS.c.error_message.label("run_error"),
        DbNow().label("read_at"),
        program.c.step_metadata,
        program.c.status,
    ]


#: Calls that have ended: observed after the number `p_after`, or not yet.
ENDED_SINCE: Final = and_(
    literal_column("call.spec IS NOT NULL"),
    or_(
        CALL.c.observed > bindparam("p_after", type_=Integer),
        and_(CALL.c.observed.is_(None), literal_column(f"call.status IN ({_ENDED})")),
    ),
)
_PROGRAM = Prepared(
    select(*state_columns(_program), *call_columns(CALL))
    .select_from(
        _program.join(RUNS, RUNS.c.id == _program.c.flow_run_id).outerjoin(
            CALL,
            and_(CALL.c.flow_run_id == _program.c.flow_run_id, ENDED_SINCE),
        )
    )
    .where(_program.c.id == bindparam("p_id"))
)
#: How many columns `state_columns` are.
STATE: Final = 7
#: The ends of a program that has come to its own end, and was not stopped.
_OWN_ENDS: Final = (StepState.COMPLETED, StepState.FAILED)

_OF_RUN = select(*call_columns(CALL)).where(
    CALL.c.flow_run_id == bindparam("p_run"), literal_column("call.spec IS NOT NULL")
)
_EXPANDED = Prepared(
    select(CALL.c.step_key).where(
        CALL.c.flow_run_id == bindparam("p_run"),
        CALL.c.batch_id == bindparam("p_batch"),
        CALL.c.status == StepState.RUNNING,
        CALL.c.map_size.is_not(None),
    )
)
_CALLED = Prepared(_OF_RUN.order_by(CALL.c.step_order))
_SOME = Prepared(_OF_RUN.where(CALL.c.step_key.in_(bindparam("p_keys", expanding=True))))


class ProgramReads(Repository, ProgramRows):
    """The programs' part of `FlowStepRunRepo` that reads."""

    @override
    def program(self, program: StepRunId, *, after: int) -> ProgramState | None:
        rows = self._run(_PROGRAM, {"p_id": program, "p_after": after}).all()
        if not rows:
            return None
        ended = [called_row(row[STATE:]) for row in rows if row[STATE] is not None]
        return program_state(rows[0][:STATE], ended)

    @override
    def called(self, run_id: RunId, keys: Sequence[str] | None = None) -> list[CalledRow]:
        if keys is None:
            return [called_row(row) for row in self._run(_CALLED, {"p_run": run_id})]
        return [called_row(row) for row in self._run_parts(_SOME, {"p_run": run_id}, keys)]

    @override
    def expanded(self, run_id: RunId, batch: BatchId) -> list[str]:
        return [row[0] for row in self._run(_EXPANDED, {"p_run": run_id, "p_batch": batch})]

    @override
    def call_spec(self, run_id: RunId, key: str) -> CallSpec | None:
        found = self.called(run_id, [key])
        return found[0].spec if found else None


def program_state(row: Sequence[Any], ended: Sequence[CalledRow]) -> ProgramState:
    """Return the value of a row of `state_columns`, with calls that have ended."""
    observed, started_at, status, error, now, metadata, own = row
    is_active = status in (RunState.RUNNING, RunState.PAUSED)
    cancel = _seen_cancel(metadata)
    return ProgramState(
        observed=observed or 0,
        started_at=started_at,
        stopping=None if is_active else error or "",
        read_at=now,
        cancel=cancel,
        ended=tuple(sorted(ended, key=_order)),
        # A cancel that came in the last attempt came before the ends of calls.
        saw_all=status in TERMINAL_RUN_STATES and (own in _OWN_ENDS or cancel is not None),
    )


def called_row(row: Sequence[Any]) -> CalledRow:
    """Return the value of a row of `call_columns`."""
    row_id, spec, inputs, batch, observed, completed_at = row[:6]
    return CalledRow(
        id=StepRunId(row_id),
        spec=call_spec(spec, inputs),
        batch=BatchId(batch),
        observed=observed,
        completed_at=completed_at,
        stored=stored_step(row[6:]),
    )


def _order(row: CalledRow) -> tuple[int, datetime, str]:
    """Order by number; calls without a number come last, by their end."""
    assert row.completed_at is not None
    ended_at = row.completed_at if row.spec.reused is None else row.spec.reused.ended_at
    return (row.observed or 1 << 31, ended_at, row.stored.key)


def _seen_cancel(metadata: Any) -> SeenCancel | None:
    cancel = (metadata or {}).get("cancel")
    if cancel is None:
        return None
    return SeenCancel(cancel["place"], cancel["reason"], datetime.fromisoformat(cancel["at"]))

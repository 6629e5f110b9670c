"""Reads of programs: their progress, and their calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import FromClause, Integer, and_, bindparam, literal_column, or_, select
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
_call = STEPS.alias("call")
_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STEP_STATES))


def _columns(table: FromClause) -> list[Any]:
    c = table.c
    own = [c.id, c.spec, c.inputs, c.batch_id, c.observed, c.completed_at]
    return [*own, *stored_columns(table)]


_PROGRAM = Prepared(
    select(
        _program.c.observed,
        RUNS.c.started_at,
        RUNS.c.status,
        RUNS.c.error_message,
        DbNow(),
        _program.c.step_metadata,
        _program.c.status,
        *_columns(_call),
    )
    .select_from(
        _program.join(RUNS, RUNS.c.id == _program.c.flow_run_id).outerjoin(
            _call,
            and_(
                _call.c.flow_run_id == _program.c.flow_run_id,
                literal_column("call.spec IS NOT NULL"),
                or_(
                    _call.c.observed > bindparam("p_after", type_=Integer),
                    and_(_call.c.observed.is_(None), literal_column(f"call.status IN ({_ENDED})")),
                ),
            ),
        )
    )
    .where(_program.c.id == bindparam("p_id"))
)
_HEAD: Final = 7
#: The ends of a program that has come to its own end, and was not stopped.
_OWN_ENDS: Final = (StepState.COMPLETED, StepState.FAILED)

_OF_RUN = select(*_columns(_call)).where(
    _call.c.flow_run_id == bindparam("p_run"), literal_column("call.spec IS NOT NULL")
)
_EXPANDED = Prepared(
    select(_call.c.step_key).where(
        _call.c.flow_run_id == bindparam("p_run"),
        _call.c.batch_id == bindparam("p_batch"),
        _call.c.status == StepState.RUNNING,
        _call.c.map_size.is_not(None),
    )
)
_CALLED = Prepared(_OF_RUN.order_by(_call.c.step_order))
_SOME = Prepared(_OF_RUN.where(_call.c.step_key.in_(bindparam("p_keys", expanding=True))))


class ProgramReads(Repository, ProgramRows):
    """The programs' part of `FlowStepRunRepo` that reads."""

    @override
    def program(self, program: StepRunId, *, after: int) -> ProgramState | None:
        rows = self._run(_PROGRAM, {"p_id": program, "p_after": after}).all()
        if not rows:
            return None
        observed, started_at, status, error, now, metadata, own = rows[0][:_HEAD]
        is_active = status in (RunState.RUNNING, RunState.PAUSED)
        cancel = _seen_cancel(metadata)
        ended = [called_row(row[_HEAD:]) for row in rows if row[_HEAD] is not None]
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


def called_row(row: Sequence[Any]) -> CalledRow:
    """Return the value of a row of `_columns`."""
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

"""Finds rows that break an invariant; changes nothing.

All checks are one statement, so they see one moment, and a live database has no violations either:
an intermediate state (a run whose last step has just ended) is reported only once it has lasted for
`grace`. Checks that need the spec of a run are in `flowq.engine.sweeper.invariants`; the last
queries here return their rows.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import String, Text, and_, bindparam, case, cast, literal, or_, select, union_all
from typing_extensions import override

from flowq.adapters.records.invariants.actions import ACTION_CHECKS
from flowq.adapters.records.invariants.base import CALLED, NODE, R, S
from flowq.adapters.records.invariants.logs import LOG_CHECKS
from flowq.adapters.records.invariants.programs import PROGRAM_CHECKS
from flowq.adapters.records.invariants.runs import RUN_CHECKS
from flowq.adapters.records.invariants.schedules import SCHEDULE_CHECKS
from flowq.adapters.records.invariants.shares import SHARE_CHECKS
from flowq.adapters.records.invariants.signals import SIGNAL_CHECKS
from flowq.adapters.records.invariants.starts import START_CHECKS
from flowq.adapters.records.invariants.steps import STEP_CHECKS
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import flow_spec, result_ref
from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.errors import RunUnreadable
from flowq.core.ids import RunId, StepRunId
from flowq.core.results import StorageKind
from flowq.core.states import RunState, StepState
from flowq.engine.model.rows import Invariant, PlacedNode, PlacedRun, Violation
from flowq.engine.ports.invariants import Invariants, StoredObject, Suspect

_CHECKS: Final = (
    *RUN_CHECKS,
    *START_CHECKS,
    *STEP_CHECKS,
    *SHARE_CHECKS,
    *PROGRAM_CHECKS,
    *SIGNAL_CHECKS,
    *SCHEDULE_CHECKS,
    *LOG_CHECKS,
    *ACTION_CHECKS,
)
INVARIANTS: Final = tuple(Invariant(check.name, check.text) for check in _CHECKS)

#: SQLAlchemy needs longer for its constants than PostgreSQL for the answer.
_ALL: Final = Prepared(
    union_all(
        *(
            query.add_columns(literal(check.name, String))
            for check in _CHECKS
            for query in check.queries
        )
    )
)

#: A failed call that a rerun reuses has the number of its attempts, and none here.
_FAILURES = case((S.started_at.is_(None), 0), else_=S.attempt - S.recoveries)
_HAS_FAILED = and_(R.status == RunState.COMPLETED, S.status == StepState.FAILED, NODE)
_SUSPECTS = (
    select(R.id, S.id, S.step_key, S.map_index, _FAILURES, _HAS_FAILED)
    .select_from(STEPS.join(RUNS))
    .where(or_(_FAILURES > 1, _HAS_FAILED))
)
_OBJECTS = (
    select(S.flow_run_id, S.id, S.step_key, S.map_index, S.result)
    .where(json_text(S.result, "place") == StorageKind.OBJECT)
    .order_by(S.id)
)
_GIVEN = (
    select(R.id, cast(R.spec, Text)).where(cast(R.spec, Text).contains('"given"')).order_by(R.id)
)
_PAGE: Final = 200
_RUNS_AFTER = select(R.id).where(R.id > bindparam("p_after")).order_by(R.id).limit(_PAGE)
_FIRST_RUNS = select(R.id).order_by(R.id).limit(_PAGE)
_PLACED = (
    select(
        R.id,
        R.status,
        R.started_at,
        DbNow(),
        S.id,
        S.step_key,
        S.status,
        S.pending_dependencies,
        S.advanced,
        S.started_at,
        S.completed_at,
    )
    .select_from(RUNS.outerjoin(STEPS, and_(S.flow_run_id == R.id, NODE, ~CALLED)))
    .where(R.id.in_(bindparam("p_runs", expanding=True)))
    .order_by(R.id, S.step_order)
)


class SqlInvariants(Repository, Invariants):
    """Implements `flowq.engine.ports.Invariants`; only reads."""

    @property
    @override
    def listed(self) -> Sequence[Invariant]:
        return INVARIANTS

    @override
    def violations(self, *, grace: timedelta, max_recoveries: int) -> list[Violation]:
        given = {"p_before": -grace.total_seconds(), "p_recoveries": max_recoveries}
        return [
            Violation(
                name,
                None if run is None else RunId(run),
                what,
                None if step is None else StepRunId(step),
                key,
                index,
            )
            for run, step, key, index, what, name in self._run(_ALL, given)
        ]

    @override
    def suspects(self) -> list[Suspect]:
        return [
            Suspect(RunId(run), StepRunId(step), key, index, failures, bool(failed))
            for run, step, key, index, failures, failed in self._run(_SUSPECTS)
        ]

    @override
    def placed(self, after: RunId | None = None) -> list[PlacedRun]:
        page = _FIRST_RUNS if after is None else _RUNS_AFTER
        ids = [row[0] for row in self._run(page, {} if after is None else {"p_after": after})]
        found: dict[RunId, tuple[Any, list[PlacedNode]]] = {}
        for row in self._run(_PLACED, {"p_runs": ids}) if ids else ():
            nodes = found.setdefault(RunId(row[0]), (row, []))[1]
            if row[4] is not None:
                nodes.append(PlacedNode(StepRunId(row[4]), row[5], StepState(row[6]), *row[7:11]))
        return [
            PlacedRun(run_id, RunState(row[1]), row[2], row[3], tuple(nodes))
            for run_id, (row, nodes) in found.items()
        ]

    @override
    def objects(self) -> list[StoredObject]:
        found = []
        for run, step, key, index, result in self._run(_OBJECTS):
            with suppress(RunUnreadable):  # then it references no object
                ref = result_ref(result)
                found += [StoredObject(RunId(run), StepRunId(step), key, index, ref)] if ref else []
        for run, spec in self._run(_GIVEN):
            with suppress(RunUnreadable):
                given = flow_spec(spec).given.items()
                large = ((key, ref) for key, ref in given if ref.place is StorageKind.OBJECT)
                found += [StoredObject(RunId(run), None, key, None, ref) for key, ref in large]
        return found

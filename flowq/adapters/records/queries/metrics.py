"""Sums for Prometheus: a read costs as much as there are open runs, or newly ended ones.

One query is different: the ends of runs have no index, since writing it for each run would cost
more than scanning the runs now and then. So callers have to pause between two scans.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, func, literal, select, union_all
from sqlalchemy.sql.elements import ColumnElement
from typing_extensions import override

from flowq.adapters.records.sql.repository import REQUESTS, RUNS, STEPS, Repository
from flowq.adapters.records.sql.tables import LEASED, OPEN_RUN, QUEUED, RETRYING, TIMED
from flowq.adapters.records.sql.types import DbNow, total_cost
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.core.usage import OPEN_REQUESTS, RequestStatus, Tokens
from flowq.engine.queries.metrics import (
    BUCKETS,
    CallSums,
    EndedRun,
    MetricsSnapshot,
    StepSums,
)
from flowq.engine.queries.port import Metrics

_R, _S, _Q = RUNS.c, STEPS.c, REQUESTS.c
_ENDED: Final = tuple(TERMINAL_RUN_STATES)
_STATES: Final = (StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED)
#: Runs whose steps are summed by one statement.
_AT_ONCE: Final = 500

_RUNS = (
    select(_R.flow_name, _R.status, func.count()).where(OPEN_RUN).group_by(_R.flow_name, _R.status)
)
_QUEUED = select(_S.resends, func.count(), func.min(_S.wake_at)).where(QUEUED).group_by(_S.resends)
_DUE = union_all(
    select(literal("lease"), func.count()).where(LEASED, _S.lease_expires_at < DbNow()),
    select(literal("retry"), func.count()).where(RETRYING, _S.wake_at < DbNow()),
    select(literal("timer"), func.count()).where(TIMED, _S.wake_at < DbNow()),
)
_SINCE = select(
    _R.id, _R.flow_name, _R.status, _R.completed_at, func.coalesce(_R.execution_time_ms, 0)
).where(_R.completed_at > bindparam("p_since", type_=_R.completed_at.type), _R.status.in_(_ENDED))

#: A step that ran: items of a map, not its node, and no cache hits.
_TIMED = and_(
    _S.execution_time_ms.is_not(None),
    _S.cached_from.is_(None),
    _S.status.in_((StepState.COMPLETED, StepState.FAILED)),
)
_STEPS: Final = (
    select(
        _R.flow_name,
        _S.step_name,
        func.count().filter(_TIMED),
        func.coalesce(func.sum(_S.execution_time_ms).filter(_TIMED), 0),
        func.sum(case((_S.attempt > 1, _S.attempt - 1), else_=0)),
        func.sum(_S.recoveries),
        func.sum(_S.resends),
        *(func.count().filter(_TIMED, _S.execution_time_ms <= 1000 * top) for top in BUCKETS),
        *(func.count().filter(_S.status == state) for state in _STATES),
    )
    .join(RUNS, _R.id == _S.flow_run_id)
    .where(_S.flow_run_id.in_(bindparam("p_keys", expanding=True)), _S.map_size.is_(None))
    .group_by(_R.flow_name, _S.step_name)
)


class MetricReads(Repository, Metrics):
    """Sums for Prometheus."""

    @override
    def snapshot(self) -> MetricsSnapshot:
        return MetricsSnapshot(
            at=self._run(select(DbNow())).scalar_one(),
            runs={(row[0], RunState(row[1])): row[2] for row in self._run(_RUNS)},
            queued={row[0]: (row[1], row[2]) for row in self._run(_QUEUED)},
            due={row[0]: row[1] for row in self._run(_DUE)},
        )

    @override
    def ended_runs(self, since: datetime) -> list[EndedRun]:
        return [
            EndedRun(RunId(row[0]), row[1], RunState(row[2]), row[3], row[4])
            for row in self._run(_SINCE, {"p_since": since})
        ]

    @override
    def step_sums(self, runs: Sequence[RunId]) -> list[StepSums]:
        found: list[StepSums] = []
        for start in range(0, len(runs), _AT_ONCE):
            part = runs[start : start + _AT_ONCE]
            found += [_sums(row) for row in self._run(_STEPS, {"p_keys": list(part)})]
        return found

    @override
    def call_sums(self, since: datetime | None, until: datetime | None) -> list[CallSums]:
        flow, model = func.coalesce(_Q.flow_name, ""), _Q.provider + ":" + _Q.model
        rows = self._run(
            select(
                flow,
                model,
                func.count(),
                func.count().filter(_Q.status == RequestStatus.FAILED),
                func.sum(_Q.input_tokens),
                func.sum(_Q.output_tokens),
                func.sum(_Q.cached_tokens),
                total_cost(_Q.cost),
            )
            .where(_ended_calls(since, until))
            .group_by(flow, model)
        )
        return [
            CallSums(r[0], r[1], r[2], r[3], Tokens(int(r[4]), int(r[5]), int(r[6])), r[7])
            for r in rows
        ]


def _ended_calls(since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """Return the condition of the ended calls that began in a span of time."""
    begun: list[ColumnElement[bool]] = [_Q.status.not_in(OPEN_REQUESTS)]
    if since is not None:
        begun.append(_Q.created_at >= since)
    if until is not None:
        begun.append(_Q.created_at < until)
    return and_(*begun)


def _sums(row: Any) -> StepSums:
    within, states = row[7 : 7 + len(BUCKETS)], row[7 + len(BUCKETS) :]
    return StepSums(
        flow_name=row[0],
        step_name=row[1],
        within=tuple(within),
        timed=row[2],
        ms=int(row[3]),
        states={str(state): number for state, number in zip(_STATES, states, strict=True)},
        retries=int(row[4]),
        recoveries=int(row[5]),
        resends=int(row[6]),
    )

"""The calls of models: `llm_requests`, and their usage in step runs and ended runs.

The transaction that ends a call adds its usage to its step's row, and a call ends once: the row is
locked and must still be open. A terminal run has written its totals; if a call ends after that
(because its attempt had lost its lease, for example), they are computed again. That is a separate
transaction, which first locks the run: a concurrent end of the run does not see the call yet, so it
is waited for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, bindparam, case, func, insert, literal, select, update
from sqlalchemy.sql.elements import ColumnElement
from typing_extensions import override

from flowq.adapters.records.limits.meters import SqlMeters
from flowq.adapters.records.limits.token_rates import SqlTokenRates
from flowq.adapters.records.runs.closing import sums
from flowq.adapters.records.sql.repository import REQUESTS, RUNS, STEPS, Repository
from flowq.adapters.records.sql.types import DbNow, UtcDay, json_entry, total_cost
from flowq.core.ids import RunId, StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.states import TERMINAL_RUN_STATES, StepState
from flowq.core.usage import OPEN_REQUESTS, AppliedPrice, CostStatus, RequestStatus, Tokens, Usage
from flowq.engine.model.model_calls import (
    CostBy,
    CostGroup,
    CostLine,
    EndedRequest,
    RequestView,
    StartedRequest,
)
from flowq.engine.ports.llm_requests import LlmRequests

_Q = REQUESTS.c
_S = STEPS.c
_KEYS: Any = bindparam("p_keys", expanding=True)

_START = insert(REQUESTS).values(status=RequestStatus.STARTED, created_at=DbNow())
_LOSE = (
    update(REQUESTS)
    .where(
        _Q.flow_step_run_id == bindparam("p_step", type_=_Q.flow_step_run_id.type),
        _Q.attempt < bindparam("p_attempt"),
        _Q.status == RequestStatus.STARTED,
    )
    .values(status=RequestStatus.LOST)
)
_OPEN = select(_Q.id).where(_Q.id.in_(_KEYS), _Q.status.in_(OPEN_REQUESTS)).with_for_update()
_END = (
    update(REQUESTS)
    .where(_Q.id == bindparam("p_id", type_=_Q.id.type))
    .values(
        status=bindparam("p_status"),
        input_tokens=bindparam("p_input"),
        output_tokens=bindparam("p_output"),
        cached_tokens=bindparam("p_cached"),
        cost=bindparam("p_cost", type_=_Q.cost.type),
        cost_status=bindparam("p_cost_status"),
        latency_ms=bindparam("p_latency"),
        error_message=bindparam("p_error"),
        object_key=bindparam("p_object"),
        prompt=bindparam("p_prompt"),
        answer=bindparam("p_answer"),
        price=bindparam("p_price", type_=_Q.price.type),
        completed_at=DbNow(),
    )
)
_ADD = (
    update(STEPS)
    .where(_S.id == bindparam("p_step", type_=_S.id.type))
    .values(
        tokens_used=_S.tokens_used + bindparam("p_tokens"),
        cost_estimate=_S.cost_estimate + bindparam("p_cost", type_=_S.cost_estimate.type),
        unpriced_calls=_S.unpriced_calls - bindparam("p_priced", type_=_S.unpriced_calls.type),
        llm_request_id=bindparam("p_request", type_=_S.llm_request_id.type),
    )
)
#: The cost of a started call is not known until it has ended.
_COUNT = (
    update(STEPS)
    .where(_S.id == bindparam("p_step", type_=_S.id.type))
    .values(unpriced_calls=_S.unpriced_calls + 1)
)
_STATES = select(_S.id, _S.flow_run_id, _S.status, _S.lease_token).where(_S.id.in_(_KEYS))
_LOCK = select(RUNS.c.id).where(RUNS.c.id == bindparam("p_run")).with_for_update()
_SUMS = sums()
_SETTLE = (
    update(RUNS)
    .where(
        RUNS.c.id == bindparam("p_run"),
        _SUMS.c.run_id == RUNS.c.id,
        RUNS.c.status.in_(tuple(TERMINAL_RUN_STATES)),
    )
    .values(
        total_tokens=_SUMS.c.tokens,
        total_cost=_SUMS.c.cost,
        unpriced_calls=_SUMS.c.unpriced,
    )
)
_GROUPS: Mapping[CostBy, ColumnElement[Any]] = {
    CostBy.FLOW: _Q.flow_name,
    CostBy.MODEL: _Q.provider + ":" + _Q.model,
    CostBy.USER: _Q.user_id,
    CostBy.DAY: UtcDay(_Q.created_at),
}
#: So many calls are searched for those of one step and model: no index has their names.
_LAST_CALLS = 2000
_RECENT = (
    select(
        _Q.step_name,
        (_Q.provider + ":" + _Q.model).label("model"),
        (_Q.input_tokens + _Q.output_tokens).label("tokens"),
        _Q.cost,
    )
    .where(_Q.status == RequestStatus.COMPLETED)
    .order_by(_Q.created_at.desc())
    .limit(_LAST_CALLS)
    .subquery()
)
_LARGEST = select(
    func.count(),
    func.coalesce(func.max(_RECENT.c.tokens), 0),
    func.coalesce(func.max(_RECENT.c.cost), literal(Decimal(0), _Q.cost.type)),
    func.count().filter(_RECENT.c.cost.is_(None)),
).where(
    _RECENT.c.step_name.is_not_distinct_from(bindparam("p_step", type_=_Q.step_name.type)),
    _RECENT.c.model == bindparam("p_model"),
)
_ENDED_WELL = (RequestStatus.STARTED, RequestStatus.COMPLETED)
_COST = total_cost(_Q.cost)


class LlmRequestRepo(Repository, LlmRequests):
    """Reads and writes `llm_requests` within a session or a connection; never commits."""

    @override
    def start(self, requests: Sequence[StartedRequest]) -> None:
        again = [
            {"p_step": one.caller.step_id, "p_attempt": one.caller.attempt}
            for one in requests
            if one.caller.step_id is not None and one.caller.attempt > 1
        ]
        if again:
            self._run(_LOSE, again)
        rows = [
            {
                "id": one.id,
                "flow_run_id": one.caller.run_id,
                "flow_step_run_id": one.caller.step_id,
                "attempt": one.caller.attempt,
                "step_name": one.caller.step_name,
                "flow_name": one.caller.flow_name,
                "user_id": one.caller.user_id,
                "labels": dict(one.caller.labels) or None,
                "provider": one.provider,
                "model": one.model,
                "input_tokens": 0,
                "output_tokens": 0,
                "cached_tokens": 0,
                "cost_status": CostStatus.UNKNOWN,
            }
            for one in requests
        ]
        self._run(_START, rows)
        steps = sorted(one.caller.step_id for one in requests if one.caller.step_id is not None)
        if steps:
            self._run(_COUNT, [{"p_step": step_id} for step_id in steps])

    @override
    def end(self, requests: Sequence[EndedRequest]) -> list[RunId]:
        ids = [one.id for one in requests]
        is_open = {row[0] for row in self._run_parts(_OPEN, {}, ids)}
        ending = [one for one in requests if one.id in is_open]
        if not ending:
            return []
        self._run(_END, [_ended(one) for one in ending])
        self._charge(ending)
        # In the order of their ids, so that two processes that add to the same steps do not
        # deadlock.
        steps = sorted((one for one in ending if one.caller.step_id), key=_step_id)
        if not steps:
            return []
        self._run(_ADD, [_added(one) for one in steps])
        tokens = {one.caller.step_id: one.caller.token for one in steps}
        rows = self._run_parts(_STATES, {}, list(tokens))
        late = {
            RunId(row[1])
            for row in rows
            if row[2] != StepState.RUNNING or row[3] != tokens[StepRunId(row[0])]
        }
        return sorted(late)

    def _charge(self, ending: Sequence[EndedRequest]) -> None:
        """Add the usage of calls to the meters of their budgets, and to their rates."""
        charges: dict[str, Usage] = {}
        rates: dict[Limit, int] = {}
        for one in ending:
            for meter in one.caller.meters:
                used = Usage(one.tokens.total, one.charged)
                charges[meter] = charges.get(meter, Usage()) + used
            for rate in one.caller.rates:
                rates[rate] = rates.get(rate, 0) + one.tokens.total
        if charges:
            SqlMeters(self._within).charge(charges)
            SqlMeters(self._within).release([one.id for one in ending if one.caller.meters])
        if rates:
            SqlTokenRates(self._within).charge(rates)

    @override
    def recompute_totals(self, runs: Sequence[RunId]) -> None:
        for run_id in sorted(runs):
            self._run(_LOCK, {"p_run": run_id})
            self._run(_SETTLE, {"p_run": run_id})

    @override
    def largest(self, step_name: str | None, model_id: str) -> Usage | None:
        row = self._run(_LARGEST, {"p_step": step_name, "p_model": model_id}).one()
        return Usage(int(row[1]), row[2], int(row[3] > 0)) if row[0] else None

    @override
    def of_run(self, run_id: RunId) -> list[RequestView]:
        query = select(REQUESTS).where(_Q.flow_run_id == run_id).order_by(_Q.id)
        return [request_view(row) for row in self._run(query)]

    @override
    def costs(
        self,
        by: CostBy | CostGroup,
        also: CostBy | CostGroup | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        flow_name: str | None = None,
        user_id: str | None = None,
        run_id: RunId | None = None,
        limit: int | None = None,
    ) -> list[CostLine]:
        name = _column(by).label("name")
        second = (literal(None) if also is None else _column(also)).label("also")
        where = [
            None if since is None else _Q.created_at >= since,
            None if until is None else _Q.created_at < until,
            None if flow_name is None else _Q.flow_name == flow_name,
            None if user_id is None else _Q.user_id == user_id,
            None if run_id is None else _Q.flow_run_id == run_id,
        ]
        query = (
            select(
                name,
                func.count(),
                func.sum(case((_Q.status.in_(_ENDED_WELL), 0), else_=1)),
                func.sum(case((_Q.cost_status == CostStatus.UNKNOWN, 1), else_=0)),
                func.sum(_Q.input_tokens),
                func.sum(_Q.output_tokens),
                func.sum(_Q.cached_tokens),
                _COST.label("cost"),
                second,
            )
            .where(and_(True, *(one for one in where if one is not None)))
            .group_by(*([name] if also is None else [name, second]))
        )
        if by is CostBy.DAY:
            query = query.order_by(name.desc())
        else:
            query = query.order_by(_COST.desc(), func.sum(_Q.input_tokens).desc(), name)
        return [_line(row) for row in self._run(query.limit(limit))]


def _column(group: CostBy | CostGroup) -> ColumnElement[Any]:
    if isinstance(group, CostBy):
        group = CostGroup(group)
    if group.by is CostBy.METADATA:
        label: ColumnElement[Any] = json_entry(_Q.labels, group.key)
        return label
    return _GROUPS[group.by]


def _step_id(one: EndedRequest) -> StepRunId:
    assert one.caller.step_id is not None
    return one.caller.step_id


def _ended(one: EndedRequest) -> dict[str, Any]:
    return {
        "p_id": one.id,
        "p_status": one.status,
        "p_input": one.tokens.input,
        "p_output": one.tokens.output,
        "p_cached": one.tokens.cached,
        "p_cost": one.cost,
        "p_cost_status": one.cost_status,
        "p_latency": one.latency_ms,
        "p_error": one.error,
        "p_object": one.object_key,
        "p_prompt": one.prompt,
        "p_answer": one.answer,
        "p_price": None if one.price is None else asdict(one.price),
    }


def _added(one: EndedRequest) -> dict[str, Any]:
    return {
        "p_step": one.caller.step_id,
        "p_tokens": one.tokens.total,
        "p_cost": one.cost or Decimal(0),
        "p_priced": int(one.cost_status is not CostStatus.UNKNOWN),
        "p_request": one.id,
    }


def request_view(row: Any) -> RequestView:
    """Return a call as people see it, from its row."""
    return RequestView(
        id=row.id,
        step_id=row.flow_step_run_id,
        attempt=row.attempt,
        provider=row.provider,
        model=row.model,
        status=RequestStatus(row.status),
        tokens=Tokens(row.input_tokens, row.output_tokens, row.cached_tokens),
        cost=row.cost,
        cost_status=CostStatus(row.cost_status),
        latency_ms=row.latency_ms,
        error=row.error_message,
        created_at=row.created_at,
        prompt=row.prompt,
        answer=row.answer,
        price=None if row.price is None else AppliedPrice(**row.price),
    )


def _line(row: Any) -> CostLine:
    return CostLine(
        name=row[0],
        calls=row[1],
        failed=int(row[2]),
        unknown=int(row[3]),
        tokens=Tokens(int(row[4]), int(row[5]), int(row[6])),
        cost=row[7],
        also=row[8],
    )

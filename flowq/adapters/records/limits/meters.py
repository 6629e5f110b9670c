"""What was spent under each budget: one row, charged by the transaction that ends a call.

Only runs, flows and users with a budget are charged. A meter is inserted when it is first read;
that of a month begins with the sum of the earlier calls of the month.

Calls that run reserve what they may use, each in a row of its own under each meter. A transaction
that reserves locks the meters first. So does one that charges, and it deletes the reservation of
its call: each of them sees all of the other, or nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Float, bindparam, delete, func, insert, literal, select, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import (
    METERS,
    REQUESTS,
    RESERVATIONS,
    RUNS,
    STEPS,
    Repository,
    by_dialect,
)
from flowq.adapters.records.sql.types import DbNow, total_cost
from flowq.core.ids import RunId
from flowq.core.limits.budgets import run_of_meter
from flowq.core.limits.reservations import MeterUse
from flowq.core.states import StepState
from flowq.core.usage import Usage
from flowq.engine.model.model_calls import Caller
from flowq.engine.ports.limits.meters import Meters

_M, _Q, _V, _S = METERS.c, REQUESTS.c, RESERVATIONS.c, STEPS.c
_READ: Final = select(_M.key, _M.used, _M.cost).where(
    _M.key.in_(bindparam("p_keys", expanding=True))
)
_CHARGE: Final = Prepared(
    update(METERS)
    .where(_M.key == bindparam("p_key"))
    .values(
        used=_M.used + bindparam("p_tokens"),
        cost=_M.cost + bindparam("p_cost", type_=_M.cost.type),
    )
)
_MAKE: Final = by_dialect(METERS, lambda new: new.on_conflict_do_nothing())
_LOCK: Final = _READ.order_by(_M.key).with_for_update()
_RESERVED: Final = (
    select(_V.meter, func.count(), func.sum(_V.tokens), total_cost(_V.cost))
    .where(_V.meter.in_(bindparam("p_keys", expanding=True)))
    .group_by(_V.meter)
)
_RESERVE: Final = insert(RESERVATIONS).values(created_at=DbNow())
_RELEASE: Final = delete(RESERVATIONS).where(_V.call_id.in_(bindparam("p_keys", expanding=True)))
_RECLAIM: Final = delete(RESERVATIONS).where(
    _V.created_at < DbNow(bindparam("p_before", type_=Float)),
    ~select(_S.id)
    .where(_S.id == _V.step_run_id, _S.lease_token == _V.token, _S.status == StepState.RUNNING)
    .exists(),
)
_UNWARNED: Final = select(_M.key).where(_M.key == bindparam("p_key"), _M.warned_at.is_(None))
_WARN: Final = (
    update(METERS)
    .where(_M.key == bindparam("p_key"), _M.warned_at.is_(None))
    .values(warned_at=DbNow())
)
_WARNINGS: Final = select(RUNS.c.budget_warnings).where(RUNS.c.id == bindparam("p_run"))
_REARM: Final = update(METERS).where(_M.key == bindparam("p_key")).values(warned_at=None)
_COLUMNS: Final[Mapping[str, Any]] = {"user": _Q.user_id, "flow": _Q.flow_name}


class SqlMeters(Repository, Meters):
    """Implements `flowq.engine.ports.Meters`."""

    @override
    def spent(self, meters: Sequence[str]) -> Mapping[str, Usage]:
        month = month_of_meters()
        keys = {meter: _key(meter, month) for meter in meters}
        return self._spent(keys, month, _READ)

    @override
    def warn(self, meter: str, run_id: RunId, warning: Mapping[str, Any]) -> bool:
        key = {"p_key": _key(meter, month_of_meters())}
        if self._run(_UNWARNED, key).first() is None:
            return False
        # The run first: who raises its budget locks them in this order.
        row = self._run(_WARNINGS.with_for_update(), {"p_run": run_id}).first()
        if not self._changes(_WARN, key):
            return False
        given = [*(_listed(row[0]) if row else []), dict(warning)]
        self._run(update(RUNS).where(RUNS.c.id == run_id).values(budget_warnings=given))
        return True

    @override
    def warnings(self, run_id: RunId) -> list[Mapping[str, Any]]:
        row = self._run(_WARNINGS, {"p_run": run_id}).first()
        return _listed(row[0]) if row else []

    @override
    def rearm(self, meter: str) -> None:
        self._run(_REARM, {"p_key": _key(meter, month_of_meters())})

    @override
    def lock(self, meters: Sequence[str]) -> Mapping[str, MeterUse]:
        month = month_of_meters()
        keys = {meter: _key(meter, month) for meter in meters}
        spent = self._spent(keys, month, _LOCK)
        rows = self._run_parts(_RESERVED, {}, list(keys.values()))
        held = {row[0]: (Usage(int(row[2]), row[3]), row[1]) for row in rows}
        nothing = (Usage(), 0)
        return {meter: MeterUse(spent[meter], *held.get(keys[meter], nothing)) for meter in meters}

    @override
    def reserve(self, call_id: UUID, caller: Caller, made: Mapping[str, Usage]) -> None:
        month = month_of_meters()
        of_call = {"call_id": call_id, "step_run_id": caller.step_id, "token": caller.token}
        rows = [
            {**of_call, "meter": _key(meter, month), "tokens": used.tokens, "cost": used.cost}
            for meter, used in made.items()
        ]
        if rows:
            self._run(_RESERVE, rows)

    @override
    def release(self, call_ids: Sequence[UUID]) -> None:
        self._run(_RELEASE, {"p_keys": list(call_ids)})

    @override
    def reclaim(self, age: timedelta) -> int:
        return self._run(_RECLAIM, {"p_before": -age.total_seconds()}).rowcount

    @override
    def month(self) -> str:
        return f"{month_of_meters():%Y-%m}"

    @override
    def charge(self, charges: Mapping[str, Usage]) -> None:
        """Add to existing meters; in order, so that concurrent charges do not deadlock."""
        month = month_of_meters()
        for meter, usage in sorted(charges.items(), key=lambda one: one[0]):
            given = {"p_key": _key(meter, month), "p_tokens": usage.tokens}
            self._run(_CHARGE, {**given, "p_cost": usage.cost})

    def inherit(self, old: str, new: str) -> None:
        """Start a meter with the values of another one, if that exists."""
        begun = select(literal(new), _M.began_at, _M.used, _M.cost)
        names = ["key", "began_at", "used", "cost"]
        self._run(insert(METERS).from_select(names, begun.where(_M.key == old)))

    def _spent(self, keys: Mapping[str, str], month: datetime, query: Any) -> dict[str, Usage]:
        """Return what is spent by meter; make the missing meters."""
        found = self._read(keys.values(), query)
        missing = [meter for meter, key in keys.items() if key not in found]
        if missing:
            for meter in sorted(missing):
                self._make(meter, keys[meter], month)
            found = self._read(keys.values(), query)
        return {meter: found[key] for meter, key in keys.items()}

    def _read(self, keys: Any, query: Any) -> dict[str, Usage]:
        rows = self._run_parts(query, {}, list(keys))
        return {row[0]: Usage(int(row[1]), row[2]) for row in rows}

    def _make(self, meter: str, key: str, month: datetime) -> None:
        kind, _, name = meter.partition(":")
        begins = Usage()
        if kind in _COLUMNS:
            tokens = func.coalesce(func.sum(_Q.input_tokens + _Q.output_tokens), 0)
            cost = total_cost(_Q.cost)
            made = select(tokens, cost).where(_COLUMNS[kind] == name, _Q.created_at >= month)
            row = self._run(made).one()
            begins = Usage(int(row[0]), row[1])
        row_values = {"key": key, "began_at": month, "used": begins.tokens, "cost": begins.cost}
        self._run(_MAKE[self._connection.dialect.name], row_values)


def month_of_meters() -> datetime:
    """Return the begin of the present month of meters."""
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _listed(warnings: Any) -> list[Mapping[str, Any]]:
    """Return the warnings that can be read."""
    if not isinstance(warnings, list):
        return []
    return [warning for warning in warnings if isinstance(warning, dict)]


def _key(meter: str, month: datetime) -> str:
    return f"{meter}:{month:%Y-%m}" if run_of_meter(meter) is None else meter

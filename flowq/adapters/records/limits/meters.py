"""What was spent under each budget: one row, charged by the transaction that ends a call.

Only runs, flows and users with a budget are charged. A meter is inserted when it is first read;
that of a month begins with the sum of the earlier calls of the month.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, literal, select, update
from typing_extensions import override

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import METERS, REQUESTS, Repository, by_dialect
from flowq.adapters.records.sql.types import total_cost
from flowq.core.limits.budgets import run_of_meter
from flowq.core.usage import Usage
from flowq.engine.ports.limits.meters import Meters

_M, _Q = METERS.c, REQUESTS.c
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
_COLUMNS: Final[Mapping[str, Any]] = {"user": _Q.user_id, "flow": _Q.flow_name}


class SqlMeters(Repository, Meters):
    """Implements `flowq.engine.ports.Meters`."""

    @override
    def spent(self, meters: Sequence[str]) -> Mapping[str, Usage]:
        month = month_of_meters()
        keys = {meter: _key(meter, month) for meter in meters}
        found = self._read(keys.values())
        missing = [meter for meter in meters if keys[meter] not in found]
        if missing:
            for meter in missing:
                self._make(meter, keys[meter], month)
            found = self._read(keys.values())
        return {meter: found[keys[meter]] for meter in meters}

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

    def _read(self, keys: Any) -> dict[str, Usage]:
        rows = self._run_parts(_READ, {}, list(keys))
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


def _key(meter: str, month: datetime) -> str:
    return f"{meter}:{month:%Y-%m}" if run_of_meter(meter) is None else meter

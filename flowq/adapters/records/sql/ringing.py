"""Rows that a worker gets a message of when they are due: schedules, and requests of runs.

Their tables have `flow_name`, `wake_at` and `rings`. Rows are taken with SKIP LOCKED, and are due
again after a pause that doubles with each message.
"""

from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from typing import Any, ClassVar, Final, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Table,
    bindparam,
    literal,
    select,
    update,
)

from flowq.adapters.records.sql.repository import Repository
from flowq.adapters.records.sql.types import DbNow

#: Bound of the exponent of a pause, against overflow.
_MAX_DOUBLINGS: Final = 20


class Rings(NamedTuple):
    """The statements of one table."""

    any_due: Executable
    take: Executable
    ring: Executable


def rings_of(table: Table, key: str, due: ColumnElement[bool]) -> Rings:
    """Return the statements of a table, whose rows are named by a column, and due by a term."""
    columns = table.c
    keys: BindParameter[Any] = bindparam("p_keys", expanding=True)
    take = (
        select(columns[key], columns.flow_name, columns.rings)
        .where(due, columns.flow_name.in_(keys))
        .order_by(columns.wake_at)
        .limit(bindparam("p_limit", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    again = DbNow(bindparam("p_again", type_=Float))
    ring = update(table).where(columns[key].in_(keys))
    return Rings(
        select(literal(1)).select_from(table).where(due).limit(1),
        take,
        ring.values(rings=columns.rings + 1, wake_at=again),
    )


class RingingRows(Repository):
    """The base of the repositories of such tables."""

    _rings: ClassVar[Rings]

    def any_due(self) -> bool:
        """Whether a row of any flow is due: one look into an index."""
        return self._run(self._rings.any_due).first() is not None

    def take_due(
        self, flows: Collection[str], *, again: timedelta, longest: timedelta, limit: int
    ) -> list[tuple[str, str]]:
        """Take due rows of some flows; they are due again after a pause that doubles.

        Args:
            flows: Names of the flows that the caller knows.
            again: The first pause.
            longest: The longest pause.
            limit: How many rows at most.

        Returns:
            The name or id of each, with that of its flow.
        """
        taken = list(self._run_parts(self._rings.take, {"p_limit": limit}, sorted(flows)))
        by_rings: dict[int, list[Any]] = defaultdict(list)
        for key, _, rings in taken:
            by_rings[rings].append(key)
        for rings, keys in by_rings.items():
            pause = min(again * 2 ** min(rings, _MAX_DOUBLINGS), longest)
            self._run(self._rings.ring, {"p_keys": keys, "p_again": pause.total_seconds()})
        return [(str(key), flow) for key, flow, _ in taken]

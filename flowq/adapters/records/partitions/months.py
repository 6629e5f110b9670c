"""The partitions of the large tables: which there are, how they are made and dropped.

Ids begin with the time of their run, so a range of ids is a span of time: a table that is
partitioned by `id` is partitioned by month, its primary key stays unique, and all rows of a run are
in one partition. What existed before the conversion is the first partition, without a lower bound.
Ids that no month contains are in the partition `_other`, so no INSERT fails for want of one.

A new partition is made as a table of its own and then attached, since CREATE TABLE … PARTITION OF
would lock out all readers of the table. Each change of the catalog waits for locks for a short time
only: whatever comes after it would wait behind it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, exists, select, text
from sqlalchemy import table as sql_table

from flowq.adapters.records.sql.repository import REQUESTS, STEPS
from flowq.core.ids import earliest_id

#: The tables that can be partitioned, by their column `id`.
TABLES: Final = (STEPS.name, REQUESTS.name)
#: Months that have a partition before they begin.
AHEAD: Final = 2
#: A change that waits for others makes all that come after it wait, too.
LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"
#: The constraint that a table has while it is converted, see `converting`.
CHECK: Final = "ck_flowq_before"

_MONTHS: Final = 12
_UPPER: Final = re.compile(r" TO \('([0-9a-f-]{36})'\)$")
_TABLES: Final = text(
    """
    SELECT c.relname, n.nspname, c.relkind = 'p' AS partitioned,
           EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conrelid = c.oid AND k.conname = :check) AS interrupted,
           EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.confrelid = c.oid AND k.conparentid = 0 AND NOT k.convalidated)
             AS unvalidated
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname = ANY(:tables) AND c.relkind IN ('r', 'p')
       AND pg_catalog.pg_table_is_visible(c.oid)
     ORDER BY c.relname
    """
)
_PARTITIONS: Final = text(
    """
    SELECT p.relname AS parent, c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound,
           coalesce(pg_catalog.array_to_string(c.reloptions, ', '), '') AS options,
           pg_catalog.pg_relation_size(c.oid) AS size
      FROM pg_catalog.pg_inherits i
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
      JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
     WHERE p.relname = ANY(:tables) AND p.relkind = 'p' AND pg_catalog.pg_table_is_visible(p.oid)
    """
)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition.

    Attributes:
        name: Of its table.
        upper: Its ids are smaller; None: it is the one of all ids that no month contains.
        options: The storage parameters of its table, as SQL.
        size: Bytes of its rows, also of deleted ones that were not vacuumed yet.
    """

    name: str
    upper: UUID | None
    options: str
    size: int


@dataclass(frozen=True, slots=True)
class LargeTable:
    """A table that is, or can be, partitioned.

    Attributes:
        name: Its name.
        schema: Its schema.
        is_partitioned: Whether it is.
        is_interrupted: Whether a conversion was ended before its end, or is in progress.
        partitions: In the order of their ids, that of all other ids last.
    """

    name: str
    schema: str
    is_partitioned: bool
    is_interrupted: bool
    partitions: tuple[Partition, ...] = ()

    @property
    def months(self) -> Sequence[Partition]:
        """Its partitions but that of all other ids."""
        return [one for one in self.partitions if one.upper is not None]

    @property
    def until(self) -> UUID:
        """The end of its last month."""
        return max(one.upper for one in self.partitions if one.upper is not None)

    def quoted(self, name: str | None = None) -> str:
        """Return the name of the table, or of another one beside it, as SQL."""
        return f"{quoted(self.schema)}.{quoted(name or self.name)}"


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def month_after(moment: datetime, months: int = 1) -> datetime:
    """Return the begin of a month, counted from that of a moment."""
    count = moment.year * _MONTHS + moment.month - 1 + months
    return datetime(count // _MONTHS, count % _MONTHS + 1, 1, tzinfo=UTC)


def moment_of(id_: UUID) -> datetime:
    """Return the moment that an id begins with."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)


def read_tables(connection: Connection) -> list[LargeTable]:
    """Return the large tables of a PostgreSQL database."""
    given = {"tables": list(TABLES)}
    tables = connection.execute(_TABLES, {**given, "check": CHECK}).all()
    parts: dict[str, list[Partition]] = {}
    if any(row.partitioned for row in tables):
        for row in connection.execute(_PARTITIONS, given):
            found = _UPPER.search(row.bound)
            upper = UUID(found[1]) if found else None
            parts.setdefault(row.parent, []).append(
                Partition(row.relname, upper, row.options, row.size)
            )
    return [
        LargeTable(
            row.relname,
            row.nspname,
            is_partitioned=row.partitioned,
            is_interrupted=row.interrupted or row.unvalidated,
            partitions=tuple(sorted(parts.get(row.relname, ()), key=_by_upper)),
        )
        for row in tables
    ]


def _by_upper(one: Partition) -> tuple[bool, int]:
    return one.upper is None, one.upper.int if one.upper else 0


def missing_month(table: LargeTable, now: datetime) -> datetime | None:
    """Return the begin of the first month that lacks its partition; None if none does."""
    begin = moment_of(table.until)
    return begin if begin < month_after(now, AHEAD + 1) else None


def make_month(connection: Connection, table: LargeTable, begin: datetime) -> str:
    """Make the partition of a month; returns its name. The transaction is the caller's."""
    name = f"{table.name}_{begin:%Y_%m}"
    lower, upper = earliest_id(begin), earliest_id(month_after(begin))
    attach(connection, table, name, f"FOR VALUES FROM ('{lower}') TO ('{upper}')")
    return name


def attach(connection: Connection, table: LargeTable, name: str, bound: str) -> None:
    """Make an empty table like the last partition and attach it."""
    months = table.months
    options = f" WITH ({months[-1].options})" if months and months[-1].options else ""
    parent, new = table.quoted(), table.quoted(name)
    for statement in (
        LOCK_TIMEOUT,
        f"CREATE TABLE {new} (LIKE {parent} INCLUDING ALL EXCLUDING INDEXES){options}",
        f"ALTER TABLE {parent} ATTACH PARTITION {new} {bound}",
    ):
        execute(connection, statement)


def drop_if_empty(connection: Connection, table: LargeTable, now: datetime) -> str | None:
    """Drop one partition of an ended month that has no row; returns its name.

    Only one whose rows were vacuumed away is read, since it has no page. It is locked before it is
    read again, so no row is lost. A later row of that month would be in the partition of others.
    """
    ended = earliest_id(month_after(now, 0))
    for one in table.months[:-1]:
        if one.upper is None or one.upper > ended or one.size:
            continue
        name = table.quoted(one.name)
        execute(connection, LOCK_TIMEOUT)
        execute(connection, f"LOCK TABLE {table.quoted()} IN ACCESS EXCLUSIVE MODE")
        if has_row(connection, table, one):
            continue
        execute(connection, f"ALTER TABLE {table.quoted()} DETACH PARTITION {name}")
        execute(connection, f"DROP TABLE {name}")
        return one.name
    return None


def has_row(connection: Connection, table: LargeTable, one: Partition) -> bool:
    """Return whether a partition has a row."""
    rows = select(exists().select_from(sql_table(one.name, schema=table.schema)))
    return bool(connection.execute(rows).scalar())


def drop_check(connection: Connection, table: LargeTable) -> None:
    """Drop what an interrupted conversion has left: it would refuse the ids of later months."""
    execute(connection, LOCK_TIMEOUT)
    execute(connection, f"ALTER TABLE {table.quoted()} DROP CONSTRAINT IF EXISTS {CHECK}")


def execute(connection: Connection, statement: str) -> None:
    """Run a statement whose text is not a template."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

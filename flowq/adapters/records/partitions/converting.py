"""Converts the large tables to partitioned ones while workers use them, without rewriting a row.

The table becomes the first partition of a new table of its name. PostgreSQL would read all of it to
see that its ids are in the range; so a CHECK constraint says that first, and is validated under a
lock that lets everybody read and write. Then one short transaction renames the table, makes the new
one with the same columns, indexes, constraints, owner and rights, attaches the old one, and lets
the foreign keys of other tables refer to the new one. Those are validated afterwards, like the
CHECK. Each step can be repeated: a conversion that was interrupted is continued by the next one.

Whatever a partitioned table cannot have, or what would stay with the old one, is refused before
anything is changed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flowq.adapters.records.connections.engine import open_engine, read_url, session_of
from flowq.adapters.records.connections.error_kinds import sqlstate, translated
from flowq.adapters.records.migrations import revisions
from flowq.adapters.records.migrations.revisions import TURN
from flowq.adapters.records.partitions.months import (
    CHECK,
    LOCK_TIMEOUT,
    LargeTable,
    attach,
    drop_check,
    execute,
    make_month,
    missing_month,
    month_after,
    quoted,
    read_tables,
)
from flowq.core.errors import DatabaseUnavailable, InvalidInput
from flowq.core.ids import earliest_id

#: The months after the conversion begin at least this much later: the check takes its time.
_ROOM: Final = timedelta(days=7)
#: How often a change is tried while others use a table, and the seconds in between.
_TRIES: Final = 30
_PAUSE: Final = 0.5
_BUSY: Final = ("55P03", "40P01")
#: The length of a name in PostgreSQL.
_NAME: Final = 63
_BEFORE: Final = "_before"

_TABLE: Final = text("SELECT pg_catalog.to_regclass(:name)::oid")
_OBSTACLES: Final = text(
    """
    SELECT 'the trigger ' || tgname FROM pg_catalog.pg_trigger
     WHERE tgrelid = :table AND NOT tgisinternal
    UNION ALL SELECT 'the policy ' || polname FROM pg_catalog.pg_policy WHERE polrelid = :table
    UNION ALL SELECT 'the rule ' || rulename FROM pg_catalog.pg_rewrite WHERE ev_class = :table
    UNION ALL SELECT 'the publication ' || pubname FROM pg_catalog.pg_publication p
      JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE r.prrelid = :table
    UNION ALL SELECT DISTINCT 'the materialized view ' || v.oid::regclass
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
      JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'm'
     WHERE d.refobjid = :table AND d.refclassid = 'pg_class'::regclass
    UNION ALL SELECT 'the inheritance of ' || inhrelid::regclass FROM pg_catalog.pg_inherits
     WHERE :table IN (inhrelid, inhparent)
    UNION ALL SELECT 'the ' || CASE WHEN indisvalid THEN 'unique' ELSE 'invalid' END || ' index '
        || indexrelid::regclass FROM pg_catalog.pg_index
     WHERE indrelid = :table AND NOT indisprimary AND (indisunique OR NOT indisvalid)
    UNION ALL SELECT 'the rights on the column ' || attname FROM pg_catalog.pg_attribute
     WHERE attrelid = :table AND attacl IS NOT NULL
    """
)
_INDEXES: Final = text(
    """
    SELECT c.relname, pg_catalog.pg_get_indexdef(c.oid) AS definition, i.indisprimary
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = :table ORDER BY c.relname
    """
)
_CONSTRAINTS: Final = text(
    """
    SELECT conname, pg_catalog.pg_get_constraintdef(oid) AS definition,
           contype = 'f' AS foreign_key, conrelid = :table AS own,
           conrelid::regclass::text AS on_table,
           confrelid::regclass::text AS to_table
      FROM pg_catalog.pg_constraint
     WHERE (conrelid = :table AND contype IN ('p', 'c', 'f') OR confrelid = :table)
       AND conparentid = 0 AND conname <> :check
     ORDER BY conname
    """
)
_RIGHTS: Final = text(
    """
    SELECT a.privilege_type, a.is_grantable,
           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
      FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
     WHERE c.oid = :table AND a.grantee <> c.relowner
    """
)
_VIEWS: Final = text(
    """
    SELECT DISTINCT v.oid::regclass::text AS name, pg_catalog.pg_get_viewdef(v.oid) AS definition,
           coalesce(' WITH (' || pg_catalog.array_to_string(v.reloptions, ', ') || ')', '')
             AS options
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
      JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
     WHERE d.refobjid = :table AND d.refclassid = 'pg_class'::regclass
     ORDER BY 1
    """
)
_OWNER: Final = text("SELECT relowner::regrole::text FROM pg_catalog.pg_class WHERE oid = :table")
_UNVALIDATED: Final = text(
    """
    SELECT conrelid::regclass::text AS on_table, conname FROM pg_catalog.pg_constraint
     WHERE confrelid = :table AND conparentid = 0 AND NOT convalidated
    """
)


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """What a call has done with a table.

    Attributes:
        name: The table.
        is_new: Whether it was converted.
        made: Names of the partitions that were made, also that of the old rows.
    """

    name: str
    is_new: bool
    made: tuple[str, ...]


def partition(
    url: str, *, now: datetime | None = None, say: Callable[[str], None] = lambda _: None
) -> list[PartitionedTable]:
    """Partition the large tables by month; of those that are, make the months that are missing.

    Args:
        url: SQLAlchemy URL of a PostgreSQL database.
        now: The moment from which months are counted; for tests.
        say: Called with a text about each step of the conversion, before it begins.

    Raises:
        InvalidInput: it is no PostgreSQL, it is behind PgBouncer in transaction mode, or a table
            has something that a partitioned one cannot have.
        DatabaseUnavailable: it cannot be reached, or a table is used by a long transaction.
        DatabaseNotMigrated: its revision is older than this code.
        DatabaseTooNew: its revision is newer.
    """
    if read_url(url).get_backend_name() != "postgresql":
        raise InvalidInput(
            "only PostgreSQL has partitions, and this database is SQLite",
            hint="set FLOWQ_DATABASE_URL to a PostgreSQL database",
        )
    revisions.check(url)
    engine = open_engine(url, autocommit=True)
    try:
        with engine.connect() as connection, _alone(connection):
            moment = now or datetime.now(UTC)
            return [_partitioned(connection, one, moment, say) for one in read_tables(connection)]
    except SQLAlchemyError as error:
        raise translated(error, engine.url) from error
    finally:
        engine.dispose()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Have the turn of the migrations."""
    if session_of(connection).pooled:
        raise InvalidInput(
            "the database is behind PgBouncer in transaction mode",
            hint="give FLOWQ_DATABASE_URL the address of PostgreSQL itself for this command",
        )
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({TURN})").scalar():
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({TURN})")


def _partitioned(
    connection: Connection, table: LargeTable, now: datetime, say: Callable[[str], None]
) -> PartitionedTable:
    made: list[str] = []
    if not table.is_partitioned:
        oid = _oid(connection, table)
        _refuse_obstacles(connection, table, oid)
        bound = month_after(now + _ROOM)
        say(f"{table.name}: checking that its ids are before {bound:%Y-%m}")
        _in_transaction(connection, partial(_add_check, connection, table, bound))
        try:
            _validate_check(connection, table, bound)
            say(f"{table.name}: converting")
            made += _in_transaction(connection, lambda: _convert(connection, table, oid, bound))
        except BaseException:
            if not connection.invalidated:
                _in_transaction(connection, lambda: drop_check(connection, table))
            raise
    oid = _oid(connection, table)
    for row in connection.execute(_UNVALIDATED, {"table": oid}).all():
        say(f"{table.name}: checking the foreign key of {row.on_table}")
        execute(connection, f"ALTER TABLE {row.on_table} VALIDATE CONSTRAINT {quoted(row.conname)}")
    while (begin := missing_month(_read(connection, table), now)) is not None:
        made.append(_in_transaction(connection, partial(_make, connection, table, begin)))
    if made:
        execute(connection, f"ANALYZE {table.quoted()}")
    return PartitionedTable(table.name, not table.is_partitioned, tuple(made))


def _make(connection: Connection, table: LargeTable, begin: datetime) -> str:
    return make_month(connection, _read(connection, table), begin)


def _read(connection: Connection, table: LargeTable) -> LargeTable:
    return next(one for one in read_tables(connection) if one.name == table.name)


def _oid(connection: Connection, table: LargeTable) -> int:
    return int(connection.execute(_TABLE, {"name": table.quoted()}).scalar_one())


def _refuse_obstacles(connection: Connection, table: LargeTable, oid: int) -> None:
    found = connection.execute(_OBSTACLES, {"table": oid}).scalars().all()
    if found:
        raise InvalidInput(
            f"{table.name} is not partitioned, nothing was changed: {', '.join(found)} would be "
            "lost or cannot be on a partitioned table",
            hint="drop it, run flowq db partition, and create it again if it is possible there",
        )


def _add_check(connection: Connection, table: LargeTable, bound: datetime) -> None:
    """Let the table say that its ids are before a moment."""
    drop_check(connection, table)
    check = f"CHECK (id < '{earliest_id(bound)}') NOT VALID"
    execute(connection, f"ALTER TABLE {table.quoted()} ADD CONSTRAINT {CHECK} {check}")


def _validate_check(connection: Connection, table: LargeTable, bound: datetime) -> None:
    try:
        execute(connection, f"ALTER TABLE {table.quoted()} VALIDATE CONSTRAINT {CHECK}")
    except DBAPIError as error:
        if sqlstate(error) != "23514":
            raise
        raise InvalidInput(
            f"{table.name} is not partitioned, nothing was changed: it has rows whose ids are of "
            f"a time after {bound:%Y-%m-%d}; the clock of a client was wrong",
            hint=f"look at the rows whose id is {earliest_id(bound)} or greater",
        ) from error


def _convert(connection: Connection, table: LargeTable, oid: int, bound: datetime) -> list[str]:
    """Do the conversion; the table has a valid `CHECK`."""
    shape = _shape(connection, oid)
    name, old_name = table.quoted(), f"{table.name}_before_{bound:%Y_%m}"
    old, last = table.quoted(old_name), earliest_id(bound)
    execute(connection, LOCK_TIMEOUT)
    _run(
        connection,
        *(f"LOCK TABLE {one.to_table} IN SHARE ROW EXCLUSIVE MODE" for one in shape.outbound),
        f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE",
        # This locks the others, too.
        *(f"ALTER TABLE {x.on_table} DROP CONSTRAINT {quoted(x.conname)}" for x in shape.inbound),
        f"ALTER TABLE {name} RENAME TO {quoted(old_name)}",
        *(_renamed(table, index.relname) for index in shape.indexes),
        *_new(shape, name, old),
        f"ALTER TABLE {name} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{last}')",
        f"ALTER TABLE {old} DROP CONSTRAINT {CHECK}",
    )
    others = f"{table.name}_other"
    attach(connection, _read(connection, table), others, "DEFAULT")
    month = _make(connection, table, bound)
    _run(
        connection,
        *(
            f"ALTER TABLE {one.on_table} ADD CONSTRAINT {quoted(one.conname)} "
            f"{one.definition} NOT VALID"
            for one in shape.inbound
        ),
        # They read the old table until now.
        *(
            f"CREATE OR REPLACE VIEW {view.name}{view.options} AS {view.definition}"
            for view in shape.views
        ),
    )
    return [old_name, month, others]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the new table has to have of the old one."""

    owner: str
    indexes: Sequence[Any]
    own: Sequence[Any]  #: Its constraints.
    inbound: Sequence[Any]  #: The foreign keys of other tables.
    rights: Sequence[Any]
    views: Sequence[Any]

    @property
    def outbound(self) -> Sequence[Any]:
        return [one for one in self.own if one.foreign_key]


def _shape(connection: Connection, oid: int) -> _Shape:
    given = {"table": oid}
    constraints = connection.execute(_CONSTRAINTS, {**given, "check": CHECK}).all()
    return _Shape(
        owner=connection.execute(_OWNER, given).scalar_one(),
        indexes=connection.execute(_INDEXES, given).all(),
        own=[one for one in constraints if one.own],
        inbound=[one for one in constraints if not one.own],
        rights=connection.execute(_RIGHTS, given).all(),
        views=connection.execute(_VIEWS, given).all(),
    )


def _renamed(table: LargeTable, index: str) -> str:
    """The new index has the name of the old one."""
    name = index[: _NAME - len(_BEFORE)] + _BEFORE
    return f"ALTER INDEX {table.quoted(index)} RENAME TO {quoted(name)}"


def _new(shape: _Shape, name: str, old: str) -> Iterator[str]:
    """Make the partitioned table."""
    like = f"LIKE {old} INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS"
    yield f"CREATE TABLE {name} ({like}) PARTITION BY RANGE (id)"
    for one in shape.own:
        yield f"ALTER TABLE {name} ADD CONSTRAINT {quoted(one.conname)} {one.definition}"
    for index in shape.indexes:
        if not index.indisprimary:
            yield index.definition
    for right in shape.rights:
        option = " WITH GRANT OPTION" if right.is_grantable else ""
        yield f"GRANT {right.privilege_type} ON {name} TO {right.grantee}{option}"
    yield f"ALTER TABLE {name} OWNER TO {shape.owner}"


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        execute(connection, statement)


def _in_transaction(connection: Connection, work: Callable[[], Any]) -> Any:
    """Run a change of the catalog; it is tried again while a table is used by others."""
    for tries_left in reversed(range(_TRIES)):
        execute(connection, "BEGIN")
        try:
            value = work()
            execute(connection, "COMMIT")
        except BaseException as error:
            if not connection.invalidated:
                execute(connection, "ROLLBACK")
            if not isinstance(error, DBAPIError) or sqlstate(error) not in _BUSY:
                raise
            if not tries_left:
                raise DatabaseUnavailable(
                    "a table is used by a long transaction, e.g. a backup; nothing was changed",
                    hint="run flowq db partition again when that is finished",
                ) from error
        else:
            return value
        time.sleep(_PAUSE)
    raise AssertionError("unreachable")

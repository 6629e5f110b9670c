"""Migrations of tables that workers use meanwhile: `op.ensure_index`, an operation of Alembic.

A column that may be NULL is added by a change of the catalog alone. An index reads the whole table,
and a plain CREATE INDEX keeps everybody from writing to it that long. PostgreSQL builds it without
that lock outside of a transaction. So what the migrations before have done is committed first, and
the revision of the index has to bear being done again. If it fails, an invalid index is left, which
takes the name: it is dropped first. On a partitioned table each partition gets such an index.

The index is built in the transaction where nobody has to wait, in an empty table and on SQLite, and
where the settings of flowq hold in transactions only: behind PgBouncer in transaction mode.
"""

from collections.abc import Sequence
from typing import Any, Final

from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Connection, exists, select, table, text
from sqlalchemy.schema import CreateIndex

from flowq.adapters.records.connections.engine import session_of

#: A change that waits for a long transaction of others makes all that come after it wait, too.
LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '5s'"
_IS_VALID: Final = text(
    """
    SELECT i.indisvalid FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE c.relname = :name AND pg_catalog.pg_table_is_visible(c.oid)
    """
)
#: The partitions of a table whose index of a name is not part of that of the table yet.
_WITHOUT: Final = text(
    """
    SELECT c.relname FROM pg_catalog.pg_inherits i
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
      JOIN pg_catalog.pg_class t ON t.oid = i.inhparent
     WHERE t.relname = :table AND t.relkind = 'p' AND pg_catalog.pg_table_is_visible(t.oid)
       AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_index x
             JOIN pg_catalog.pg_inherits y ON y.inhrelid = x.indexrelid
            WHERE x.indrelid = c.oid AND y.inhparent = pg_catalog.to_regclass(:name))
     ORDER BY c.relname
    """
)
_IS_PARTITIONED: Final = text(
    """
    SELECT relkind = 'p' FROM pg_catalog.pg_class
     WHERE relname = :table AND relkind IN ('r', 'p') AND pg_catalog.pg_table_is_visible(oid)
    """
)
_LONGEST_NAME: Final = 63


@Operations.register_operation("ensure_index")
class EnsureIndex(MigrateOperation):
    """An index that has to be there."""

    def __init__(
        self, name: str, table_name: str, columns: Sequence[str], where: str | None, *, unique: bool
    ) -> None:
        self.name = name
        self.table_name = table_name
        self.columns = list(columns)
        self.where = where
        self.unique = unique

    @classmethod
    def ensure_index(
        cls,
        operations: Operations,
        name: str,
        table_name: str,
        columns: Sequence[str],
        *,
        where: str | None = None,
        unique: bool = False,
    ) -> None:
        """Create an index, unless it is there.

        Args:
            operations: Those of the migration.
            name: Of the index.
            table_name: Of its table.
            columns: Its columns, in order.
            where: The condition of a partial index.
            unique: Whether it refuses equal rows.
        """
        operations.invoke(cls(name, table_name, columns, where, unique=unique))


@Operations.implementation_for(EnsureIndex)
def _ensure(operations: Operations, wanted: EnsureIndex) -> None:
    connection = operations.get_bind()
    if not _has_to_be_online(connection, wanted.table_name):
        _create(operations, wanted)
        return
    if connection.execute(_IS_PARTITIONED, {"table": wanted.table_name}).scalar():
        _ensure_on_partitions(operations, wanted)
        return
    _ensure_concurrently(operations, [wanted])


def _ensure_concurrently(operations: Operations, wanted: Sequence[EnsureIndex]) -> None:
    with operations.get_context().autocommit_block():
        connection = operations.get_bind()
        for one in wanted:
            is_valid = connection.execute(_IS_VALID, {"name": one.name}).scalar()
            if is_valid is False:
                operations.drop_index(one.name, one.table_name, postgresql_concurrently=True)
            if not is_valid:
                _create(operations, one, postgresql_concurrently=True)
    operations.get_bind().exec_driver_sql(LOCK_TIMEOUT)  # a new transaction has begun


def _ensure_on_partitions(operations: Operations, wanted: EnsureIndex) -> None:
    """Build an index on each partition, then make them parts of that of the table."""
    connection = operations.get_bind()
    index = operations.schema_obj.index(
        wanted.name, wanted.table_name, wanted.columns, unique=wanted.unique, **_where(wanted)
    )
    created = CreateIndex(index, if_not_exists=True).compile(dialect=connection.dialect)
    connection.exec_driver_sql(str(created).replace(" ON ", " ON ONLY ", 1))
    given = {"table": wanted.table_name, "name": wanted.name}
    prefix = f"{wanted.table_name}_"
    parts = [
        EnsureIndex(
            f"{wanted.name}_{name.removeprefix(prefix)}"[:_LONGEST_NAME],
            name,
            wanted.columns,
            wanted.where,
            unique=wanted.unique,
        )
        for name in connection.execute(_WITHOUT, given).scalars()
    ]
    _ensure_concurrently(operations, parts)
    quote = connection.dialect.identifier_preparer.quote
    for one in parts:
        attach = f"ALTER INDEX {quote(wanted.name)} ATTACH PARTITION {quote(one.name)}"
        operations.get_bind().exec_driver_sql(attach)


def _has_to_be_online(connection: Connection, table_name: str) -> bool:
    if connection.dialect.name != "postgresql" or session_of(connection).pooled:
        return False
    rows = select(exists().select_from(table(table_name)))
    return bool(connection.execute(rows).scalar())


def _create(operations: Operations, wanted: EnsureIndex, **options: Any) -> None:
    operations.create_index(
        wanted.name,
        wanted.table_name,
        wanted.columns,
        unique=wanted.unique,
        if_not_exists=True,
        **_where(wanted),
        **options,
    )


def _where(wanted: EnsureIndex) -> dict[str, Any]:
    where = None if wanted.where is None else text(wanted.where)
    return {"postgresql_where": where, "sqlite_where": where}

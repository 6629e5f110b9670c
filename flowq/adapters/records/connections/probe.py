"""Checks whether a database works: its version, and whether it accepts writes.

Everything is rolled back. On PostgreSQL each kind of write is tried on each table without a row,
which checks the rights of the role and whether the server accepts writes. SQLite would keep the
rolled back data in memory, so it is made to write a megabyte into its log, which fails on a full
disk.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, delete, false, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from flowq.adapters.records.connections.engine import open_engine, session_of
from flowq.adapters.records.connections.error_kinds import translated
from flowq.adapters.records.sql.tables import Base

_ROOM: Final = 1024 * 1024
_BACKEND: Final = "SELECT pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe.

    Attributes:
        version: Of the server, or of SQLite.
        pooler: The `pool_mode` of the PgBouncer before it, if visible; None without one.
    """

    version: str
    pooler: str | None = None


def probe(url: str, *, tables: bool) -> ProbeResult:
    """Check a database and try to write.

    Args:
        tables: Whether flowq's tables exist and are tried.

    Raises:
        DatabaseUnavailable: it cannot be reached, or not be written.
    """
    engine = open_engine(url, autocommit=True)
    try:
        with engine.connect() as connection:
            version = ".".join(map(str, (connection.dialect.server_version_info or ())[:2]))
            pooled = session_of(connection).pooled
            for begin in session_of(connection).begin:
                connection.exec_driver_sql(begin)
            if engine.dialect.name == "sqlite":
                _fill(connection)
            elif tables:
                _write_nothing(connection)
            connection.exec_driver_sql("ROLLBACK")
        return ProbeResult(version, _mode(engine) if pooled else None)
    except SQLAlchemyError as error:
        raise translated(error, engine.url) from error
    finally:
        engine.dispose()


def _fill(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA cache_size = 2")  # pages; more goes to the disk at once
    connection.exec_driver_sql("CREATE TABLE flowq_look (room BLOB)")
    connection.exec_driver_sql("INSERT INTO flowq_look VALUES (zeroblob(?))", (_ROOM,))


def _write_nothing(connection: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        column = next(iter(table.primary_key))
        columns = list(table.columns)
        connection.execute(insert(table).from_select(columns, select(*columns).where(false())))
        connection.execute(update(table).where(false()).values({column.name: column}))
        connection.execute(delete(table).where(false()))


def _mode(engine: Engine) -> str:
    """Return the pool mode: whether a server is shared with others between two transactions."""
    with engine.connect() as one, engine.connect() as other:
        before = one.exec_driver_sql(_BACKEND).scalar()
        other.exec_driver_sql("BEGIN")
        others = other.exec_driver_sql(_BACKEND).scalar()
        after = one.exec_driver_sql(_BACKEND).scalar()
        other.exec_driver_sql("ROLLBACK")
    return "transaction" if before == others or before != after else "session"

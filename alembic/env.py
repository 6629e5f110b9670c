"""Runs flowq's migrations; called by `flowq db upgrade` or by Alembic's own command.

The URL comes from FLOWQ_DATABASE_URL unless the caller gives one. Only flowq's own tables are
looked at, so autogenerate is safe in a database that it shares with others. All of it is one
transaction, on SQLite too: a process that dies has changed nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from alembic import context
from flowq.adapters.records.connections.engine import begin_on, open_engine, read_url
from flowq.adapters.records.sql.tables import VERSION_TABLE, Base
from flowq.settings import Settings


def _is_ours(name: str | None, kind: str, _parents: dict[str, str | None]) -> bool:
    return kind != "table" or name in Base.metadata.tables


@contextmanager
def _in_turn(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that commits at its end, one at a time: others that migrate wait."""
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            begin_on(connection)
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7046029254386353131)")
        yield connection


def run() -> None:
    url = context.config.attributes.get("url") or Settings().database_url
    # The driver of SQLite would commit before a change of a table; nobody but us may.
    engine = open_engine(url, autocommit=read_url(url).get_backend_name() == "sqlite")
    try:
        with _in_turn(engine) as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                version_table=VERSION_TABLE,
                include_name=_is_ours,
                compare_type=True,
                render_as_batch=connection.dialect.name == "sqlite",
            )
            context.run_migrations()
    finally:
        engine.dispose()


run()

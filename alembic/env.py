"""Runs flowq's migrations; called by `flowq db upgrade` or by Alembic's own command.

The URL comes from FLOWQ_DATABASE_URL unless the caller gives one. Only flowq's own tables are
looked at, so autogenerate is safe in a database that it shares with others. All of it is one
transaction, on SQLite too: a process that dies has changed nothing. An index of a table with rows
is an exception on PostgreSQL, see `online`: what was done before it is committed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from alembic import context
from flowq.adapters.records.connections.engine import begin_on, open_engine, read_url, session_of
from flowq.adapters.records.migrations.online import LOCK_TIMEOUT  # and `op.ensure_index`
from flowq.adapters.records.migrations.revisions import TURN
from flowq.adapters.records.sql.tables import VERSION_TABLE, Base
from flowq.settings import Settings

#: Seconds between two attempts to have the turn.
_PAUSE = 0.2


def _is_ours(name: str | None, kind: str, _parents: dict[str, str | None]) -> bool:
    return kind != "table" or name in Base.metadata.tables


@contextmanager
def _in_turn(engine: Engine) -> Iterator[Connection]:
    """Give a connection for migrations, one at a time: others that migrate wait.

    They ask again and again: an index that is built concurrently would wait for the end of a
    statement that waits for the turn. Where the connection is in a transaction, that is ended here;
    else Alembic begins its own, and the turn lasts as long as the connection.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            with connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
            return
        if not session_of(connection).pooled:
            while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({TURN})").scalar():
                connection.rollback()
                time.sleep(_PAUSE)
            connection.commit()
            yield connection
            return
        while True:
            with connection.begin():
                begin_on(connection)
                taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({TURN})")
                if taken.scalar():
                    yield connection
                    return
            time.sleep(_PAUSE)


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
            with context.begin_transaction():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(LOCK_TIMEOUT)
                context.run_migrations()
    finally:
        engine.dispose()


run()

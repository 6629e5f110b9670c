"""Databases of tests: how one is emptied, and PostgreSQL databases that are used again.

PostgreSQL takes a third of a second to copy a database. So a test gets one that another has had:
its connections are ended and its rows deleted. A database that a test has changed in any other way,
such as a table, a trigger, a right or a setting, is dropped.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL

from flowq.adapters.records.sql.tables import Base
from tests.tools import servers

#: Tables that a migration fills; what a test leaves in them is put back as it was.
_FILLED: Final = ("flow_duties", "flowq_alembic_version")
#: The others, those first that refer to others.
_TABLES: Final = [
    table.name for table in reversed(Base.metadata.sorted_tables) if table.name not in _FILLED
]
_DELETE: Final = "".join(f"DELETE FROM {name};" for name in _TABLES)
#: A digest of all that is in a database and is no row; system schemas have lower numbers.
_SHAPE: Final = """
SELECT md5(string_agg(entry, ',' ORDER BY entry)) FROM (
  SELECT concat_ws(' ', 'class', oid, relname, relnamespace, relowner, relkind, reloptions, relacl,
                   relrowsecurity) AS entry FROM pg_class WHERE oid >= 16384
  UNION ALL SELECT concat_ws(' ', 'column', attrelid, attnum, attname, atttypid, atttypmod,
                             attnotnull, atthasdef, attisdropped, attacl, attoptions)
            FROM pg_attribute WHERE attrelid >= 16384
  UNION ALL SELECT concat_ws(' ', 'trigger', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT concat_ws(' ', 'constraint', oid, convalidated) FROM pg_constraint
  UNION ALL SELECT concat_ws(' ', 'default', oid, adbin) FROM pg_attrdef
  UNION ALL SELECT concat_ws(' ', 'function', oid) FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT concat_ws(' ', 'schema', oid, nspacl) FROM pg_namespace
            WHERE nspname !~ '^pg_(toast_)?temp'
  UNION ALL SELECT concat_ws(' ', 'database', datallowconn, datconnlimit, datacl)
            FROM pg_database WHERE datname = current_database()
  UNION ALL SELECT concat_ws(' ', 'setting', setrole, setconfig) FROM pg_db_role_setting
            WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS entries
"""
_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Emptier:
    """Deletes the rows of a database, again and again, by a connection that it keeps."""

    def __init__(self) -> None:
        self._url: URL | None = None
        self._connection: psycopg.Connection[Any] | sqlite3.Connection | None = None

    def delete_rows(self, url: URL) -> None:
        """Delete all runs and what belongs to them; what a migration has filled stays as it is."""
        if url != self._url or self._connection is None:
            self._connect(url)
        if isinstance(self._connection, sqlite3.Connection):
            self._connection.executescript(f"BEGIN IMMEDIATE;{_DELETE}COMMIT;")
            return
        assert self._connection is not None
        try:
            self._connection.execute(_DELETE)
        except psycopg.OperationalError:  # a test has ended the connections of all
            self._connect(url).execute(_DELETE)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, url: URL) -> Any:
        self.close()
        self._url = url
        if url.get_backend_name() != "sqlite":
            self._connection = _connect(url)
        else:
            assert url.database is not None
            # Foreign keys are not looked at.
            self._connection = sqlite3.connect(url.database, timeout=60)
        return self._connection


def empty_uncounted(cursor: Any, *tables: str) -> None:
    """Empty tables of PostgreSQL for a test of a plan; autovacuum waits for this transaction.

    A plan depends on the size of a table's files and on what was counted in it. Other tests leave
    both, and autovacuum counts again at any moment.

    Args:
        cursor: Of psycopg, in a transaction, which holds the lock that is taken here.
        tables: Those that refer to them are emptied too.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, tables))
    cursor.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
    counted = "DELETE FROM pg_statistic WHERE starelid = ANY(%s::text[]::regclass[])"
    cursor.execute(counted, [list(tables)])


class PostgresDatabases:
    """The migrated databases on a server that tests of this process have in turn."""

    def __init__(self, server: URL, template: str) -> None:
        self._server = server
        self._template = template
        self._free: list[tuple[str, Any]] = []
        self._filled: dict[str, list[Any]] = {}

    @contextmanager
    def one(self) -> Iterator[str]:
        """Have a database that is as after its migration; give its address."""
        name, shape = self._free.pop() if self._free else self._made()
        yield servers.database(self._server, name)
        if self._is_reset(name, shape):
            self._free.append((name, shape))
        else:
            self._drop(name)

    def close(self) -> None:
        """Drop them all."""
        while self._free:
            self._drop(self._free.pop()[0])

    def _made(self) -> tuple[str, Any]:
        """Make a database; return its name, and the shape that it has whenever it is free."""
        name = f"flowq_test_{uuid4().hex}"
        servers.copy_database(self._server, name, self._template)
        # Not in the template: nobody could copy that while this process is in it.
        with _connect(self._server.set(database=name)) as session:
            self._filled = self._filled or {table: _rows(session, table) for table in _FILLED}
            return name, _shape_of(session)

    def _drop(self, name: str) -> None:
        servers.administer(self._server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _is_reset(self, name: str, shape: Any) -> bool:
        """Return whether a database could be made as it was."""
        try:
            with _connect(self._server.set(database=name)) as session:
                session.execute(_OTHERS)
                if _shape_of(session) != shape:
                    return False
                session.execute(_DELETE)
                for table, rows in self._filled.items():
                    session.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
                    for row in rows:
                        marks = sql.SQL(", ").join(sql.Placeholder() * len(row))
                        insert = sql.SQL("INSERT INTO {} VALUES ({})")
                        session.execute(insert.format(sql.Identifier(table), marks), row)
        except psycopg.OperationalError:  # the test has locked everybody out, or dropped it
            return False
        return True


def _rows(session: psycopg.Connection[Any], table: str) -> list[Any]:
    return session.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()


def _shape_of(session: psycopg.Connection[Any]) -> Any:
    return session.execute(_SHAPE).fetchone()


def _connect(url: URL) -> psycopg.Connection[Any]:
    return psycopg.connect(servers.conninfo(url), autocommit=True)

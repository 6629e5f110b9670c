"""The revision of a database, and whether this code can use it.

Revisions are numbers, so that an older flowq can distinguish a newer database from an old one.
Reading it needs no Alembic, which every command would have to load; `migrate` has the migrations.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Select, column, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError

from flowq.adapters.records.connections.engine import begin_on, open_engine, read_url
from flowq.adapters.records.connections.error_kinds import translated
from flowq.adapters.records.connections.identity import shown, sqlite_file
from flowq.adapters.records.sql.tables import REVISION, VERSION_TABLE
from flowq.core.errors import DatabaseNotMigrated, DatabaseTooNew

T = TypeVar("T")

#: The advisory lock of migrations, of which one at a time has the turn.
TURN: Final = 7046029254386353131
#: Reads the revision of a database.
VERSION: Final[Select[Any]] = select(column("version_num")).select_from(table(VERSION_TABLE))
_ELSEWHERE: Final = text(
    """
    SELECT current_setting('search_path'), array_agg(relnamespace::regnamespace::text)
      FROM pg_catalog.pg_class WHERE relname = :name AND relkind = 'r'
    """
)


def current(url: str) -> str | None:
    """Return the revision of a database; None when it has none.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    return _connected(url, revision_of)


def check(url: str) -> None:
    """Raise unless the database is exactly at the revision that this code needs.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseNotMigrated: its revision is older.
        DatabaseTooNew: its revision is newer.
    """
    parsed = read_url(url)
    file = sqlite_file(parsed)
    if file is not None and not file.exists():
        check_revision(None, shown(parsed))
    _connected(url, check_on)


def _connected(url: str, ask: Callable[[Connection], T]) -> T | None:
    engine = open_engine(url)
    file = sqlite_file(engine.url)
    try:
        if file is not None and not file.exists():
            return None  # connecting would create it
        with engine.connect() as connection:
            begin_on(connection)
            return ask(connection)
    except SQLAlchemyError as error:
        raise translated(error, engine.url) from error
    finally:
        engine.dispose()


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the database of a connection; None when it has none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(VERSION).scalar()
    return revision


def check_on(connection: Connection) -> None:
    """Raise unless the database of a connection is at the right revision; see `check`."""
    revision, where = revision_of(connection), shown(connection.engine.url)
    if revision is None and connection.dialect.name == "postgresql":
        path, schemas = connection.execute(_ELSEWHERE, {"name": VERSION_TABLE}).one()
        if schemas:
            raise DatabaseNotMigrated(
                f"the database {where} has no flowq tables in its search_path, which is "
                f"{path or 'empty'}; they are in the schema {' and '.join(schemas)}",
                hint=f"ALTER ROLE … SET search_path = {schemas[0]}; or, for tables of its own in "
                "the present one: flowq db upgrade",
            )
    check_revision(revision, where)


def check_revision(revision: str | None, where: str) -> None:
    """Raise unless a database is at the revision that this code needs; see `check`."""
    check_not_newer(revision, where)
    if revision == REVISION:
        return
    have = f"is at revision {revision}" if revision else "has no flowq tables"
    raise DatabaseNotMigrated(
        f"the database {where} {have}, this flowq needs {REVISION}", hint="run: flowq db upgrade"
    )


def check_not_newer(revision: str | None, where: str) -> None:
    """Raise `DatabaseTooNew` for a database that a newer flowq has migrated."""
    if revision is not None and revision > REVISION:
        raise DatabaseTooNew(
            f"the database {where} is at revision {revision}, this flowq knows {REVISION}: "
            "it was migrated by a newer one",
            hint="upgrade flowq on this machine: pip install -U flowq",
        )

"""At which revision a database is, and whether this code can use it.

Revisions are numbers, so that an older flowq can tell a newer database from an old one. Asking
needs no Alembic, which every command would have to load; `migrations` has what goes from one
revision to another.
"""

from typing import Any, Final

from sqlalchemy import Select, column, inspect, make_url, select, table
from sqlalchemy.exc import SQLAlchemyError

from flowq.adapters.records.connecting import open_engine
from flowq.adapters.records.models import REVISION, VERSION_TABLE
from flowq.adapters.records.places import shown
from flowq.core.errors import DatabaseNotMigrated, DatabaseTooNew, DatabaseUnavailable

#: The revision of a database that has one.
VERSION: Final[Select[Any]] = select(column("version_num")).select_from(table(VERSION_TABLE))


def current(url: str) -> str | None:
    """Return the revision of a database; None when it has none.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(VERSION_TABLE):
                return None
            revision: str | None = connection.execute(VERSION).scalar()
            return revision
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise DatabaseUnavailable(
            f"the database {shown(engine.url)} cannot be reached: {cause}",
            hint="check FLOWQ_DATABASE_URL and that the server runs",
        ) from error
    finally:
        engine.dispose()


def check(url: str) -> None:
    """Raise unless the database is exactly at the revision that this code needs.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseNotMigrated: it is behind.
        DatabaseTooNew: it is ahead.
    """
    check_revision(current(url), shown(make_url(url)))


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

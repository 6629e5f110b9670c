"""Runs Alembic from inside the package.

The scripts are shipped in the wheel, so `flowq db upgrade` works after `pip install`. The version
is kept in a table of flowq's own name, because the tables may live in a database whose owner has an
`alembic_version` already.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic.config import Config
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic import command
from flowq.adapters.records.connections.engine import read_url
from flowq.adapters.records.connections.error_kinds import first_line, sqlstate, translated
from flowq.adapters.records.connections.identity import shown, sqlite_file
from flowq.adapters.records.migrations.revisions import check_not_newer, current
from flowq.core.errors import DatabaseUnavailable, Unavailable

_NO_SCHEMA: Final = "3F000"
_LOCKED: Final = "55P03"
#: How often a change is tried while others use a table, and the seconds in between.
_TRIES: Final = 5
_PAUSE: Final = 1.0


def scripts() -> Path:
    """Return the folder of the migration scripts: in the wheel, else beside the package."""
    package = Path(__file__).parents[3]
    return next(
        folder
        for folder in (package / "alembic", package.parent / "alembic")
        if (folder / "env.py").exists()
    )


def config(url: str, connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for a database."""
    settings = Config()
    settings.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    settings.attributes["url"] = url
    settings.attributes["connection"] = connection
    return settings


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database to a revision, creating the file of a SQLite database and its folder.

    Raises:
        DatabaseUnavailable: it cannot be reached, or not be written.
        DatabaseTooNew: its revision is newer than this code.
    """
    parsed = read_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(
                f"the folder {file.parent} cannot be created: {error.strerror}",
                hint="set FLOWQ_DATABASE_URL or FLOWQ_HOME to a place that this user can write",
            ) from error
    check_not_newer(current(url), shown(parsed))
    _run(command.upgrade, url, revision)


def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision; `base` removes all of flowq's tables.

    Raises:
        DatabaseUnavailable: it cannot be reached, or not be written.
    """
    _run(command.downgrade, url, revision)


def _run(change: Callable[[Config, str], None], url: str, revision: str) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            change(config(url), revision)
        except SQLAlchemyError as error:
            if not (tries_left and _is_locked(error)):
                raise _translated(error, read_url(url)) from error
        else:
            return
        time.sleep(_PAUSE)


def _is_locked(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and sqlstate(error) == _LOCKED


def _translated(error: SQLAlchemyError, url: URL) -> Unavailable:
    if isinstance(error, DBAPIError) and sqlstate(error) == _NO_SCHEMA:
        return DatabaseUnavailable(
            f"the database {shown(url)} has no schema in which to create tables: "
            f"{first_line(error)}",
            hint="CREATE SCHEMA …, and ALTER ROLE … SET search_path to it",
        )
    if _is_locked(error):
        return DatabaseUnavailable(
            f"the tables in {shown(url)} are used by a long transaction: {first_line(error)}",
            hint="run it again when that is done, e.g. a backup; nothing waits for it meanwhile",
        )
    return translated(error, url)

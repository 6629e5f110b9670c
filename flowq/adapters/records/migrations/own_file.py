"""flowq's own SQLite file, in its own folder: flowq makes and migrates it at first use.

So a first flow runs before anybody has typed a command. A database that the user names is another
matter: it is checked and never changed, since a migration of it is a step of a deployment.
"""

import logging
from pathlib import Path

from flowq.adapters.records.connections.engine import read_url
from flowq.adapters.records.connections.identity import sqlite_file
from flowq.adapters.records.migrations import revisions
from flowq.core.errors import DatabaseNotMigrated, DatabaseUnavailable

logger = logging.getLogger(__name__)


def owns(url: str, home: Path) -> bool:
    """Return whether a database is a SQLite file in flowq's own folder."""
    file = sqlite_file(read_url(url))
    return file is not None and file.resolve().is_relative_to(home)


def prepare(url: str, home: Path) -> bool:
    """Make or migrate flowq's own file; do nothing to another database.

    Returns:
        Whether the file is new.

    Raises:
        DatabaseUnavailable: the folder or the file cannot be used.
        DatabaseTooNew: a newer flowq has written the file.
    """
    if not owns(url, home):
        return False
    make_home(home)
    try:
        revisions.check(url)
    except DatabaseNotMigrated:
        from flowq.adapters.records.migrations import migrate  # noqa: PLC0415 - loads Alembic, once

        is_new = revisions.current(url) is None
        # When several processes start together, one makes the tables and the others wait.
        migrate.upgrade(url)
        if is_new:
            logger.info("made a new database: %s", sqlite_file(read_url(url)))
        return is_new
    return False


def make_home(home: Path) -> None:
    """Make flowq's own folder if it is missing, and keep it out of version control.

    Raises:
        DatabaseUnavailable: it cannot be created or written.
    """
    ignored = home / ".gitignore"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not ignored.exists():
            ignored.write_text("*\n", encoding="ascii")
    except OSError as error:
        raise DatabaseUnavailable(
            f"the folder {home} cannot be used: {error.strerror}",
            hint="set FLOWQ_HOME to a folder that this user can write",
        ) from error

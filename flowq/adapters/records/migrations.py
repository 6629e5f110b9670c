"""Alembic from inside the package: upgrade, and tell whether code and database agree.

The scripts are shipped in the wheel, so `flowq db upgrade` works after `pip install`. The version
is kept in a table of flowq's own name, because the tables may live in a database whose owner has an
`alembic_version` already.
"""

from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import SQLAlchemyError

from alembic import command
from flowq.adapters.records.database import check_revision, open_engine
from flowq.adapters.records.models import VERSION_TABLE
from flowq.adapters.records.places import shown
from flowq.core.errors import DatabaseTooNew, DatabaseUnavailable


def scripts() -> Path:
    """Return the folder of the migration scripts: in the wheel, else beside the package."""
    package = Path(__file__).parents[2]
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


def head() -> str:
    """Return the revision that this code needs."""
    revision = ScriptDirectory(str(scripts())).get_current_head()
    assert revision is not None
    return revision


def current(url: str) -> str | None:
    """Return the revision of a database; None when it has none.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            return context.get_current_revision()
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise DatabaseUnavailable(
            f"the database {shown(engine.url)} cannot be reached: {cause}",
            hint="check FLOWQ_DATABASE_URL and that the server runs",
        ) from error
    finally:
        engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database to a revision, creating the file of a SQLite database and its folder.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseTooNew: it is ahead of this code.
    """
    engine = open_engine(url)
    try:
        if engine.url.get_backend_name() == "sqlite" and engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        check_not_newer(current(url))
        command.upgrade(config(url), revision)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision; `base` removes all of flowq's tables."""
    command.downgrade(config(url), revision)


def check(url: str) -> None:
    """Raise unless the database is exactly at the revision that this code needs.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseNotMigrated: it is behind.
        DatabaseTooNew: it is ahead.
    """
    check_revision(current(url), shown(make_url(url)))


def check_not_newer(revision: str | None) -> None:
    """Raise `DatabaseTooNew` for a revision that this code has never heard of."""
    known = {script.revision for script in ScriptDirectory(str(scripts())).walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseTooNew(
            f"the database is at revision {revision}, which this flowq does not know: "
            "it was migrated by a newer one",
            hint="upgrade flowq on this machine: pip install -U flowq",
        )

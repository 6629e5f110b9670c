"""Alembic from inside the package: from one revision of a database to another.

The scripts are shipped in the wheel, so `flowq db upgrade` works after `pip install`. The version
is kept in a table of flowq's own name, because the tables may live in a database whose owner has an
`alembic_version` already.
"""

from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection

from alembic import command
from flowq.adapters.records.connecting import open_engine
from flowq.adapters.records.places import shown
from flowq.adapters.records.revisions import check_not_newer, current


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
        check_not_newer(current(url), shown(engine.url))
        command.upgrade(config(url), revision)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision; `base` removes all of flowq's tables."""
    command.downgrade(config(url), revision)

"""Which database a connection is on, read from the database itself.

A URL is not enough: one database has several addresses, and databases on two servers may have the
same name. The start time of a PostgreSQL server distinguishes it from others, and from copies, and
any role may read it. It changes with a restart, so only freshly read ones may count as different. A
SQLite database is its file; one in memory belongs to its connection and equals no other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from sqlalchemy import URL, Connection, text
from sqlalchemy.orm import Session

_ASK_POSTGRES: Final = text(
    """
    SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' '
             || (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()),
           (SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class
             WHERE oid = to_regclass('flow_runs'))
    """
)
_ASK_SQLITE: Final = text("SELECT file FROM pragma_database_list WHERE name = 'main'")

#: Parameters of a URL that locate the database; others may be secrets.
_WHERE: Final = {"host", "port", "dbname", "service"}


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """Where a connection writes.

    Attributes:
        database: A value that is unique to this database.
        schema: The schema in which it finds flowq's tables, if any.
    """

    database: str
    schema: str | None = "main"


def identity_of(within: Session | Connection, dialect: str) -> DatabaseIdentity:
    """Read the identity of a connection's database.

    Args:
        dialect: `postgresql` or `sqlite`.
    """
    if dialect == "sqlite":
        file = within.execute(_ASK_SQLITE).scalar()
        return DatabaseIdentity(str(Path(file).resolve()) if file else f"memory {uuid4()}")
    database, schema = within.execute(_ASK_POSTGRES).one()
    return DatabaseIdentity(database, schema)


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for one in memory, and for other databases."""
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    if "uri" in url.query:
        if url.query.get("mode") == "memory":
            return None
        name = unquote(urlsplit(name).path) if name.startswith("file:") else name
    return Path(name).absolute()


def shown(url: URL) -> str:
    """Return a URL that is safe to show: its query may contain a password too."""
    query = {name: value for name, value in url.query.items() if name in _WHERE}
    return url.set(query=query).render_as_string(hide_password=True)

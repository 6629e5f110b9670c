"""How flowq connects to a database: an engine with what its dialect needs.

A SQLite file is shared by several processes, so it writes ahead (WAL) and waits for its one writer.
On PostgreSQL both sides notice when the other has gone without a word: the client by TCP, the
server by its own timeouts, which end a transaction and free its locks.
"""

from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from flowq.adapters.records.types import dump_json
from flowq.core.errors import DatabaseUnavailable

#: A server that has gone without a word is noticed within 20 s; the URL may say otherwise.
_DEAD_AFTER: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_KEEPALIVES = ("keepalives_idle", "keepalives_interval", "keepalives_count")


def open_engine(url: str, *, pool_size: int = 10, autocommit: bool = False) -> Engine:
    """Make an engine with flowq's settings for its dialect; connects at first use.

    Args:
        url: SQLAlchemy URL.
        pool_size: Connections at most; callers wait for a free one.
        autocommit: Leave transactions to whoever writes BEGIN. SQLAlchemy then neither begins nor
            rolls back, which it otherwise does around every single statement.

    Raises:
        DatabaseUnavailable: the URL cannot be read, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        options: dict[str, Any] = {"json_serializer": dump_json}
        if autocommit:
            options |= {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
        if backend == "sqlite":
            options["connect_args"] = {"timeout": 30, "check_same_thread": False}
            # Also for a database in memory: several connections share it, see `virtual`.
            options |= {"poolclass": QueuePool} if "mode" in parsed.query else {}
        else:
            # Waiting for a connection is right; failing because 300 steps end at once is not.
            options |= {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 60}
            dead_after = {k: v for k, v in _DEAD_AFTER.items() if k not in parsed.query}
            options |= {"pool_recycle": 1800, "connect_args": dead_after}
        engine = create_engine(parsed, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise DatabaseUnavailable(
            f"FLOWQ_DATABASE_URL cannot be used: {error}",
            hint="e.g. postgresql+psycopg://user@host/name, "
            'after: pip install "flowq[postgres]"; or sqlite:///path/to/file.db',
        ) from error
    if backend == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Let readers and one writer of several processes work side by side."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def tune_postgres(seconds: float, connection: Any, _record: Any) -> None:
    """Let the server end a transaction whose client has gone without a word, with its locks.

    Nobody else can: the next owner of the step would wait for those locks until the server's TCP
    gives up, two hours by default. One timeout covers a client that went between statements; one
    that went in the middle of sending is covered by the other, which PostgreSQL 17 has brought, and
    by TCP before. A client that is there has given up before (see `watchdog`), and says why.
    """
    limit = f"{max(1, round(2 * seconds * 1000))}ms"
    settings = {f"tcp_{name}": str(_DEAD_AFTER[name]) for name in _KEEPALIVES}
    settings["idle_in_transaction_session_timeout"] = limit
    if connection.info.server_version >= 170000:
        settings["transaction_timeout"] = limit
    cursor = connection.cursor()
    for name, value in settings.items():
        cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
    cursor.close()

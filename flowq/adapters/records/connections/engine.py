"""How flowq connects to a database: an engine with the settings of its dialect.

A SQLite file is shared by several processes, so it uses WAL and waits for its single writer. On
PostgreSQL both sides detect a dead peer: the client by TCP, the server by its own timeouts (see
`sessions`), which end a transaction and free its locks. A URL that cannot work is refused here,
with one that would.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import LRUCache

from flowq.adapters.records.connections.identity import shown
from flowq.adapters.records.connections.sessions import ServerSession, configure_session
from flowq.adapters.records.sql.types import dump_json, dump_json_for_sqlite, load_json
from flowq.core.errors import DatabaseUnavailable

#: A dead server is detected within 20 s; the URL may change this.
_DEAD_AFTER: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
#: Seconds to wait for the file's writer, and prepared statements that a connection keeps.
_SQLITE_CONNECT: Final[Mapping[str, Any]] = {"timeout": 30, "cached_statements": 512}
#: Other drivers return other values, or cannot be waited for.
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
_PREPARE: Final = "prepare_threshold"
#: Parameters of psycopg that no text can express.
_NOT_IN_URL: Final = frozenset({"autocommit", "context", "cursor_factory", "row_factory"})
#: Parameters of SQLite's driver and its `file:` URLs; all others would be silently ignored.
_SQLITE_OPTIONS: Final = frozenset({"uri", "timeout", "cached_statements", "check_same_thread"})
_FILE_OPTIONS: Final = frozenset({"mode", "cache", "vfs", "immutable", "nolock", "psow"})
#: A statement's values may be secrets, and its errors are logged.
_OPTIONS: Final[Mapping[str, Any]] = {
    "json_serializer": dump_json,
    "json_deserializer": load_json,
    "hide_parameters": True,
}
_SESSION: Final = "flowq.session"
_COMPILED: Final = "compiled_cache"
_MAX_COMPILED: Final = 1000  #: Statements; flowq has about a third.
_OTHERS: Final = ServerSession(begin=("BEGIN IMMEDIATE",))


def open_engine(
    url: str, *, pool_size: int = 10, autocommit: bool = False, limit: float = 0.0
) -> Engine:
    """Make an engine with flowq's settings for its dialect; connects at first use.

    Args:
        url: SQLAlchemy URL. On PostgreSQL `?prepare_threshold=` sets after how many uses a
            statement is prepared; 0 or `none`: never.
        pool_size: Maximum connections; callers wait for a free one.
        autocommit: The caller writes BEGIN. SQLAlchemy then neither begins nor rolls back, which it
            otherwise does around every statement.
        limit: Seconds after which PostgreSQL itself ends a statement or transaction; 0: never.

    Raises:
        DatabaseUnavailable: the URL cannot be read, or its driver is not installed.
    """
    parsed = read_url(url)
    prepare = _prepare_threshold(parsed)
    parsed = parsed.difference_update_query([_PREPARE])
    options = dict(_OPTIONS)
    if autocommit:
        options |= {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        options["json_serializer"] = dump_json_for_sqlite
        given = {k: v for k, v in _SQLITE_CONNECT.items() if k not in parsed.query}
        options["connect_args"] = {**given, "check_same_thread": False}
        # Also for a database in memory: several connections share it, see `flowq.testing`.
        options |= {"poolclass": QueuePool} if "mode" in parsed.query else {}
    else:
        if not autocommit:
            options["isolation_level"] = "READ COMMITTED"
        # Callers wait for a connection, so that 300 steps that end at once do not fail.
        options |= {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 60}
        dead_after = {k: v for k, v in _DEAD_AFTER.items() if k not in parsed.query}
        # A role may have another encoding, which cannot encode every text.
        options["connect_args"] = {**dead_after, "client_encoding": "utf8"}
        options["pool_recycle"] = 1800
    try:
        engine = create_engine(parsed, **options)
    except ImportError as error:
        raise DatabaseUnavailable(
            f"the driver for {shown(parsed)} cannot be loaded: {error}",
            hint='pip install "flowq[postgres]"',
        ) from error
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise _unreadable(str(error)) from error
    if is_sqlite:
        shared = _sqlite_engine(autocommit=autocommit)
        engine.dialect = shared.dialect
        engine.update_execution_options(compiled_cache=shared.get_execution_options()[_COMPILED])
        _when_connected(engine, lambda connection, _: _tune_sqlite(connection))
    else:
        _when_connected(
            engine,
            lambda connection, info: info.update(
                {_SESSION: configure_session(connection, limit=limit * 1000, prepare=prepare)}
            ),
        )
    return engine


@cache
def _sqlite_engine(*, autocommit: bool) -> Engine:
    """Return the engine whose dialect and compiled statements those of all SQLite files share.

    SQLAlchemy keeps compiled statements by dialect, and a dialect by engine. A suite of tests opens
    a database for each test, and would spend a third of its time on compiling.
    """
    options = {**_OPTIONS, "json_serializer": dump_json_for_sqlite}
    if autocommit:
        options["isolation_level"] = "AUTOCOMMIT"
    compiled: LRUCache[Any, Any] = LRUCache(_MAX_COMPILED)
    engine = create_engine("sqlite://", **options, execution_options={_COMPILED: compiled})
    engine.connect().close()  # the dialect reads what this SQLite can do
    engine.dispose()
    return engine


def session_of(connection: Connection) -> ServerSession:
    """Return how transactions begin on a connection."""
    session: ServerSession = connection.info.get(_SESSION, _OTHERS)
    return session


def begin_on(connection: Connection) -> None:
    """Begin a transaction, which SQLAlchemy ends, with the settings that flowq needs."""
    if local := session_of(connection).local:
        connection.exec_driver_sql(local)


def read_url(url: str) -> URL:
    """Read the URL of a database that flowq can use.

    Raises:
        DatabaseUnavailable: it cannot be read, or is of another database or driver.
    """
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
        parsed.get_backend_name()
    except (SQLAlchemyError, ValueError) as error:
        # Not its text: it may contain a password.
        raise _unreadable("it is not a database URL") from error
    backend = parsed.get_backend_name()
    wanted = _DRIVERS.get(backend)
    if wanted is None:
        raise DatabaseUnavailable(
            f"FLOWQ_DATABASE_URL is of {backend}, but flowq supports PostgreSQL and SQLite",
            hint="set it to postgresql+psycopg://user@host/name or sqlite:////path/to/file.db",
        )
    if parsed.drivername not in (wanted, backend, f"{wanted}+pysqlite"):
        raise DatabaseUnavailable(
            f"FLOWQ_DATABASE_URL is for the driver {parsed.drivername.partition('+')[2]}, "
            f"and flowq uses {'psycopg' if backend == 'postgresql' else 'that of Python'}",
            hint=f"set it to {shown(parsed.set(drivername=wanted))}",
        )
    if backend == "postgresql":
        unknown = sorted(_NOT_IN_URL.intersection(parsed.query))
        parsed = parsed.set(drivername=wanted)
    else:
        is_file = parsed.query.get("uri", "").lower() in ("true", "1", "yes", "on")  # type: ignore[union-attr]
        known = _SQLITE_OPTIONS | (_FILE_OPTIONS if is_file else frozenset())
        unknown = sorted(set(parsed.query) - known)
    if unknown:
        raise DatabaseUnavailable(
            f"FLOWQ_DATABASE_URL has the option {unknown[0]!r}, which flowq cannot use",
            hint="leave it out; for the settings of a database type: flowq docs settings",
        )
    return parsed


def _unreadable(why: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"FLOWQ_DATABASE_URL cannot be used: {why}",
        hint="e.g. postgresql+psycopg://user@host:5432/name, with several hosts "
        "postgresql+psycopg://user@/name?host=a:5432&host=b:5432; or sqlite:////path/to/file.db",
    )


def _prepare_threshold(url: URL) -> int | None:
    """Return after how many uses a statement is prepared; 0 for never, None if not given."""
    given = url.query.get(_PREPARE)
    if given is None:
        return None
    if str(given).lower() in ("none", "off"):
        return 0
    try:
        return max(0, int(str(given)))
    except ValueError as error:
        raise _unreadable(f"{_PREPARE} is {given!r}, not a whole number or none") from error


def _when_connected(engine: Engine, tune: Callable[[Any, dict[str, Any]], None]) -> None:
    """Call `tune` with each new connection; errors of the driver become SQLAlchemy's."""
    driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error

    def tuned(connection: Any, record: Any) -> None:
        try:
            tune(connection, record.info)
        except driver_error as error:
            connection.close()
            raise DBAPIError.instance(
                None, None, error, driver_error, dialect=engine.dialect
            ) from error
        except BaseException:
            connection.close()
            raise

    # First: SQLAlchemy's own first queries would otherwise run with the old settings.
    event.listen(engine, "connect", tuned, insert=True)


def _tune_sqlite(connection: Any) -> None:
    """Let readers and one writer of several processes work side by side."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()

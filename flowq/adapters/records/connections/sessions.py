"""The settings of a PostgreSQL session, whatever server, database, role and URL have set.

One statement reads and sets the settings of each new connection. On a direct connection they are
set once. A pooler (PgBouncer) may use another server for each transaction, and share these servers:
behind one, nothing is left in a session. There each transaction sets what differs from flowq's
settings, and a single statement becomes a transaction; prepared statements, which belong to one
server, are not used. A pooler is detected by its process id: the one that the driver got at the
connect is not that of the server that answers.

Two settings are left to the operator: `default_transaction_read_only`, and `synchronous_commit`,
which decides how much a crash of the server may lose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.errors import DatabaseUnavailable

#: Names as the server spells them, with the values that flowq's statements need.
_NEEDED: Final = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "array_nulls": "on",
    "bytea_output": "hex",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",
    "idle_session_timeout": "0",  # connections in the pool are idle, but still used
    "lock_timeout": "0",  # the next one ends the wait
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
}
_IDLE_IN_TRANSACTION: Final = "idle_in_transaction_session_timeout"
_TRANSACTION: Final = "transaction_timeout"  # PostgreSQL 17 and later
#: Milliseconds; a live client gives up before that (see `watchdog`), with the reason.
_TIMEOUTS: Final = (
    _IDLE_IN_TRANSACTION,
    _TRANSACTION,
    "statement_timeout",
)
#: With these the server ends a connection whose client's host is dead.
_KEEPALIVES: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_PATH: Final = "search_path"
#: Settings in which any of these values means the same.
_ANY: Final = frozenset({"TimeZone"})

#: Reads the settings, and sets them on a direct connection. An empty search path is replaced.
_SETTLE: Final = """
SELECT pg_backend_pid(), current_schema(), name, setting,
       CASE WHEN pg_backend_pid() = %(pid)s AND (name <> 'search_path' OR current_schema() IS NULL)
            THEN set_config(name, wanted, false) END
  FROM (SELECT unnest(%(names)s::text[]) AS name, unnest(%(values)s::text[]) AS wanted) AS given
  JOIN pg_catalog.pg_settings USING (name)
"""


@dataclass(frozen=True, slots=True)
class ServerSession:
    """The session of a connection, and how transactions begin on it.

    Attributes:
        pooled: Whether there is a pooler between.
        begin: Statements that begin a transaction.
        local: Settings that each transaction sets, as one text of statements.
        alone: Whether a single statement needs no transaction around it.
    """

    pooled: bool = False
    begin: tuple[str, ...] = ("BEGIN",)
    local: str = ""
    alone: bool = True


def configure_session(connection: Any, *, limit: float, prepare: int | None) -> ServerSession:
    """Read the session of a new psycopg connection and set what can be set.

    Args:
        connection: Not within a transaction.
        limit: Milliseconds that a statement or a transaction may take; 0 forever.
        prepare: After how many uses a statement is prepared, also behind a pooler; None: psycopg's
            own number on a connection to the server, and never behind a pooler.

    Raises:
        DatabaseUnavailable: the database is not in UTF-8, or the pooler allows no transactions.
        psycopg.Error: the settings cannot be read.
    """
    _check_encoding(connection)
    wanted = _wanted(limit)
    before, connection.autocommit = connection.autocommit, True
    given = {"pid": connection.info.backend_pid}
    given |= {"names": list(wanted), "values": list(wanted.values())}
    rows = connection.execute(_SETTLE, given).fetchall()
    pooled = rows[0][0] != connection.info.backend_pid
    if pooled:
        _check_transactions(connection)
        connection.prepare_threshold = None
    if prepare is not None:
        connection.prepare_threshold = prepare or None
    connection.autocommit = before
    if not pooled:
        return ServerSession()
    found = {row[2]: row[3] for row in rows}
    found[_PATH] = "" if rows[0][1] is None else wanted[_PATH]
    return _pooled(found, wanted, many=connection.prepare_threshold is None)


def _wanted(limit: float) -> dict[str, str]:
    timeouts = dict.fromkeys(_TIMEOUTS, str(round(limit)))
    return {**_NEEDED, **timeouts, **_KEEPALIVES, _PATH: "public"}


def _pooled(found: Mapping[str, str], wanted: Mapping[str, str], *, many: bool) -> ServerSession:
    """Return how to begin a transaction behind a pooler.

    Args:
        found: The settings of the server that answered.
        wanted: The settings that flowq needs.
        many: Whether several statements may be sent as one: not when they may be prepared.
    """
    ours = [name for name in found if name not in _KEEPALIVES and name != "idle_session_timeout"]
    differ = [name for name in ours if not _fits(name, found[name], wanted[name])]
    limited = [name for name in ours if name in _TIMEOUTS and wanted[name] != "0"]
    # A running timeout is not extended by a later one, only by none.
    ended = [f"SET LOCAL {_TRANSACTION} = 0"] if _TRANSACTION in differ else []
    changed = dict.fromkeys([*differ, *limited])
    local = [*ended, *(f"SET LOCAL {name} = '{wanted[name]}'" for name in changed)]
    begin = ["BEGIN ISOLATION LEVEL READ COMMITTED", *local]
    return ServerSession(
        pooled=True,
        begin=("; ".join(begin),) if many else tuple(begin),
        local="; ".join(local),
        alone=set(differ) <= {_IDLE_IN_TRANSACTION},
    )


def _fits(name: str, found: str, wanted: str) -> bool:
    """Return whether flowq's statements work with a setting as well as with the wanted one."""
    if name in _ANY:
        return True
    if name == "DateStyle":
        return found.startswith(wanted)  # `ISO, DMY` is ISO
    if name == "extra_float_digits":
        return int(found) >= int(wanted)
    if name in _TIMEOUTS:
        return int(found) == 0 or 0 < int(wanted) <= int(found)
    return found == wanted


def _check_encoding(connection: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise DatabaseUnavailable(
            f"the database {connection.info.dbname} is in the encoding {encoding}, which cannot "
            "store all text",
            hint="create one in UTF-8: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        )


def _check_transactions(connection: Any) -> None:
    try:
        connection.execute("BEGIN")
        connection.execute("ROLLBACK")
    except connection.DatabaseError as error:
        if "statement pooling" not in str(error):
            raise
        raise DatabaseUnavailable(
            "the pooler before the database is in statement mode, which allows no transactions",
            hint="set pool_mode = transaction (or session) for this database in PgBouncer",
        ) from error

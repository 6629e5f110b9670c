"""The meaning of database errors for flowq, in one table for each database.

    gone      the connection, or its prepared statements, cannot be used: drop it, try again
    undone    the database rolled back, for a transient reason: try again immediately
    away      it cannot be used now: an outage, which ends by itself or by an operator
    replaced  it refuses writes: an outage, and the whole pool leads to the wrong server
    absent    a table or a column is missing: the migrations have to run
    refused   it rejected the statement: a bug of flowq, or a value that it cannot store

These are errors of flowq's own statements. None of them is a failure of the step whose row is
written; see `flowq.core.errors.Unavailable`. Codes are SQLSTATEs, or classes of them (their first
two characters), and on SQLite its primary result codes.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flowq.adapters.records.connections.identity import shown, sqlite_file
from flowq.core.errors import DatabaseNotMigrated, DatabaseRefused, DatabaseUnavailable, Unavailable


class ErrorKind(StrEnum):
    """What an error means; see above."""

    GONE = "gone"
    UNDONE = "undone"
    AWAY = "away"
    REPLACED = "replaced"
    ABSENT = "absent"
    REFUSED = "refused"


POSTGRES: Final = {
    "08": ErrorKind.AWAY,  # connection exceptions; PgBouncer's own errors are 08P01
    "25006": ErrorKind.REPLACED,  # read only: a standby, or an operator has stopped all writes
    "25P03": ErrorKind.AWAY,  # idle in a transaction for too long; ends the connection
    "25P04": ErrorKind.AWAY,  # transaction_timeout; ends the connection
    "26000": ErrorKind.GONE,  # a prepared statement is on another server behind a pooler
    "28": ErrorKind.AWAY,  # the role is not let in
    "3D": ErrorKind.AWAY,  # no such database
    "3F000": ErrorKind.ABSENT,  # no such schema, or no schema to create tables in
    "40001": ErrorKind.UNDONE,  # serialization failure
    "40P01": ErrorKind.UNDONE,  # deadlock
    "42501": ErrorKind.AWAY,  # the role lacks a right, which an operator has to grant
    "42703": ErrorKind.ABSENT,  # undefined column
    "42P01": ErrorKind.ABSENT,  # undefined table
    "42P05": ErrorKind.GONE,  # a prepared statement of somebody else has that name
    "53": ErrorKind.AWAY,  # resources: disk full, out of memory, too many connections
    "55": ErrorKind.AWAY,  # 55P03 lock_timeout, 55006 object in use
    "57": ErrorKind.AWAY,  # 57014 statement_timeout or a cancel, 57P0x shutdowns
    "58": ErrorKind.AWAY,  # errors of the system below, say of its disk
    "XX": ErrorKind.AWAY,  # internal errors, corrupted data
}

SQLITE: Final = {
    2: ErrorKind.AWAY,  # INTERNAL
    3: ErrorKind.AWAY,  # PERM
    5: ErrorKind.AWAY,  # BUSY: another process has written for longer than the timeout
    6: ErrorKind.AWAY,  # LOCKED
    7: ErrorKind.AWAY,  # NOMEM
    8: ErrorKind.REPLACED,  # READONLY: the file, or its folder
    9: ErrorKind.AWAY,  # INTERRUPT
    10: ErrorKind.AWAY,  # IOERR
    11: ErrorKind.AWAY,  # CORRUPT
    13: ErrorKind.AWAY,  # FULL
    14: ErrorKind.AWAY,  # CANTOPEN
    15: ErrorKind.AWAY,  # PROTOCOL: locks of the log
    17: ErrorKind.UNDONE,  # SCHEMA: it has changed under a prepared statement
    23: ErrorKind.AWAY,  # AUTH
    26: ErrorKind.AWAY,  # NOTADB
}
_SQLITE_ERROR: Final = 1
_SQLITE_ABSENT: Final = ("no such table", "no such column", "has no column named")


def kind_of(error: DBAPIError) -> ErrorKind:
    """Return what an error of the database means."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        absent = code & 0xFF == _SQLITE_ERROR and any(
            words in str(error.orig) for words in _SQLITE_ABSENT
        )
        return ErrorKind.ABSENT if absent else SQLITE.get(code & 0xFF, ErrorKind.REFUSED)
    state = sqlstate(error)
    if state == "0A000" and "cached plan" in str(error.orig):
        return ErrorKind.GONE  # the tables were migrated under a prepared statement
    unsent = not state and type(error.orig).__name__ in ("OperationalError", "InterfaceError")
    # It was lost, could not be made, or the driver itself says that it got no answer.
    away = error.connection_invalidated or error.statement is None or unsent
    otherwise = ErrorKind.AWAY if away else ErrorKind.REFUSED
    return POSTGRES.get(state) or POSTGRES.get(state[:2]) or otherwise


def is_transient(error: DBAPIError, *, idempotent: bool) -> bool:
    """Return whether the same may be tried again immediately.

    Args:
        error: The error of the database.
        idempotent: Whether it may be repeated although it may be done already. A pooled connection
            that was dead before and one that died before the answer look the same; in a transaction
            both mean that nothing was committed, but not for a single statement.
    """
    if kind_of(error) in (ErrorKind.UNDONE, ErrorKind.GONE):
        return True
    return idempotent and error.connection_invalidated and sqlstate(error)[:2] in ("", "08", "57")


def sqlstate(error: DBAPIError) -> str:
    """Return the SQLSTATE of an error; empty when it has none."""
    orig: Any = error.orig
    return str(getattr(orig, "sqlstate", None) or "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text: the lines below may show values."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def translated(error: SQLAlchemyError, url: URL) -> Unavailable:
    """Return flowq's error for an error of SQLAlchemy in flowq's own statements."""
    where, text = shown(url), first_line(error)
    if not isinstance(error, DBAPIError):
        if isinstance(error, PoolTimeout | DisconnectionError):
            return _unavailable(where, text)
        return _refused(where, text)
    found = kind_of(error)
    file = sqlite_file(url)
    if file is not None and not file.exists() and found is ErrorKind.AWAY:
        return _absent(f"the database {where} has no flowq tables: there is no such file")
    if found is ErrorKind.ABSENT:
        return _absent(f"the database {where} lacks something that this flowq needs: {text}")
    if found is ErrorKind.REPLACED:
        return DatabaseUnavailable(
            f"the database {where} does not accept writes: {text}",
            hint="point FLOWQ_DATABASE_URL at the primary server"
            if file is None
            else f"let this user write {file} and its folder",
        )
    return _refused(where, text) if found is ErrorKind.REFUSED else _unavailable(where, text, file)


def _absent(text: str) -> DatabaseNotMigrated:
    return DatabaseNotMigrated(text, hint="run: flowq db upgrade")


def _unavailable(where: str, text: str, file: Path | None = None) -> DatabaseUnavailable:
    hint = "check FLOWQ_DATABASE_URL and that the server runs; then: flowq doctor"
    if file is not None:  # SQLite's errors are about its file, its disk and its locks
        hint = f"check that the disk of {file} has room, and that no process holds a lock on it"
    if "startup parameter" in text:
        hint = (
            "PgBouncer takes no options from a URL: leave them out, or set "
            "ignore_startup_parameters = options and ALTER ROLE … SET for what they say"
        )
    elif "permission denied" in text:
        hint = "grant the role of FLOWQ_DATABASE_URL SELECT, INSERT, UPDATE and DELETE on the table"
    elif "disk is full" in text or "No space left" in text:
        hint = "make room on the disk of the database"
    return DatabaseUnavailable(f"the database {where} cannot be used: {text}", hint=hint)


def _refused(where: str, text: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"the database {where} refused a statement of flowq: {text}",
        hint="flowq doctor; if that finds nothing, this is a bug in flowq: please report it",
    )

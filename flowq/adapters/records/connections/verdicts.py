"""What an error of the database means to flowq, in one table for each database.

    gone      the connection is of no use, or its prepared statements are: drop it, try again
    undone    the database undid what was asked, for reasons that pass: try again at once
    away      it cannot be used now: an outage, which ends by itself or by an operator
    replaced  it takes no writes any more: an outage, and the whole pool leads to the wrong server
    absent    a table or a column is missing: the migrations have to run
    refused   it understood and said no: a bug of flowq's, or a value that it cannot keep

The database says these things of flowq's own statements. None of them is a failure of the step
whose row is written; see `flowq.core.errors.Unavailable`. Codes are SQLSTATEs, or classes of them
(their first two characters), and on SQLite its primary result codes.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flowq.adapters.records.connections.identity import shown, sqlite_file
from flowq.core.errors import (
    DatabaseNotMigrated,
    DatabaseRefused,
    DatabaseUnavailable,
    Unavailable,
)


class Verdict(StrEnum):
    """What an error means; see above."""

    GONE = "gone"
    UNDONE = "undone"
    AWAY = "away"
    REPLACED = "replaced"
    ABSENT = "absent"
    REFUSED = "refused"


POSTGRES: Final = {
    "08": Verdict.AWAY,  # connection exceptions; PgBouncer's own errors are 08P01
    "25006": Verdict.REPLACED,  # read only: a standby, or an operator has stopped all writes
    "25P03": Verdict.AWAY,  # idle in a transaction for too long; ends the connection
    "25P04": Verdict.AWAY,  # transaction_timeout; ends the connection
    "26000": Verdict.GONE,  # a prepared statement is on another server behind a pooler
    "28": Verdict.AWAY,  # the role is not let in
    "3D": Verdict.AWAY,  # no such database
    "3F000": Verdict.ABSENT,  # no such schema, or no schema to create tables in
    "40001": Verdict.UNDONE,  # serialization failure
    "40P01": Verdict.UNDONE,  # deadlock
    "42501": Verdict.AWAY,  # the role lacks a right, which an operator has to grant
    "42703": Verdict.ABSENT,  # undefined column
    "42P01": Verdict.ABSENT,  # undefined table
    "42P05": Verdict.GONE,  # a prepared statement of somebody else has that name
    "53": Verdict.AWAY,  # resources: disk full, out of memory, too many connections
    "55": Verdict.AWAY,  # 55P03 lock_timeout, 55006 object in use
    "57": Verdict.AWAY,  # 57014 statement_timeout or a cancel, 57P0x shutdowns
    "58": Verdict.AWAY,  # errors of the system below, say of its disk
    "XX": Verdict.AWAY,  # internal errors, corrupted data
}

SQLITE: Final = {
    2: Verdict.AWAY,  # INTERNAL
    3: Verdict.AWAY,  # PERM
    5: Verdict.AWAY,  # BUSY: another process has written for longer than the timeout
    6: Verdict.AWAY,  # LOCKED
    7: Verdict.AWAY,  # NOMEM
    8: Verdict.REPLACED,  # READONLY: the file, or its folder
    9: Verdict.AWAY,  # INTERRUPT
    10: Verdict.AWAY,  # IOERR
    11: Verdict.AWAY,  # CORRUPT
    13: Verdict.AWAY,  # FULL
    14: Verdict.AWAY,  # CANTOPEN
    15: Verdict.AWAY,  # PROTOCOL: locks of the log
    17: Verdict.UNDONE,  # SCHEMA: it has changed under a prepared statement
    23: Verdict.AWAY,  # AUTH
    26: Verdict.AWAY,  # NOTADB
}
_SQLITE_ERROR: Final = 1
_SQLITE_ABSENT: Final = ("no such table", "no such column", "has no column named")


def verdict(error: DBAPIError) -> Verdict:
    """Return what an error of the database means."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        absent = code & 0xFF == _SQLITE_ERROR and any(
            words in str(error.orig) for words in _SQLITE_ABSENT
        )
        return Verdict.ABSENT if absent else SQLITE.get(code & 0xFF, Verdict.REFUSED)
    state = sqlstate(error)
    if state == "0A000" and "cached plan" in str(error.orig):
        return Verdict.GONE  # the tables were migrated under a prepared statement
    unsent = not state and type(error.orig).__name__ in ("OperationalError", "InterfaceError")
    # It was lost, could not be made, or the driver itself says that it got no answer.
    away = error.connection_invalidated or error.statement is None or unsent
    otherwise = Verdict.AWAY if away else Verdict.REFUSED
    return POSTGRES.get(state) or POSTGRES.get(state[:2]) or otherwise


def passes(error: DBAPIError, *, idempotent: bool) -> bool:
    """Return whether the same may be tried again at once.

    Args:
        error: What the database said.
        idempotent: Whether what may have happened may be done again. A connection of the pool that
            was dead before and one that died before the answer came look the same; within a
            transaction both mean that nothing was committed, of a single statement neither does.
    """
    if verdict(error) in (Verdict.UNDONE, Verdict.GONE):
        return True
    return idempotent and error.connection_invalidated and sqlstate(error)[:2] in ("", "08", "57")


def sqlstate(error: DBAPIError) -> str:
    """Return the SQLSTATE of an error; empty when it has none."""
    orig: Any = error.orig
    return str(getattr(orig, "sqlstate", None) or "")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says: those below may show values."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def translated(error: SQLAlchemyError, url: URL) -> Unavailable:
    """Return flowq's own error for one of SQLAlchemy's that came of flowq's own statements."""
    where, text = shown(url), first_line(error)
    if not isinstance(error, DBAPIError):
        if isinstance(error, PoolTimeout | DisconnectionError):
            return _unavailable(where, text)
        return _refused(where, text)
    found = verdict(error)
    file = sqlite_file(url)
    if file is not None and not file.exists() and found is Verdict.AWAY:
        return _absent(f"the database {where} has no flowq tables: there is no such file")
    if found is Verdict.ABSENT:
        return _absent(f"the database {where} lacks something that this flowq needs: {text}")
    if found is Verdict.REPLACED:
        return DatabaseUnavailable(
            f"the database {where} does not accept writes: {text}",
            hint="point FLOWQ_DATABASE_URL at the primary server"
            if file is None
            else f"let this user write {file} and its folder",
        )
    return _refused(where, text) if found is Verdict.REFUSED else _unavailable(where, text, file)


def _absent(text: str) -> DatabaseNotMigrated:
    return DatabaseNotMigrated(text, hint="run: flowq db upgrade")


def _unavailable(where: str, text: str, file: Path | None = None) -> DatabaseUnavailable:
    hint = "check FLOWQ_DATABASE_URL and that the server runs; then: flowq doctor"
    if file is not None:  # what SQLite cannot do is a matter of its file, its disk and its locks
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

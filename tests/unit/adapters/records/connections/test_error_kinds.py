"""Each error of a database has one meaning, and leaves as one of flowq's errors."""

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors as psycopg_errors
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flowq.adapters.records.connections.error_kinds import (
    ErrorKind,
    first_line,
    is_transient,
    kind_of,
    translated,
)
from flowq.core import errors

SERVER = make_url("postgresql+psycopg://ada:hunter2@db/flowq")


def said(orig: Exception, *, lost: bool = False, statement: str | None = "UPDATE …") -> DBAPIError:
    """Return an error as it comes from SQLAlchemy."""
    wrapped = DBAPIError.instance(
        statement, None, orig, psycopg.Error, connection_invalidated=lost, hide_parameters=True
    )
    if not isinstance(wrapped, DBAPIError):
        wrapped = DBAPIError(statement, None, orig, connection_invalidated=lost)
    return wrapped


def state(code: str, text: str = "no") -> Exception:
    """Return psycopg's error of a SQLSTATE, or one that has only the code."""
    try:
        return psycopg_errors.lookup(code)(text)
    except KeyError:
        error = psycopg.DatabaseError(text)
        error.sqlstate = code
        return error


def sqlite(code: int, text: str = "no") -> Exception:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


AWAY = ["08000", "08006", "08P01", "28P01", "3D000", "42501", "53100", "53200", "53300", "55P03"]
AWAY += ["55006", "57014", "57P01", "57P02", "57P03", "57P05", "58030", "XX000", "25P03", "25P04"]
CASES = [
    *((code, ErrorKind.AWAY) for code in AWAY),
    *((code, ErrorKind.UNDONE) for code in ("40001", "40P01")),
    *((code, ErrorKind.GONE) for code in ("26000", "42P05")),
    *((code, ErrorKind.ABSENT) for code in ("42P01", "42703", "3F000")),
    *((code, ErrorKind.REFUSED) for code in ("42601", "22P05", "22003", "23505", "54001", "0A000")),
    ("25006", ErrorKind.REPLACED),
]
MEANING = {
    ErrorKind.AWAY: errors.DatabaseUnavailable,
    ErrorKind.UNDONE: errors.DatabaseUnavailable,
    ErrorKind.GONE: errors.DatabaseUnavailable,
    ErrorKind.REPLACED: errors.DatabaseUnavailable,
    ErrorKind.ABSENT: errors.DatabaseNotMigrated,
    ErrorKind.REFUSED: errors.DatabaseRefused,
}


@pytest.mark.parametrize("code, meaning", CASES)
def test_sqlstate_has_one_meaning(code: str, meaning: ErrorKind) -> None:
    error = said(state(code))
    assert kind_of(error) is meaning
    assert is_transient(error, idempotent=False) is (meaning in (ErrorKind.UNDONE, ErrorKind.GONE))
    ours = translated(error, SERVER)
    assert type(ours) is MEANING[meaning]
    assert ours.hint
    assert "hunter2" not in str(ours)


@pytest.mark.parametrize("code", sorted(psycopg_errors._sqlcodes))
def test_whatever_postgres_says_is_no_failure_of_a_step(code: str) -> None:
    assert isinstance(translated(said(state(code)), SERVER), errors.Unavailable)


def test_plan_of_older_tables_is_made_anew() -> None:
    error = said(state("0A000", "cached plan must not change result type"))
    assert kind_of(error) is ErrorKind.GONE


@pytest.mark.parametrize(
    "error, meaning",
    [
        (said(psycopg.OperationalError("server closed the connection")), ErrorKind.AWAY),
        (said(psycopg.InterfaceError("the connection is closed")), ErrorKind.AWAY),
        (said(psycopg.ProgrammingError('invalid option "x"'), statement=None), ErrorKind.AWAY),
        (said(psycopg.DataError("text cannot contain NUL")), ErrorKind.REFUSED),
        (said(psycopg.ProgrammingError("2 placeholders")), ErrorKind.REFUSED),
    ],
)
def test_what_the_driver_says_itself_has_a_meaning(error: DBAPIError, meaning: ErrorKind) -> None:
    assert kind_of(error) is meaning


@pytest.mark.parametrize(
    "code, text, meaning",
    [
        (sqlite3.SQLITE_BUSY, "database is locked", ErrorKind.AWAY),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "database is locked", ErrorKind.AWAY),
        (sqlite3.SQLITE_FULL, "database or disk is full", ErrorKind.AWAY),
        (sqlite3.SQLITE_IOERR_WRITE, "disk I/O error", ErrorKind.AWAY),
        (sqlite3.SQLITE_CORRUPT, "disk image is malformed", ErrorKind.AWAY),
        (sqlite3.SQLITE_NOTADB, "file is not a database", ErrorKind.AWAY),
        (sqlite3.SQLITE_CANTOPEN, "unable to open database file", ErrorKind.AWAY),
        (sqlite3.SQLITE_READONLY_DBMOVED, "readonly database", ErrorKind.REPLACED),
        (sqlite3.SQLITE_ERROR, "no such table: flow_runs", ErrorKind.ABSENT),
        (sqlite3.SQLITE_ERROR, "no such column: x", ErrorKind.ABSENT),
        (sqlite3.SQLITE_ERROR, 'near "x": syntax error', ErrorKind.REFUSED),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, "UNIQUE constraint failed", ErrorKind.REFUSED),
        (sqlite3.SQLITE_TOOBIG, "string or blob too big", ErrorKind.REFUSED),
    ],
)
def test_code_of_sqlite_has_one_meaning(code: int, text: str, meaning: ErrorKind) -> None:
    error = said(sqlite(code, text))
    assert kind_of(error) is meaning
    assert type(translated(error, make_url("sqlite://"))) is MEANING[meaning]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_sqlite_has_a_file_to_look_at_and_no_server(code: int, tmp_path: Path) -> None:
    file = tmp_path / "flowq.db"
    file.touch()

    found = translated(said(sqlite(code, "disk I/O error")), make_url(f"sqlite:///{file}"))

    assert f"the disk of {file} has room" in str(found.hint)


def test_lost_connection_is_used_again_only_where_that_is_safe() -> None:
    for orig in (psycopg.OperationalError("gone"), state("57P01"), state("57P05"), state("08006")):
        error = said(orig, lost=True)
        assert is_transient(error, idempotent=True)
        assert not is_transient(error, idempotent=False)
    assert not is_transient(said(state("25P04"), lost=True), idempotent=True)


@pytest.mark.parametrize(
    "error, kind",
    [
        (PoolTimeout("QueuePool limit reached"), errors.DatabaseUnavailable),
        (StatementError("NaN", "INSERT", None, ValueError("NaN")), errors.DatabaseRefused),
    ],
)
def test_what_sqlalchemy_says_itself_is_translated(error: Any, kind: type[Exception]) -> None:
    assert type(translated(error, SERVER)) is kind


def test_only_the_first_line_is_cited() -> None:
    error = said(state("23505", "duplicate key\nDETAIL: Key (x)=(secret) exists"))
    assert first_line(error) == "duplicate key"
    assert "secret" not in str(translated(error, SERVER))

"""Statements of a document on a database: PostgreSQL, SQLite, DuckDB.

A text may have several statements, which run in one transaction; the rows are those of the last
one that has some. Parameters are bound, never put into the text. Rows become JSON: decimals and
times are texts, bytes are base64. Results have a limit, and a statement can be interrupted: what a
step that has ended has started does not run on.
"""

import base64
import math
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import StepError

MOST_ROWS: Final = 100_000
MOST_BYTES: Final = 64 * 1024 * 1024
_FETCHED: Final = 1_000  #: Rows that are read at once.

Params = Sequence[Any] | Mapping[str, Any] | None
#: Statements that insert rows, each with its values.
Portions = Iterable[tuple[str, Sequence[Any]]]


class QueryFailed(StepError):
    """A database has refused statements, or their result is too large."""


class DatabaseBusy(QueryFailed):
    """Another process has the database open; it can be opened later."""


def _too_large() -> QueryFailed:
    return QueryFailed(
        f"the result has more than {MOST_ROWS:,} rows or {MOST_BYTES:,} bytes",
        hint="add a LIMIT, or store it where it is and return its place",
    )


def json_of(value: Any) -> Any:
    """Return a value of a column as JSON."""
    is_json = value is None or isinstance(value, str | bool | int)
    if is_json or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return {str(key): json_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_of(item) for item in value]
    return str(value)  # decimals, ids, intervals, floats that are not finite


def statements(text: str) -> list[str]:
    """Return the statements of a text for SQLite, which runs one at a time."""
    found, begin = [], 0
    for end in (match.end() for match in re.finditer(";", text)):
        part = text[begin:end]
        if sqlite3.complete_statement(part):
            found.append(part)
            begin = end
    found.append(text[begin:])
    return [part for part in found if _says_something(part)]


def _says_something(part: str) -> bool:
    return bool(re.sub(r"--[^\n]*|/\*.*?\*/|[\s;]", "", part, flags=re.DOTALL))


def _rows(cursor: Any) -> list[dict[str, Any]]:
    """Return the rows of a cursor as mappings.

    Raises:
        QueryFailed: there are too many.
    """
    names = [column[0] for column in cursor.description]
    found: list[dict[str, Any]] = []
    size = 0
    while rows := cursor.fetchmany(_FETCHED):
        for row in rows:
            values = [json_of(value) for value in row]
            size += sum(len(value) if isinstance(value, str) else 8 for value in values)
            found.append(dict(zip(names, values, strict=True)))
        if len(found) > MOST_ROWS or size > MOST_BYTES:
            raise _too_large()
    return found


def _bound(text: str, params: Params) -> Iterator[tuple[str, Params]]:
    """Yield each statement with its parameters; a list of parameters is for the only statement."""
    parts = statements(text)
    if isinstance(params, Sequence) and len(parts) > 1:
        raise QueryFailed("several statements need their parameters by name: a mapping")
    for part in parts:
        yield part, params


# --- SQLite and DuckDB ----------------------------------------------------------------------------


def open_sqlite(file: Path | None) -> sqlite3.Connection:
    """Return a connection to a file, or to an empty database in memory.

    Statements cannot reach other files.
    """
    connection = sqlite3.connect(file or ":memory:", timeout=30, check_same_thread=False)
    connection.set_authorizer(_authorize)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    return connection


def _authorize(action: int, name: str | None, *_: str | None) -> int:
    is_refused = action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH) or (
        action == sqlite3.SQLITE_PRAGMA and (name or "").lower().endswith("_directory")
    )
    return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK


def run_sqlite(connection: sqlite3.Connection, text: str, params: Params) -> Any:
    """Run statements; `connection.interrupt()` ends them.

    Raises:
        QueryFailed: the database has refused one.
    """
    result: Any = None
    changed = 0
    with _in_sqlite(connection):
        for part, given in _bound(text, params):
            cursor = connection.execute(part, given or ())
            if cursor.description is not None:
                result = _rows(cursor)
            else:
                changed = max(cursor.rowcount, 0)
    return {"row_count": changed} if result is None else result


def insert_sqlite(connection: sqlite3.Connection, portions: Portions) -> dict[str, int]:
    """Run insertions in one transaction; return how many rows were inserted.

    Raises:
        QueryFailed: the database has refused one; nothing was inserted.
    """
    with _in_sqlite(connection):
        counts = [connection.execute(*portion).rowcount for portion in portions]
    return {"row_count": sum(counts)}


@contextmanager
def _in_sqlite(connection: sqlite3.Connection) -> Iterator[None]:
    """Begin a transaction that is committed, or rolled back after an error."""
    try:
        with connection:
            yield
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        raise QueryFailed(f"SQLite: {error}") from error


def open_duckdb(file: Path | None) -> Any:
    """Return a connection to a file, or to an empty database in memory; it reaches no other file.

    Raises:
        DatabaseBusy: another process has the file open.
        QueryFailed: DuckDB is not installed, or cannot open the file.
    """
    try:
        import duckdb  # noqa: PLC0415 - an optional library
    except ImportError:
        raise QueryFailed(
            "DuckDB is not installed here", hint='pip install "flowq[duckdb]"'
        ) from None
    try:
        return duckdb.connect(
            str(file or ":memory:"),
            config={"enable_external_access": "false", "lock_configuration": "true"},
        )
    except duckdb.Error as error:
        is_busy = isinstance(error, duckdb.IOException) and "lock" in str(error)
        raise (DatabaseBusy if is_busy else QueryFailed)(f"DuckDB: {error}") from error


def run_duckdb(connection: Any, text: str, params: Params) -> Any:
    """Run statements; `connection.interrupt()` ends them.

    Raises:
        QueryFailed: the database has refused one.
    """
    import duckdb  # noqa: PLC0415 - as above

    result: Any = None
    changed = 0
    kinds = duckdb.StatementType
    changes = (kinds.INSERT, kinds.UPDATE, kinds.DELETE)
    with _in_duckdb(connection):
        parts = connection.extract_statements(text)
        if params and len(parts) > 1 and not isinstance(params, Mapping):
            raise QueryFailed("several statements need their parameters by name: a mapping")
        for part in parts:
            names = set(part.named_parameters)
            given = params
            if isinstance(params, Mapping):
                given = {name: params[name] for name in names if name in params}
            cursor = connection.execute(part, given or None)
            columns = [column[0] for column in cursor.description or ()]
            if part.type in changes and columns == ["Count"]:
                changed = _count(cursor)
            elif columns and part.type in (kinds.SELECT, *changes):
                result = _rows(cursor)
    return {"row_count": changed} if result is None else result


def insert_duckdb(connection: Any, portions: Portions) -> dict[str, int]:
    """Run insertions in one transaction; return how many rows were inserted.

    Raises:
        QueryFailed: the database has refused one; nothing was inserted.
    """
    with _in_duckdb(connection):
        counts = [_count(connection.execute(*portion)) for portion in portions]
    return {"row_count": sum(counts)}


def _count(cursor: Any) -> int:
    """Return how many rows a statement has changed, which DuckDB says as a row."""
    found = cursor.fetchall()
    return int(found[0][0]) if found else 0


@contextmanager
def _in_duckdb(connection: Any) -> Iterator[None]:
    """Begin a transaction that is committed, or rolled back after an error."""
    import duckdb  # noqa: PLC0415 - as above

    try:
        connection.begin()
        yield
        connection.commit()
    except BaseException as error:
        with suppress(duckdb.Error):  # none is open after some errors
            connection.rollback()
        if isinstance(error, duckdb.Error):
            raise QueryFailed(f"DuckDB: {error}") from error
        raise


# --- PostgreSQL -----------------------------------------------------------------------------------


async def run_postgres(
    address: Mapping[str, Any], text: str, params: Params, seconds: float
) -> Any:
    """Run statements.

    Args:
        address: `url`, or `host`, `port`, `dbname`, `user`, `password`, as psycopg takes them.
        text: Statements; with parameters (`%s`, `%(name)s`) only one.
        params: Its parameters.
        seconds: The database ends them after this time.

    Raises:
        QueryFailed: it cannot be reached, or has refused one.
    """
    async with _in_postgres(address, seconds) as cursor:
        # Without parameters the server takes several statements at once.
        await cursor.execute(text.encode(), params or None)
        return await _last(cursor)


async def insert_postgres(
    address: Mapping[str, Any], portions: Portions, seconds: float
) -> dict[str, int]:
    """Run insertions in one transaction; return how many rows were inserted.

    Args:
        address: As of `run_postgres`.
        portions: The statements.
        seconds: The database ends each of them after this time.

    Raises:
        QueryFailed: it cannot be reached, or has refused one; nothing was inserted.
    """
    changed = 0
    async with _in_postgres(address, seconds) as cursor:
        for text, values in portions:
            await cursor.execute(text.encode(), values)
            changed += cursor.rowcount
    return {"row_count": changed}


@asynccontextmanager
async def _in_postgres(address: Mapping[str, Any], seconds: float) -> AsyncIterator[Any]:
    """Connect, and begin a transaction that is committed, or rolled back after an error."""
    try:
        import psycopg  # noqa: PLC0415 - an optional library
    except ImportError:
        raise QueryFailed(
            "psycopg is not installed here", hint='pip install "flowq[postgres]"'
        ) from None
    given = {key: value for key, value in address.items() if key not in ("kind", "url")}
    options = f"-c statement_timeout={math.ceil(seconds * 1_000)}"
    try:
        connection = await psycopg.AsyncConnection.connect(
            str(address.get("url", "")), connect_timeout=10, options=options, **given
        )
        async with connection, connection.cursor() as cursor:
            yield cursor
    except psycopg.Error as error:
        raise QueryFailed(f"PostgreSQL: {str(error).strip()}") from error


async def _last(cursor: Any) -> Any:
    """Return the rows of the last result that has some, or how many rows were changed."""
    result: Any = None
    changed = 0
    while True:
        if cursor.description is not None:
            if cursor.rowcount > MOST_ROWS:
                raise QueryFailed(
                    f"the result has more than {MOST_ROWS:,} rows", hint="add a LIMIT"
                )
            names = [column.name for column in cursor.description]
            rows = await cursor.fetchall()
            result = [dict(zip(names, map(json_of, row), strict=True)) for row in rows]
        else:
            changed = max(cursor.rowcount, 0)
        if not cursor.nextset():
            return {"row_count": changed} if result is None else result

"""Statements of a document on a database: PostgreSQL, SQLite, DuckDB.

A text may have several statements, which run in one transaction; the rows are those of the last
one that has some. Parameters are bound, never put into the text. Rows become JSON: decimals and
times are texts, bytes are base64. Results have a limit, and a statement can be interrupted: what a
step that has ended has started does not run on.
"""

import base64
import json
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import StepError

MOST_ROWS: Final = 100_000
MOST_BYTES: Final = 64 * 1024 * 1024
_FETCHED: Final = 1_000  #: Rows that are read at once.
_MAX_PARAMETERS: Final = 30_000  #: Of one statement; SQLite has the lowest limit, 32,766.

Params = Sequence[Any] | Mapping[str, Any] | None


class QueryFailed(StepError):
    """A database has refused statements, or their result is too large."""


def _absent(extra: str) -> QueryFailed:
    return QueryFailed(
        f"this worker cannot use {extra}: its library is not installed",
        hint=f'pip install "flowq[{extra}]"',
    )


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


def insertion(table: str, data: Any, mark: str) -> tuple[str, list[Any]]:
    """Return the statement that inserts rows into a table, and its parameters.

    Args:
        table: Its name, `schema.name` too.
        data: A row, or a list of rows: mappings from columns to values. A column that a row lacks
            is NULL; a list or a mapping in a column is stored as JSON text.
        mark: Stands for a parameter: `?` or `%s`.

    Raises:
        QueryFailed: these are no rows, or too many for one statement.
    """
    rows = [data] if isinstance(data, Mapping) else data
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and row for row in rows):
        raise QueryFailed(f"what is stored in {table!r} is no mapping, and no list of mappings")
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    if len(rows) * len(columns) > _MAX_PARAMETERS:
        raise QueryFailed(
            f"{len(rows):,} rows of {len(columns):,} columns are too many for one statement",
            hint=f"store at most {_MAX_PARAMETERS:,} values at once",
        )
    if not rows:
        return "SELECT 0 AS row_count WHERE 1 = 0", []
    where = ".".join(map(_quoted, table.split(".")))
    head = f"INSERT INTO {where} ({', '.join(map(_quoted, columns))}) VALUES "  # noqa: S608 - names are quoted, values are bound
    values = ", ".join([f"({', '.join([mark] * len(columns))})"] * len(rows))
    text = (head.replace("%", "%%") if mark == "%s" else head) + values
    return text, [_scalar(row.get(name)) for row in rows for name in columns]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _scalar(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


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
    try:
        with connection:
            for part, given in _bound(text, params):
                cursor = connection.execute(part, given or ())
                if cursor.description is not None:
                    result = _rows(cursor)
                else:
                    changed = max(cursor.rowcount, 0)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise QueryFailed(f"SQLite: {error}") from error
    return {"row_count": changed} if result is None else result


def open_duckdb(file: Path | None) -> Any:
    """Return a connection to a file, or to an empty database in memory; it reaches no other file.

    Raises:
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
        raise QueryFailed(f"DuckDB: {error}") from error


def run_duckdb(connection: Any, text: str, params: Params) -> Any:
    """Run statements; `connection.interrupt()` ends them.

    Raises:
        QueryFailed: the database has refused one.
    """
    import duckdb  # noqa: PLC0415 - as above

    result: Any = None
    try:
        parts = connection.extract_statements(text)
        if params and len(parts) > 1 and not isinstance(params, Mapping):
            raise QueryFailed("several statements need their parameters by name: a mapping")
        connection.begin()
        for part in parts:
            names = set(part.named_parameters)
            given = params
            if isinstance(params, Mapping):
                given = {name: params[name] for name in names if name in params}
            cursor = connection.execute(part, given or None)
            if cursor.description and part.type == duckdb.StatementType.SELECT:
                result = _rows(cursor)
        connection.commit()
    except duckdb.Error as error:
        with suppress(duckdb.Error):  # there is none before the first statement
            connection.rollback()
        raise QueryFailed(f"DuckDB: {error}") from error
    return {"row_count": 0} if result is None else result


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
            # Without parameters the server takes several statements at once.
            await cursor.execute(text.encode(), params or None)
            return await _last(cursor)
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

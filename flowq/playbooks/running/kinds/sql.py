"""The tools `postgres`, `sqlite` and `duckdb`: statements on a database; `sql` finds out on which.

With `table` and `data` in place of a statement, as a sink has them, rows are inserted: a mapping,
or a list of mappings, whose keys are the columns. All rows of a call are in one transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowq.playbooks.running.kinds.call import Call, failed
from flowq.playbooks.running.kinds.python import file_of
from flowq.tools import sql as databases
from flowq.tools.insertions import Insertion

#: Seconds of statements that name no timeout.
_SECONDS: Final = 300.0
#: Seconds between two attempts to open a file that another process has open.
_PAUSE: Final = 0.05
#: What is done on an open connection.
_Work = Callable[[Any], Any]


async def postgres(call: Call) -> Any:
    """Return the rows of statements on PostgreSQL; `auth` names the credential with its address."""
    address = call.secrets.credential(call.text("auth"))
    seconds = call.seconds or _SECONDS
    if (rows := _insertion(call)) is not None:
        return await databases.insert_postgres(address, rows.statements("%s"), seconds)
    return await databases.run_postgres(address, _text(call), _params(call), seconds)


async def sqlite(call: Call) -> Any:
    """Return the rows of statements on a file of SQLite, or in memory."""
    return await _run(
        call, databases.open_sqlite, _work(call, databases.run_sqlite, databases.insert_sqlite)
    )


async def duckdb(call: Call) -> Any:
    """Return the rows of statements on a file of DuckDB, or in memory."""
    return await _run(
        call, databases.open_duckdb, _work(call, databases.run_duckdb, databases.insert_duckdb)
    )


_KINDS: Final[Mapping[str, Callable[[Call], Awaitable[Any]]]] = {
    "postgres": postgres,
    "sqlite": sqlite,
    "duckdb": duckdb,
}


async def sql(call: Call) -> Any:
    """Return the rows of statements on the database of a credential, whose `kind` says which."""
    name = call.text("auth")
    kind = call.secrets.credential(name).get("kind")
    function = _KINDS.get(str(kind))
    if function is None:
        said = f"the credential {name!r} has the kind {kind!r}, which is no database"
        raise failed("ValueError", f"{said}; known are {', '.join(_KINDS)}")
    return await function(call)


async def _run(call: Call, open_: Callable[[Path | None], Any], work: _Work) -> Any:
    file = _file(call)
    try:
        async with asyncio.timeout(call.seconds or _SECONDS):
            connection = await _opened(open_, file)
            with closing(connection):
                return await _done(connection, work)
    except TimeoutError:
        raise failed("TimeoutError", "the statements took too long") from None


async def _opened(open_: Callable[[Path | None], Any], file: Path | None) -> Any:
    """Return a connection, as soon as no other process keeps the file to itself."""
    while True:
        try:
            return await asyncio.to_thread(open_, file)
        except databases.DatabaseBusy:
            await asyncio.sleep(_PAUSE)


async def _done(connection: Any, work: _Work) -> Any:
    """Return what is done on a connection; what is cancelled is interrupted."""
    running = asyncio.ensure_future(asyncio.to_thread(work, connection))
    try:
        return await asyncio.shield(running)
    finally:
        if not running.done():
            connection.interrupt()
            await asyncio.wait([running])


def _work(call: Call, run: Callable[..., Any], insert: Callable[..., Any]) -> _Work:
    """Return what a call does on its connection: statements, or an insertion."""
    if (rows := _insertion(call)) is not None:
        return partial(insert, portions=rows.statements("?"))
    return partial(run, text=_text(call), params=_params(call))


def _insertion(call: Call) -> Insertion | None:
    """Return the rows that a call inserts, if that is what it does."""
    if not call.config.get("table"):
        return None
    mode = call.text("mode", default="insert")
    return Insertion.of(call.text("table"), call.config.get("data"), mode)


def _text(call: Call) -> str:
    return call.text("command", "query", "statement", "commands")


def _params(call: Call) -> databases.Params:
    params = call.config.get("params")
    if params is not None and not isinstance(params, list | dict):
        raise failed("ValueError", "params must be a list, or a mapping by name")
    return params


def _file(call: Call) -> Path | None:
    name = call.config.get("database")
    if not name and call.config.get("auth"):
        name = call.secrets.credential(call.text("auth")).get("database")
    return None if not name or name == ":memory:" else file_of(call, str(name), must_exist=False)

"""The tools `postgres`, `sqlite` and `duckdb`: statements on a database.

With `table` and `data` in place of a statement, as a sink has them, rows are inserted: a mapping,
or a list of mappings, whose keys are the columns.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from flowq.playbooks.running.kinds.call import Call, failed
from flowq.playbooks.running.kinds.python import file_of
from flowq.tools import sql

#: Seconds of statements that name no timeout.
_SECONDS: Final = 300.0


async def postgres(call: Call) -> Any:
    """Return the rows of statements on PostgreSQL; `auth` names the credential with its address."""
    address = call.secrets.credential(call.text("auth"))
    seconds = call.seconds or _SECONDS
    text, params = _statements(call, "%s")
    return await sql.run_postgres(address, text, params, seconds)


async def sqlite(call: Call) -> Any:
    """Return the rows of statements on a file of SQLite, or in memory."""
    return await _run(call, sql.open_sqlite, sql.run_sqlite)


async def duckdb(call: Call) -> Any:
    """Return the rows of statements on a file of DuckDB, or in memory."""
    return await _run(call, sql.open_duckdb, sql.run_duckdb)


async def _run(call: Call, open_: Callable[[Path | None], Any], run: Callable[..., Any]) -> Any:
    (text, params), file = _statements(call, "?"), _file(call)
    connection = await asyncio.to_thread(open_, file)
    with closing(connection):
        work = asyncio.ensure_future(asyncio.to_thread(run, connection, text, params))
        try:
            async with asyncio.timeout(call.seconds or _SECONDS):
                return await asyncio.shield(work)
        except TimeoutError:
            raise failed("TimeoutError", "the statements took too long") from None
        finally:
            if not work.done():
                connection.interrupt()
                await asyncio.wait([work])


def _statements(call: Call, mark: str) -> tuple[str, sql.Params]:
    """Return what is run, with its parameters; `mark` stands for one in a statement."""
    if call.config.get("table"):
        return sql.insertion(call.text("table"), call.config.get("data"), mark)
    return _text(call), _params(call)


def _text(call: Call) -> str:
    return call.text("command", "query", "statement", "commands")


def _params(call: Call) -> sql.Params:
    params = call.config.get("params")
    if params is not None and not isinstance(params, list | dict):
        raise failed("ValueError", "params must be a list, or a mapping by name")
    return params


def _file(call: Call) -> Path | None:
    name = call.config.get("database")
    if not name and call.config.get("auth"):
        name = call.secrets.credential(call.text("auth")).get("database")
    return None if not name or name == ":memory:" else file_of(call, str(name), must_exist=False)

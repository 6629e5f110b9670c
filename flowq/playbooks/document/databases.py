"""What is stored where: the database of a sink, or of a tool that inserts rows.

    {backend: lake, table: t, from: rows}                      the credential says the database
    {backend: sqlite, database: a.db, table: t, from: rows}    a kind of database, and its file
    {backend: postgres, auth: shop, table: t, from: rows}      a kind, and the credential

The kind of a credential is known to the worker, unless `keychain` declares it. So what can never
work is a problem, and a name that nothing here declares is a warning.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.actions import Json
from flowq.playbooks.document.report import Report
from flowq.playbooks.document.walking import mappings

#: Kinds of databases; the keys are those that `backend` and a credential's `kind` may have.
DATABASES: Final = ("postgres", "sqlite", "duckdb")
#: The tool whose database is that of its credential.
SQL: Final = "sql"
_IN_FILES: Final = ("sqlite", "duckdb")
_FILE: Final = "'database', a file in FLOWQ_PLAYBOOK_FILES"
_AUTH: Final = "'auth', the name of a credential"
#: Keys of a sink that are fields of the tool in its long form.
_OF_BACKEND: Final = ("table", "from", "mode", "auth", "database")


def tool_of_sink(sink: Mapping[str, Json]) -> dict[str, Json]:
    """Return the tool that a sink with `backend` stands for."""
    backend, source = sink["backend"], sink["from"]
    is_path = isinstance(source, str) and "{{" not in source
    place = {key: sink[key] for key in ("auth", "database", "mode") if key in sink}
    is_kind = "auth" in sink or "database" in sink
    where = {"kind": backend} if is_kind else {"kind": SQL, "auth": backend}
    rows = f"{{{{ {source} }}}}" if is_path else source
    return {**where, **place, "table": sink["table"], "data": rows}


def check_tool(tool: Mapping[str, Any], path: JsonPath, report: Report) -> None:
    """Report a tool that has no database."""
    kind = tool.get("kind")
    if kind not in (*DATABASES, SQL):
        return
    is_insertion = "table" in tool
    if is_insertion and "data" not in tool:
        report.problem(path, "'data' is missing: a row, or a list of rows")
    if kind in _IN_FILES:
        if is_insertion and _is_in_memory(tool):
            text = f"a database in memory has no table; write {_FILE}, or {_AUTH}"
            report.problem(path, text)
    elif "auth" not in tool:
        text = f"{kind} needs {_AUTH} that says which database it is"
        (report.problem if is_insertion or kind == SQL else report.warning)(path, text)


def _is_in_memory(tool: Mapping[str, Any]) -> bool:
    return "auth" not in tool and tool.get("database", ":memory:") == ":memory:"


def check_sink(sink: Any, path: JsonPath, data: Any, report: Report) -> None:
    """Report what is wrong with a sink of `backend`, `table` and `from`.

    Args:
        sink: What is checked, if it is a mapping.
        path: Where it is.
        data: The document, whose `keychain` may declare the credential.
        report: Gets what is wrong.
    """
    if not isinstance(sink, dict):
        return
    if "backend" not in sink:
        for key in (key for key in _OF_BACKEND if key in sink and "tool" in sink):
            report.problem(path, f"{key!r} stands beside 'backend'; write it below 'tool'", key=key)
        return
    if "tool" in sink:
        report.problem(path, "has 'tool' and 'backend'; keep one of them")
    for key in ("table", "from"):
        if key not in sink:
            report.problem(path, f"{key!r} is missing: 'backend' needs it")
    if isinstance(sink["backend"], str):
        _check_backend(sink, path, data, report)


def _check_backend(sink: dict[str, Any], path: JsonPath, data: Any, report: Report) -> None:
    backend, at = sink["backend"], (*path, "backend")
    known = ", ".join(DATABASES)
    if "auth" in sink or "database" in sink:
        if backend not in DATABASES:
            near = difflib.get_close_matches(backend, DATABASES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
            report.problem(at, f"unknown kind of database {backend[:80]!r}; {hint}")
        elif backend == "postgres" and "auth" not in sink:
            report.problem(path, f"'database' is a file; postgres needs {_AUTH}", key="database")
        elif _is_in_memory(sink):
            report.problem(path, f"a database in memory has no table; write {_FILE}")
        return
    declared = {one.get("name"): one.get("kind") for _, one in mappings(data, "keychain")}
    if backend in declared:
        if declared[backend] not in DATABASES:
            text = f"the credential {backend!r} is of the kind {declared[backend]!r}, no database"
            report.problem(at, f"{text}; known are {known}")
    elif backend in DATABASES:
        place = _AUTH if backend == "postgres" else f"{_FILE}, or {_AUTH}"
        report.warning(at, f"is taken for the credential {backend!r}; write {place}, beside it")
    else:
        text = f"is taken for the credential {backend[:80]!r}; declare it in 'keychain'"
        report.warning(at, f"{text}, or write one of {known} with 'auth' or 'database' beside it")

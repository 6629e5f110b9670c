"""Sinks on real databases: SQLite, PostgreSQL, DuckDB; short and long forms (row N45)."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from flowq import testing
from flowq.core.states import RunState
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running import program, tools
from flowq.settings import Settings
from flowq.testing.runs import StartedRun
from flowq.tools import sql
from tests.tools.waiting import wait_until

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: test, path: tests/test}\n"
#: Registered before the definitions of a test are forgotten.
PROGRAM = program.playbook

#: Stores `workload.rows` beside the step `after`; SINK stands for the sink.
STORE = """
workflow:
  - step: start
    tool: {kind: noop}
    args: {rows: "{{ workload.rows }}"}
    case:
      - when: "{{ event.name == 'call.done' }}"
        then: {sink: SINK}
    next: after
  - {step: after, tool: {kind: noop}, args: {n: "{{ start.rows | length }}"}}
"""


@dataclass(frozen=True)
class Place:
    """A database that sinks store in; the credential `lake` has its place."""

    kind: str
    query: Callable[[str], list[tuple[Any, ...]]]
    credential: dict[str, str]

    def sinks(self, **more: Any) -> dict[str, str]:
        """Return each form of a sink that stores the rows of the step in the table `t`."""
        long = {"table": "t", "data": "{{ response.rows }}"}
        short = {"table": "t", "from": "response.rows"}
        of_kind = {"backend": self.kind, **short}
        forms: dict[str, dict[str, Any]] = {
            "credential": {"backend": "lake", **short},
            "kind with credential": {**of_kind, "auth": "lake"},
            "long": {"tool": {"kind": self.kind, "auth": "lake", **long}},
            "long sql": {"tool": {"kind": "sql", "auth": "lake", **long}},
        }
        if self.kind != "postgres":
            forms["kind with file"] = {**of_kind, "database": "a.db"}
        return {name: json.dumps(form | more) for name, form in forms.items()}


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@pytest.fixture(params=["sqlite", "postgres", "duckdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    files = tmp_path / "files"
    files.mkdir()
    made = _made(request, files / "a.db")
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"lake": made.credential}), encoding="utf-8")
    credentials.chmod(0o600)
    given = Settings(credentials=str(credentials), playbook_files=files, playbook_python="inline")
    monkeypatch.setattr(tools, "current_settings", lambda: given)
    return made


def _made(request: pytest.FixtureRequest, file: Path) -> Place:
    kind = request.param
    if kind == "postgres":
        import psycopg

        url = request.getfixturevalue("postgres_url").replace("+psycopg", "")

        def in_postgres(text: str) -> list[tuple[Any, ...]]:
            with psycopg.connect(url) as connection:
                return _rows(connection.execute(text))

        return Place(kind, in_postgres, {"kind": kind, "url": url})
    library = pytest.importorskip("duckdb") if kind == "duckdb" else sqlite3

    def in_file(text: str) -> list[tuple[Any, ...]]:
        with closing(library.connect(str(file))) as connection:
            found = _rows(connection.execute(text))
            connection.commit()
            return found

    return Place(kind, in_file, {"kind": kind, "database": file.name})


def started(text: str, **payload: Any) -> StartedRun:
    return testing.start(read_playbook(HEAD + text).flow, {"payload": payload})


def stored(sink: str, rows: Any) -> StartedRun:
    """Run a playbook that stores rows by a sink."""
    return started(STORE.replace("SINK", sink), rows=rows)


def test_every_form_inserts_a_row_for_each_element(place: Place) -> None:
    place.query("CREATE TABLE t (a INTEGER, b TEXT)")
    for name, sink in place.sinks().items():
        place.query("DELETE FROM t")
        with stored(sink, [{"a": 1, "b": "x"}, {"b": "y"}]) as run:
            assert {"n": 2} == run.result()["result"], name
        assert [(None, "y"), (1, "x")] == place.query("SELECT a, b FROM t ORDER BY b DESC"), name


def test_values_arrive_as_they_are(place: Place) -> None:
    place.query('CREATE TABLE t (a BIGINT, b TEXT, c DOUBLE PRECISION, d BOOLEAN, "e % f" TEXT)')
    texts = ["it's; DROP TABLE t; --", '"%s" {{ a }} ?', "ä\n\\ ☃", "", "0012", "null"]
    rows: list[Any] = [{"a": at, "b": text} for at, text in enumerate(texts)]
    rows += [{"a": 2**62, "b": None, "c": -1.5, "d": True, "e % f": {"g": [1, None, "ä"]}}]

    with stored(place.sinks()["credential"], rows) as run:
        run.result()

    found = place.query('SELECT b, c, d, "e % f" FROM t ORDER BY a')
    assert [(text, None, None, None) for text in texts] == found[:-1]
    *_, text = found[-1]
    assert (None, -1.5, True, {"g": [1, None, "ä"]}) == (*found[-1][:3], json.loads(text))


def test_ten_thousand_rows_are_one_transaction(place: Place) -> None:
    """They need several statements, and come by reference from another step."""
    place.query("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c TEXT, d TEXT)")
    code = "result = {'rows': [{'a': a, 'b': 'it''s', 'c': None, 'd': [a]} for a in range(10_000)]}"
    text = STORE.replace("{kind: noop}\n    args", f'{{kind: python, code: "{code}"}}\n    args')
    text = text.replace("SINK", place.sinks()["credential"])

    with started(text, rows=[]) as run:
        assert {"n": 10_000} == run.result()["result"]
    assert [(10_000, 49_995_000)] == place.query("SELECT count(*), sum(a) FROM t")
    # The last row is refused, so none of them is there.
    place.query("DELETE FROM t WHERE a < 9999")
    with started(text, rows=[]) as run:
        assert RunState.FAILED is run.finish()
    assert [(1, 9_999)] == place.query("SELECT count(*), sum(a) FROM t")


def test_file_that_another_process_has_open_is_waited_for(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB gives a file to one process at a time: workers take turns."""
    if place.kind != "duckdb":
        pytest.skip("other databases are open to several processes at once")
    place.query("CREATE TABLE t (a INTEGER)")
    file, opened = str(tmp_path / "files" / "a.db"), tmp_path / "opened"
    code = (
        f"import duckdb, pathlib; connection = duckdb.connect({file!r}); "
        f"pathlib.Path({str(opened)!r}).touch(); input()"
    )
    refused: list[Exception] = []
    open_duckdb = sql.open_duckdb
    with Popen([sys.executable, "-c", code], stdin=PIPE, text=True) as other:

        def opening(file: Path) -> Any:
            """Let the other process end once it was in the way."""
            try:
                return open_duckdb(file)
            except sql.DatabaseBusy as error:
                if not refused:
                    print(file=other.stdin, flush=True)
                refused.append(error)
                raise

        wait_until(opened.exists, what="another process has the file open")
        monkeypatch.setattr(sql, "open_duckdb", opening)
        with stored(place.sinks()["credential"], [{"a": 1}]) as run:
            run.result()
    assert refused
    assert [(1,)] == place.query("SELECT a FROM t")


def test_nothing_to_store_stores_nothing(place: Place) -> None:
    place.query("CREATE TABLE t (a INTEGER)")
    with stored(place.sinks()["credential"], []) as run:
        assert {"n": 0} == run.result()["result"]
    assert [(0,)] == place.query("SELECT count(*) FROM t")


@pytest.mark.parametrize(
    "rows, said", [([1], "element 0 of what is stored in 't' is no mapping"), ([{"a": 1}], "t")]
)
def test_failed_sink_fails_the_run_unless_it_is_ignored(place: Place, rows: Any, said: str) -> None:
    """There is no table, or there are no rows."""
    with stored(place.sinks()["long"], rows) as run:
        assert RunState.FAILED is run.finish()
        assert "step 'start_sink' failed: QueryFailed: " in (run.view().error or "")
        assert said in (run.view().error or "")
    with stored(place.sinks(on_error="ignore")["long"], rows) as run:
        assert {"n": 1} == run.result()["result"]
        states = {one.key.split("#")[0]: str(one.status) for one in run.steps}
    assert {"start": "completed", "start_sink": "failed", "after": "completed"}.items() <= (
        states.items()
    )


def test_rows_that_a_key_refuses_are_ignored_where_it_says_so(place: Place) -> None:
    """So that a sink which is made again, as after a crash, adds nothing."""
    place.query("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    rows = [{"a": 1}, {"a": 2}]
    sink = json.dumps(json.loads(place.sinks()["credential"]) | {"mode": "ignore"})
    for _ in range(2):
        with stored(sink, rows) as run:
            run.result()
    assert [(1,), (2,)] == place.query("SELECT a FROM t ORDER BY a")


def test_each_item_of_a_loop_stores_beside_the_others(place: Place) -> None:
    place.query("CREATE TABLE t (a INTEGER)")
    text = """
workflow:
  - step: start
    loop: {in: "{{ workload.rows }}", iterator: n, mode: parallel}
    tool: {kind: noop}
    args: {rows: [{a: "{{ n }}"}, {a: "{{ n }}"}]}
    case: [{when: "{{ event.name == 'call.done' }}", then: {sink: SINK}}]
"""
    with started(text.replace("SINK", place.sinks()["credential"]), rows=list(range(20))) as run:
        run.result()
    assert [(40, 20)] == place.query("SELECT count(*), count(DISTINCT a) FROM t")


def test_page_after_page_is_stored_and_a_replay_stores_nothing_again(place: Place) -> None:
    """Each call that follows replays the program, and its sinks are not made again."""
    place.query("CREATE TABLE t (a INTEGER)")
    text = """
workflow:
  - step: start
    tool: {kind: python, code: "result = {'rows': [{'a': page}], 'page': page}"}
    args: {page: "{{ event.page }}"}
    case:
      - when: "{{ event.name == 'call.done' and event.page < 5 }}"
        then: [{sink: SINK}, {call: {args: {page: "{{ event.page + 1 }}"}}}]
      - {when: "{{ event.name == 'call.done' }}", then: {sink: SINK}}
    next: after
  - {step: after, tool: {kind: noop}}
"""
    with started(text.replace("SINK", place.sinks()["credential"]), rows=[]) as run:
        run.result()
    assert [(5,)] == place.query("SELECT count(*) FROM t")

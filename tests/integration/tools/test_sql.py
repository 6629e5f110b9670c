"""Statements of documents on SQLite and DuckDB (N16)."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowq.tools import sql
from flowq.tools.sql import QueryFailed, json_of, statements

Query = Callable[..., Any]


@pytest.fixture(params=["sqlite", "duckdb"])
def query(request: pytest.FixtureRequest) -> Query:
    kind = request.param
    if kind == "duckdb":
        pytest.importorskip("duckdb")
    connection = getattr(sql, f"open_{kind}")(None)
    run = getattr(sql, f"run_{kind}")
    return lambda text, params=None: run(connection, text, params)


def test_the_rows_are_those_of_the_last_statement_that_has_some(query: Query) -> None:
    text = """
    CREATE TABLE t (n INTEGER, s TEXT); -- a ; in a comment
    INSERT INTO t VALUES (1, 'a;b'), (2, 'c');
    SELECT n, s FROM t ORDER BY n;
    UPDATE t SET n = n + 1;
    """
    assert query(text) == [{"n": 1, "s": "a;b"}, {"n": 2, "s": "c"}]
    assert query("SELECT n FROM t WHERE s = $s", {"s": "c"}) == [{"n": 3}]
    assert query("SELECT ? AS s", ["it's; DROP TABLE t"]) == [{"s": "it's; DROP TABLE t"}]


def test_a_failed_statement_changes_nothing(query: Query) -> None:
    query("CREATE TABLE t (n INTEGER)")
    with pytest.raises(QueryFailed, match="nowhere"):
        query("INSERT INTO t VALUES (1); SELECT * FROM nowhere;")
    assert query("SELECT count(*) AS c FROM t") == [{"c": 0}]


def test_other_files_are_out_of_reach(query: Query, tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with pytest.raises(QueryFailed):
        query(f"ATTACH '{file}' AS other")
    with pytest.raises(QueryFailed):
        query(f"VACUUM INTO '{file}'")
    assert not file.exists()


def test_a_result_has_a_limit(query: Query) -> None:
    text = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 100001) "
        "SELECT i FROM n"
    )
    with pytest.raises(QueryFailed, match="100,000 rows"):
        query(text)


def test_statements_end_where_they_end() -> None:
    text = "SELECT ';'; /* ; */ CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END; -- x"
    assert [one.strip()[:12] for one in statements(text)] == ["SELECT ';';", "/* ; */ CREA"]


def test_values_are_json() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    values = [Decimal("1.10"), moment, b"\0", float("inf"), (1,), {"a": moment}]
    assert [json_of(one) for one in values] == [
        "1.10",
        "2026-01-02T00:00:00+00:00",
        "AA==",
        "inf",
        [1],
        {"a": "2026-01-02T00:00:00+00:00"},
    ]


def test_changes_are_counted(query: Query) -> None:
    query("CREATE TABLE t (n INTEGER)")
    assert query("INSERT INTO t VALUES (1), (2)") == {"row_count": 2}
    assert query("UPDATE t SET n = 3 WHERE n = 1") == {"row_count": 1}
    assert query("DELETE FROM t") == {"row_count": 2}
    assert query("INSERT INTO t VALUES (1) RETURNING n") == [{"n": 1}]

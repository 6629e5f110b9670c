"""Statements that insert rows: their text, their portions, and what is no row."""

from typing import Any

import pytest

from flowq.tools.insertions import Insertion
from flowq.tools.sql import QueryFailed


def test_values_are_bound_and_names_are_quoted() -> None:
    rows = [{"a": 1, 'b "c': "x'); DROP TABLE t; --"}, {"a": None, "d": [1, {"e": "ä"}]}]

    [(text, values)] = Insertion.of("my t", rows).statements("?")

    assert 'INSERT INTO "my t" ("a", "b ""c", "d") VALUES (?, ?, ?), (?, ?, ?)' == text
    assert [1, "x'); DROP TABLE t; --", None, None, None, '[1, {"e": "ä"}]'] == values


def test_names_in_postgresql_are_no_parameters() -> None:
    [(text, values)] = Insertion.of("s.t", {"50%s": 1}).statements("%s")
    assert ('INSERT INTO "s"."t" ("50%%s") VALUES (%s)', [1]) == (text, values)


@pytest.mark.parametrize("columns, most", [(1, 30_000), (7, 4_285), (40_000, 1)])
def test_no_statement_has_more_values_than_a_database_takes(columns: int, most: int) -> None:
    rows: list[dict[str, Any]] = [{f"c{at}": at for at in range(columns)}] * (most * 2 + 1)
    portions = [len(values) // columns for _, values in Insertion.of("t", rows).statements("?")]
    assert [most, most, 1] == portions


def test_no_rows_are_no_statement() -> None:
    assert [] == list(Insertion.of("t", []).statements("?"))


def test_rows_that_a_key_refuses_are_left_out() -> None:
    [(text, _)] = Insertion.of("t", {"a": 1}, "ignore").statements("?")
    assert 'INSERT INTO "t" ("a") VALUES (?) ON CONFLICT DO NOTHING' == text


@pytest.mark.parametrize(
    "data, said",
    [
        ("text", "is no mapping, and no list"),
        (None, "is no mapping, and no list"),
        (7, "is no mapping, and no list"),
        ({}, "element 0 of what is stored in 't' is no mapping with columns"),
        ([{"a": 1}, 1], "element 1 of what is stored in 't' is no mapping with columns"),
        ([{"a": 1}, {}], "element 1 "),
        ([[1]], "element 0 "),
    ],
)
def test_what_is_no_row_is_refused(data: Any, said: str) -> None:
    with pytest.raises(QueryFailed, match=said):
        Insertion.of("t", data)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(QueryFailed, match="unknown mode 'replace'; known are insert"):
        Insertion.of("t", [{"a": 1}], "replace")

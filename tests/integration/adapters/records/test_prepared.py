"""A connection keeps one cursor for its statements, unless that holds a large result."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Integer, bindparam, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from flowq.adapters.records.sql.prepared import Prepared

_NUMBERS = Prepared(select(func.generate_series(1, bindparam("p_rows", type_=Integer))))
_SHARE = Prepared(select(1 / bindparam("p_rows", type_=Integer)))


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _kept(connection: Connection) -> Any:
    return connection.connection.info.get("flowq_cursor")


def test_cursor_is_used_again(connection: Connection) -> None:
    assert len(_NUMBERS.run(connection, {"p_rows": 3})) == 3
    first = _kept(connection)
    assert first is not None
    assert [row[0] for row in _NUMBERS.run(connection, {"p_rows": 2})] == [1, 2]
    assert _kept(connection) is first


def test_large_result_is_not_kept(connection: Connection) -> None:
    assert len(_NUMBERS.run(connection, {"p_rows": 5_000})) == 5_000
    assert _kept(connection) is None


def test_cursor_that_has_failed_is_not_kept(connection: Connection) -> None:
    _NUMBERS.run(connection, {"p_rows": 1})
    with pytest.raises(DBAPIError, match="division by zero"):
        _SHARE.run(connection, {"p_rows": 0})
    assert _kept(connection) is None
    assert _NUMBERS.run(connection, {"p_rows": 1}).scalar() == 1

"""Connections that are kept between two uses: who waits gets one, and none outlives its pool."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import uuid_utils.compat as uuids
from sqlalchemy import make_url

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import RunId
from tests.tools.servers import conninfo
from tests.tools.waiting import wait_until

RUN = RunId(uuids.uuid7())


@pytest.fixture
def pooled(postgres_url: str) -> Iterator[SqlRecords]:
    pooled = SqlRecords(postgres_url, pool_size=2)
    yield pooled
    pooled.close()


def backends(pooled: SqlRecords) -> list[str]:
    """The states of the database's connections, but for this one."""
    query = (
        "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with psycopg.connect(conninfo(make_url(pooled.url))) as connection:
        return [row[0] for row in connection.execute(query)]


def assert_left(pooled: SqlRecords, *allowed: list[str]) -> None:
    """Wait until no others are left than these: the server sees an end a moment later."""
    wait_until(lambda: sorted(backends(pooled)) in allowed, what=f"there are {allowed}")


def read(tx: SqlTransaction) -> object:
    return tx.runs.status(RUN)


def test_one_after_the_other_uses_the_same_connection(pooled: SqlRecords) -> None:
    for _ in range(3):
        assert pooled.autocommit(read) is None

    assert_left(pooled, ["idle"])


def test_more_threads_than_connections_all_come_to_their_turn(pooled: SqlRecords) -> None:
    def many(_: int) -> int:
        return sum(pooled.autocommit(read) is None for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(many, range(8))) == [200] * 8
    assert_left(pooled, ["idle"], ["idle", "idle"])


def test_nothing_is_left_open_in_a_connection(pooled: SqlRecords) -> None:
    def fail(tx: SqlTransaction) -> None:
        tx.runs.status(RUN)
        raise LookupError

    pooled.transaction(read)
    with pytest.raises(LookupError):
        pooled.transaction(fail)
    with pytest.raises(LookupError):
        pooled.autocommit(fail)
    pooled.autocommit(read)

    assert_left(pooled, ["idle"])


def test_connection_that_the_server_has_ended_is_replaced(pooled: SqlRecords) -> None:
    pooled.autocommit(read)
    with psycopg.connect(conninfo(make_url(pooled.url)), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert pooled.autocommit(read) is None


def test_kept_connections_end_with_their_pool(pooled: SqlRecords) -> None:
    pooled.autocommit(read)
    pooled.engine.dispose()  # as after a loss of the database
    pooled.autocommit(read)
    assert_left(pooled, ["idle"])

    pooled.close()

    wait_until(lambda: not backends(pooled), what="the server sees that they are closed")

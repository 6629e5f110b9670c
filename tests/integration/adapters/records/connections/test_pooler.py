"""PgBouncer before PostgreSQL, in each of its modes: runs go on as without it, or it is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, make_url, text

from flowq import flow, step
from flowq.adapters.records.connections.engine import session_of
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import migrate, revisions
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.errors import DatabaseUnavailable
from tests.tools import servers
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage

TIMEOUTS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "idle_session_timeout",
)
#: What a role may have set, and what flowq's statements are not written for.
HOSTILE = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    **dict.fromkeys(TIMEOUTS, "30000"),
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "transform_null_equals": "on",
    "array_nulls": "off",
}


@step
def doubled(n: int) -> int:
    return 2 * n


@step
def summed(numbers: list[int]) -> dict[str, Any]:
    return {"sum": sum(numbers), "text": "größer → 大きい"}


@flow
def adding(count: int) -> Any:
    return summed(doubled.map(list(range(count))))


def play(url: str, runs: int) -> None:
    """Play runs, several at once and on few connections, and look at what they have left."""
    records = SqlRecords(url, pool_size=4)
    try:

        def one(count: int) -> None:
            played = Stage.on(records).play(adding, count=count)
            assert played.result() == {"sum": count * (count - 1), "text": "größer → 大きい"}

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(one, range(1, runs + 1)))
        assert_invariants(records)
    finally:
        records.close()


def text_of(url: URL, **query: str) -> str:
    return url.update_query_dict(query).render_as_string(hide_password=False)


@pytest.fixture
def server(postgres_url: str) -> URL:
    return make_url(postgres_url)


@pytest.fixture
def pooler(server: URL) -> Iterator[URL]:
    with servers.pgbouncer(server) as address:
        yield address


def change_role(server: URL, change: str) -> None:
    """Change what the role has set, for this database alone."""
    statement = f"ALTER ROLE {{}} IN DATABASE {{}} {change}"
    # From another database, where what the role has set does not hold.
    elsewhere = server.set(database="postgres")
    servers.administer(elsewhere, statement, str(server.username), str(server.database))


@pytest.fixture
def hostile_role(server: URL) -> Iterator[None]:
    for name, value in HOSTILE.items():
        change_role(server, f"SET {name} = '{value}'")
    yield
    change_role(server, "RESET ALL")


def test_runs_behind_a_pooler_of_transactions(pooler: URL) -> None:
    play(text_of(pooler), runs=20)


@pytest.mark.parametrize("threshold", ["0", "none"])
def test_prepared_statements_can_be_given_up_by_hand(server: URL, threshold: str) -> None:
    url = text_of(server, prepare_threshold=threshold)
    play(url, runs=2)
    records = SqlRecords(url)
    with records.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.prepare_threshold is None
    records.close()


def test_pooler_is_known_and_left_as_it_was(server: URL, pooler: URL) -> None:
    ask = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> %s"
    for address, pooled in ((server, False), (pooler, True)):
        records = SqlRecords(text_of(address))
        with records.engine.connect() as connection:
            assert session_of(connection).pooled is pooled
        records.transaction(lambda tx: tx.within.execute(text("SELECT 1")))
        records.close()
    conninfo = text_of(pooler.set(drivername="postgresql"))
    with psycopg.connect(conninfo, autocommit=True) as client:
        assert client.execute(ask, ("client_encoding",)).fetchall() == []


@pytest.mark.usefixtures("hostile_role")
def test_runs_though_the_role_has_set_everything_else(server: URL) -> None:
    play(text_of(server), runs=5)


@pytest.mark.usefixtures("hostile_role")
def test_runs_behind_a_pooler_though_the_role_has_set_everything_else(pooler: URL) -> None:
    play(text_of(pooler), runs=5)


@pytest.mark.usefixtures("hostile_role")
@pytest.mark.parametrize("pooled", [False, True])
def test_only_the_own_timeouts_count(server: URL, pooler: URL, pooled: bool) -> None:  # noqa: FBT001
    for name in TIMEOUTS:
        change_role(server, f"SET {name} = '300'")
    records = SqlRecords(text_of(pooler if pooled else server))
    for use in (records.transaction, records.autocommit):
        use(lambda tx: tx.within.execute(text("SELECT pg_sleep(0.5)")))

    def dawdle(tx: SqlTransaction) -> None:
        tx.within.execute(text("SELECT 1"))
        sleep(0.5)  # idle in the transaction

    records.transaction(dawdle)
    records.close()


@pytest.mark.usefixtures("hostile_role")
@pytest.mark.parametrize("pooled", [False, True])
def test_migrations_though_the_role_has_set_everything_else(server: URL, pooled: bool) -> None:  # noqa: FBT001
    migrate.downgrade(text_of(server), "base")
    with servers.pgbouncer(server) as pooler:
        address = text_of(pooler if pooled else server)
        migrate.upgrade(address)
        revisions.check(address)


def test_runs_behind_a_pooler_of_sessions(server: URL) -> None:
    with servers.pgbouncer(server, pool_mode="session", default_pool_size="10") as pooler:
        play(text_of(pooler), runs=5)


def test_pooler_of_statements_is_refused(server: URL) -> None:
    with servers.pgbouncer(server, pool_mode="statement") as pooler:
        records = SqlRecords(text_of(pooler))
        for use in (records.transaction, records.autocommit):
            with pytest.raises(DatabaseUnavailable, match="statement mode") as refused:
                use(lambda tx: tx.within.execute(text("SELECT 1")))
            assert "pool_mode" in str(refused.value)
        with pytest.raises(DatabaseUnavailable, match="statement mode"):
            migrate.upgrade(text_of(pooler))
        records.close()


def test_options_that_a_pooler_refuses_are_named(pooler: URL) -> None:
    records = SqlRecords(text_of(pooler, options="-c search_path=public"))
    with pytest.raises(DatabaseUnavailable, match="options") as refused:
        records.autocommit(lambda tx: tx.within.execute(text("SELECT 1")))
    assert "ignore_startup_parameters" in str(refused.value)
    records.close()

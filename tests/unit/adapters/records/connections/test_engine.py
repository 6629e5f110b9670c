"""The URL of a database: what can be used is, and what cannot is refused with what would do."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.adapters.records.connections.engine import open_engine, read_url
from flowq.core.errors import DatabaseUnavailable


@pytest.mark.parametrize(
    "url, driver",
    [
        ("postgresql://ada@db/flowq", "postgresql+psycopg"),
        ("postgres://ada@db/flowq", "postgresql+psycopg"),
        ("postgresql+psycopg://ada@db/flowq?sslmode=require", "postgresql+psycopg"),
        ("postgresql+psycopg://ada@/flowq?host=a:1&host=b:2", "postgresql+psycopg"),
        ("sqlite:///flowq.db", "sqlite"),
        ("sqlite+pysqlite:////srv/flowq.db?timeout=5", "sqlite+pysqlite"),
        ("sqlite:///file:/srv/flowq.db?mode=ro&uri=true", "sqlite"),
    ],
)
def test_url_that_flowq_can_use(url: str, driver: str) -> None:
    assert read_url(url).drivername == driver
    open_engine(url).dispose()


@pytest.mark.parametrize(
    "url, says",
    [
        ("mysql://ada:hunter2@db/flowq", "PostgreSQL and SQLite"),
        ("mysql+pymysql://ada:hunter2@db/flowq", "PostgreSQL and SQLite"),
        ("oracle://ada:hunter2@db/flowq", "PostgreSQL and SQLite"),
        ("cockroachdb://ada:hunter2@db/flowq", "PostgreSQL and SQLite"),
        ("redis://ada:hunter2@db/0", "PostgreSQL and SQLite"),
        ("postgresql+asyncpg://ada:hunter2@db/flowq", "postgresql+psycopg://ada:***@db/flowq"),
        ("postgresql+psycopg2://ada:hunter2@db/flowq", "postgresql+psycopg://ada:***@db/flowq"),
        ("postgresql+psycopg_async://ada:hunter2@db/flowq", "postgresql+psycopg://"),
        ("sqlite+aiosqlite:///flowq.db", "sqlite:///flowq.db"),
        ("sqlite+pysqlcipher://:hunter2@/flowq.db", "set it to sqlite://"),
        ("sqlite:///flowq.db?_pragma=journal_mode(DELETE)", "'_pragma'"),
        ("sqlite:///flowq.db?journal_mode=DELETE", "'journal_mode'"),
        ("sqlite:///flowq.db?mode=ro", "'mode'"),
        ("sqlite:///file:flowq.db?uri=true&_journal_mode=WAL", "'_journal_mode'"),
        ("sqlite:///flowq.db?isolation_level=DEFERRED", "'isolation_level'"),
        ("sqlite://ada:hunter2@host/flowq.db", "cannot be used"),
        ("postgresql://ada:hunter2@db/flowq?autocommit=true", "'autocommit'"),
        ("postgresql://ada:hunter2@db/flowq?prepare_threshold=often", "prepare_threshold"),
        ("postgresql://ada:hunter2@a:1,b:2/flowq", "host=a:5432&host=b:5432"),
        ("flowq.db", "not a database URL"),
        ("/srv/flowq.db", "not a database URL"),
        ("", "not a database URL"),
        ("ada:hunter2@db/flowq", "not a database URL"),
    ],
)
def test_url_that_flowq_cannot_use_is_refused(url: str, says: str) -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        open_engine(url)

    assert says in str(refused.value)
    assert refused.value.hint
    assert "hunter2" not in str(refused.value)


@given(
    st.builds(
        "{}{}".format,
        st.sampled_from(["", "postgresql://", "postgresql+psycopg://u:p@h:1/", "sqlite:///"]),
        st.text(max_size=60) | st.text("/@:?&=,+%a1[]", max_size=20),
    )
)
def test_no_text_is_anything_but_a_url_or_refused(url: str) -> None:
    with suppress(DatabaseUnavailable):
        open_engine(url).dispose()


@pytest.mark.parametrize("given_url", ["sqlite:///flowq.db", "postgresql://ada@db/flowq"])
def test_engine_hides_the_values_of_its_statements(given_url: Any) -> None:
    engine = open_engine(given_url)
    assert engine.hide_parameters
    engine.dispose()

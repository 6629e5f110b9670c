"""Models and migrations agree, both ways, on both databases."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

import pytest
import uuid_utils.compat as uuids
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import migrate, revisions
from flowq.adapters.records.sql.tables import VERSION_TABLE, Base
from flowq.core import errors
from flowq.core.ids import RunId
from tests.tools.session.processes import Process


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new folder' / 'flowq.db'}"
    else:
        yield request.getfixturevalue("empty_postgres_url")


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_migrated_database_is_what_the_models_say(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()

    assert differences == []


def test_database_is_made_from_nothing_taken_back_and_made_again(empty_url: str) -> None:
    ours = {"flow_runs", "flow_step_runs", "llm_requests"}
    for _ in range(2):
        migrate.upgrade(empty_url)
        revisions.check(empty_url)
        assert ours <= tables(empty_url)
        migrate.upgrade(empty_url)
        migrate.downgrade(empty_url, "base")
        assert tables(empty_url) <= {VERSION_TABLE}
        assert revisions.current(empty_url) is None


def test_upgrades_at_once_take_turns(empty_url: str) -> None:
    code = "import sys; from flowq.adapters.records.migrations import migrate\n"
    code += "sys.stdin.read(); migrate.upgrade(sys.argv[1])"
    command = [sys.executable, "-c", code, empty_url]
    with ExitStack() as stack:
        begun = [
            stack.enter_context(Process[str](command, stdin=PIPE, stderr=PIPE, text=True))
            for _ in range(6)
        ]
        for process in begun:  # they wait for each other, so that they begin together
            assert process.stdin is not None
            process.stdin.close()
        for process in begun:
            assert process.stderr is not None
            said = process.stderr.read()
            assert 0 == process.wait(60), said

    revisions.check(empty_url)


def test_upgrade_that_fails_on_its_way_leaves_nothing(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "new folder").mkdir()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE flow_signals (theirs INTEGER)"))
    engine.dispose()

    with pytest.raises(errors.DatabaseRefused, match="flow_signals"):
        migrate.upgrade(empty_url)

    assert tables(empty_url) == {"flow_signals"}


def test_tables_of_others_are_left_alone(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "new folder").mkdir()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    engine.dispose()

    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, "base")

    assert "alembic_version" in tables(empty_url)


def test_database_of_a_newer_flowq_is_refused(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()

    for call in (revisions.check, migrate.upgrade):
        with pytest.raises(errors.DatabaseTooNew, match="9999") as newer:
            call(database_url)
        assert "pip install" in str(newer.value)


def test_database_that_was_not_migrated_says_how(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "new folder").mkdir()

    with pytest.raises(errors.DatabaseNotMigrated, match="flowq db upgrade"):
        revisions.check(empty_url)
    records = SqlRecords(empty_url)
    try:
        for call in (records.autocommit, records.transaction):
            with pytest.raises(errors.DatabaseNotMigrated, match="flowq db upgrade"):
                call(lambda tx: tx.runs.status(RunId(uuids.uuid7())))
    finally:
        records.close()


def test_database_that_is_away_is_named_without_its_password() -> None:
    url = "postgresql+psycopg://ada:hunter2@127.0.0.1:1/flowq"

    for call in (revisions.current, revisions.check, migrate.upgrade):
        with pytest.raises(errors.DatabaseUnavailable, match=r"127\.0\.0\.1:1/flowq") as away:
            call(url)
        assert "hunter2" not in str(away.value)

"""Migrations from 0014 on let workers go on: no table with rows is locked while it is read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import Engine, create_engine, event, text

from flowq.adapters.records.migrations import migrate, online, revisions
from flowq.adapters.records.sql.tables import VERSION_TABLE
from flowq.core import errors

BEFORE: Final = "0013"
_CREATED: Final = re.compile(r"CREATE TABLE (\w+)")
_INDEX: Final = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?\w+ ON (\w+)"
)
_CHANGED: Final = re.compile(r"(?:ALTER TABLE|UPDATE|DELETE FROM|INSERT INTO|LOCK TABLE) (\w+)(.*)")
#: What a change of the catalog waits for others by; DROP INDEX locks the table of the index.
_LOCKING: Final = re.compile(r"(?:ALTER TABLE|DROP TABLE|DROP INDEX (?!CONCURRENTLY )) ?\w+")
_COMMIT: Final = "COMMIT"
_ADDED: Final = re.compile(r" ADD COLUMN \w+ (?!.*NOT NULL)(?!.*DEFAULT)(?!.*REFERENCES)")


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    """The address of a database at the revision before, with a run."""
    migrate.upgrade(empty_postgres_url, BEFORE)
    engine = create_engine(empty_postgres_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO flow_runs (id, flow_name, status, execution_mode, created_at, "
                "step_progress, progress_percentage, total_tokens, total_cost, inputs, spec, "
                "priority) VALUES (:id, 'f', 'completed', 'async', now(), 0, 0, 0, 0, '{}', '{}', "
                "0)"
            ),
            {"id": uuids.uuid7()},
        )
        connection.execute(
            text(
                "INSERT INTO flow_step_runs (id, flow_run_id, step_key, step_name, step_order, "
                "status, tokens_used, cost_estimate, created_at, pending_dependencies, advanced, "
                "attempt, recoveries) SELECT :id, id, 'a', 'a', 0, 'failed', 0, 0, now(), 0, true, "
                "1, 0 FROM flow_runs"
            ),
            {"id": uuids.uuid7()},
        )
    engine.dispose()
    return empty_postgres_url


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Yield the statements that are run in the block, and the ends of their transactions."""
    found: list[str] = []

    def keep(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        found.append(" ".join(statement.split()))

    def end(_: Any) -> None:
        found.append(_COMMIT)

    event.listen(Engine, "before_cursor_execute", keep)
    event.listen(Engine, "commit", end)
    try:
        yield found
    finally:
        event.remove(Engine, "commit", end)
        event.remove(Engine, "before_cursor_execute", keep)


def without_timeout(statements: list[str]) -> list[str]:
    """Return the statements that lock a table and may wait for ever, with all others behind."""
    found, has_timeout = [], False
    for one in statements:
        if one == _COMMIT:
            has_timeout = False
        elif one == online.LOCK_TIMEOUT:
            has_timeout = True
        elif _LOCKING.match(one) and not has_timeout:
            found.append(one)
    return found


def test_no_statement_locks_a_table_that_workers_use(url: str) -> None:
    with recorded() as statements:
        migrate.upgrade(url)

    new = {found[1] for one in statements if (found := _CREATED.match(one))} | {VERSION_TABLE}
    indexes = [found for one in statements if (found := _INDEX.match(one))]
    locked = [found[0] for found in indexes if found[2] not in new and not found[1]]
    assert locked == [], "use op.ensure_index, in a revision of its own"
    assert any(found[1] for found in indexes)
    assert any(one.startswith("DROP INDEX") for one in statements)
    assert without_timeout(statements) == []
    changes = [
        found for one in statements if (found := _CHANGED.match(one)) and found[1] not in new
    ]
    assert [found[0] for found in changes if not _ADDED.match(found[2])] == [], (
        "add columns that may be NULL, and fill them in batches outside of migrations"
    )
    revisions.check(url)


def test_index_that_could_not_be_built_is_built_when_the_upgrade_is_repeated(url: str) -> None:
    migrate.upgrade(url, "0021")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_flow_runs_in_line ON flow_runs (id)"))
        connection.execute(
            text(
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'ix_flow_runs_in_line'::regclass"
            )
        )

    migrate.upgrade(url)

    with engine.begin() as connection:
        found = connection.execute(
            text(
                "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index "
                "WHERE indexrelid = 'ix_flow_runs_in_line'::regclass"
            )
        ).one()
    engine.dispose()
    assert found[0]
    assert "(flow_name, singleton_key, id)" in found[1]
    revisions.check(url)


@pytest.mark.parametrize("revision", [BEFORE, "0022"])
def test_upgrade_waits_for_no_long_transaction(
    url: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would wait behind it: it gives up, and changes nothing."""
    migrate.upgrade(url, revision)
    engine = create_engine(url)
    # Only here: autovacuum, which may have a table at any moment, is waited for as ever.
    with engine.begin() as connection, monkeypatch.context() as impatient:
        impatient.setattr(migrate, "_TRIES", 1)
        impatient.setattr(online, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '200ms'")
        connection.execute(text("SELECT count(*) FROM flow_runs"))
        with pytest.raises(errors.DatabaseUnavailable, match="used by a long transaction"):
            migrate.upgrade(url)
    engine.dispose()

    assert revisions.current(url) == revision
    migrate.upgrade(url)
    revisions.check(url)

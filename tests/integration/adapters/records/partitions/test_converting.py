"""The large tables become partitioned ones: no row is lost, open runs go on, the schema stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from flowq import errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import migrate, revisions
from flowq.adapters.records.partitions import converting, months
from flowq.adapters.records.partitions.doctoring import partitioning
from flowq.adapters.records.partitions.months import AHEAD, CHECK, month_after
from flowq.adapters.records.sql.tables import VERSION_TABLE, Base
from flowq.core.ids import earliest_id
from flowq.engine.engine import Policies
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage

NOW = datetime.now(UTC)
TABLES = ("flow_step_runs", "llm_requests")


@step
def half(number: int) -> int:
    return number // 2


@flow
def halves(number: int) -> int:
    for _ in range(4):
        number = half(number)
    return number


@step
async def halved(number: int) -> int:
    return number // 2


@flow
async def halving(number: int) -> int:
    while number > 1:
        number = await halved(number)
    return number


@pytest.fixture
def records(postgres_url: str) -> Iterator[SqlRecords]:
    """The records of the database that is converted."""
    records = SqlRecords(postgres_url)
    yield records
    records.close()


@pytest.fixture(autouse=True)
def _invariants_hold() -> None:
    """Not of every database here: some have no table."""


def asked(url: str, query: str, **given: Any) -> list[Any]:
    """Run a statement that is committed; return its rows, if it has any."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(query), given)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def counts(url: str) -> list[Any]:
    tables = ("flow_runs", "flow_attempts", *TABLES)
    return [asked(url, f"SELECT count(*) FROM {name}") for name in tables]


def contents(url: str) -> list[Any]:
    return asked(url, "SELECT id, s::text FROM flow_step_runs s ORDER BY id")


def differences(url: str) -> list[Any]:
    """Return what differs between a database and the models."""
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        found: list[Any] = compare_metadata(context, Base.metadata)
    engine.dispose()
    return [one for one in found if not is_of_partitions(one)]


def is_of_partitions(difference: Any) -> bool:
    """Return whether it is of a table, or of the part of a foreign key, that PostgreSQL needs."""
    kind, thing = difference[:2]
    if kind == "remove_fk":
        return thing.elements[0].target_fullname.partition(".")[0] not in Base.metadata.tables
    if kind == "remove_index":
        thing = thing.table
    return kind in ("remove_table", "remove_index") and thing.name not in Base.metadata.tables


def test_conversion_loses_no_row_and_open_runs_go_on(
    records: SqlRecords, postgres_url: str
) -> None:
    stage = Stage.on(records)
    ended = stage.play(halves, number=64)
    chain, program = stage.submit(halves, {"number": 160}), stage.submit(halving, {"number": 16})
    stage.dispatcher.run(stage.engine, limit=3)
    before, rows = counts(postgres_url), contents(postgres_url)

    done = converting.partition(postgres_url)

    assert [(one.name, one.is_new) for one in done] == [(name, True) for name in TABLES]
    assert (counts(postgres_url), contents(postgres_url)) == (before, rows)
    stage.dispatcher.run(stage.engine)
    later = stage.play(halves, number=32)
    assert [one.result() for one in (ended, chain, program, later)] == [4, 10, 1, 2]
    assert_invariants(records, grace=timedelta(hours=1))


def test_converted_tables_are_what_the_models_say(postgres_url: str) -> None:
    objects = """
        SELECT indexname FROM pg_indexes WHERE tablename = 'flow_step_runs'
        UNION ALL SELECT conname || pg_get_constraintdef(oid) || convalidated FROM pg_constraint
         WHERE conparentid = 0 AND contype <> 'n'
           AND 'flow_step_runs'::regclass IN (conrelid, confrelid)
        UNION ALL SELECT coalesce(relacl::text, '') || relowner FROM pg_class
         WHERE oid = 'flow_step_runs'::regclass
        UNION ALL SELECT pg_get_viewdef('playbook_queue'::regclass) ORDER BY 1
    """
    asked(postgres_url, "GRANT SELECT ON flow_step_runs TO PUBLIC")
    before = asked(postgres_url, objects)

    converting.partition(postgres_url)

    assert asked(postgres_url, objects) == before
    assert differences(postgres_url) == []
    assert partitioning(postgres_url)[0].has_next_month


def test_old_rows_and_new_ones_are_in_the_partitions_of_their_months(
    records: SqlRecords, postgres_url: str
) -> None:
    stage = Stage.on(records)
    stage.play(halves, number=64)

    converting.partition(postgres_url, now=NOW)

    bound = month_after(NOW + timedelta(days=7))
    where = "SELECT DISTINCT tableoid::regclass::text FROM flow_step_runs"
    assert asked(postgres_url, where) == [(f"flow_step_runs_before_{bound:%Y_%m}",)]
    asked(
        postgres_url,
        "INSERT INTO flow_runs (id, flow_name, status, execution_mode, created_at, step_progress, "
        "progress_percentage, total_tokens, total_cost, inputs, spec, priority) "
        "SELECT :id, 'f', 'completed', 'async', now(), 0, 0, 0, 0, '{}', '{}', 0",
        id=earliest_id(bound),
    )
    new = (
        "INSERT INTO flow_step_runs (id, flow_run_id, step_key, step_name, step_order, status, "
        "tokens_used, cost_estimate, created_at, pending_dependencies, advanced, attempt, "
        "recoveries) SELECT :id, :run, 'a', 'a', 0, 'completed', 0, 0, now(), 0, true, 1, 0 "
        "RETURNING tableoid::regclass::text"
    )
    far = earliest_id(month_after(NOW, 40))
    run = earliest_id(bound)
    assert asked(postgres_url, new, id=run, run=run) == [(f"flow_step_runs_{bound:%Y_%m}",)]
    assert not partitioning(postgres_url)[0].others
    assert asked(postgres_url, new, id=far, run=run) == [("flow_step_runs_other",)]
    assert partitioning(postgres_url)[0].others


def test_second_conversion_makes_what_is_missing_alone(postgres_url: str) -> None:
    converting.partition(postgres_url, now=month_after(NOW, -3))
    assert not partitioning(postgres_url)[0].has_next_month

    again = converting.partition(postgres_url, now=NOW)

    assert not any(one.is_new for one in again)
    last = [f"{name}_{month_after(NOW, AHEAD):%Y_%m}" for name in TABLES]
    assert [one.made[-1] for one in again] == last
    assert partitioning(postgres_url)[0].has_next_month
    assert [one.made for one in converting.partition(postgres_url, now=NOW)] == [(), ()]


def test_what_a_partitioned_table_cannot_keep_is_refused_before_anything_changes(
    postgres_url: str, sqlite_url: str
) -> None:
    asked(
        postgres_url,
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER theirs BEFORE INSERT ON flow_step_runs FOR EACH ROW "
        "EXECUTE FUNCTION noted(); CREATE UNIQUE INDEX also ON flow_step_runs (flow_run_id, id)",
    )

    with pytest.raises(errors.InvalidInput, match=r"the trigger theirs, the unique index also"):
        converting.partition(postgres_url)
    with pytest.raises(errors.InvalidInput, match="SQLite"):
        converting.partition(sqlite_url)
    assert partitioning(postgres_url)[0].until is None


def test_ids_of_the_future_are_refused_and_leave_no_check(
    records: SqlRecords, postgres_url: str
) -> None:
    Stage.on(records).play(halves, number=64)

    with pytest.raises(errors.InvalidInput, match="the clock of a client was wrong"):
        converting.partition(postgres_url, now=month_after(NOW, -5))

    assert not partitioning(postgres_url)[0].is_interrupted
    Stage.on(records).play(halves, number=64)


def test_long_transaction_is_not_waited_for_and_nothing_is_changed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "_TRIES", 1)
    monkeypatch.setattr(months, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '100ms'")
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        connection.execute(text("SELECT FROM flow_step_runs"))
        with pytest.raises(errors.DatabaseUnavailable, match="used by a long transaction"):
            converting.partition(postgres_url)
    engine.dispose()

    assert partitioning(postgres_url)[0].until is None


def test_later_migrations_change_partitioned_tables(records: SqlRecords, postgres_url: str) -> None:
    """0024 adds a column, 0025 an index, which is built on each partition while others write."""
    Stage.on(records).play(halves, number=64)
    before = contents(postgres_url)
    converting.partition(postgres_url)

    migrate.downgrade(postgres_url, "0023")
    migrate.upgrade(postgres_url)

    revisions.check(postgres_url)
    assert differences(postgres_url) == []
    valid = """
        SELECT i.indisvalid, count(h.inhrelid) = (SELECT count(*) FROM pg_inherits
                 WHERE inhparent = 'flow_step_runs'::regclass)
          FROM pg_index i JOIN pg_inherits h ON h.inhparent = i.indexrelid
         WHERE i.indexrelid = 'ix_flow_step_runs_share'::regclass GROUP BY 1
    """
    assert asked(postgres_url, valid) == [(True, True)]
    assert [row[0] for row in contents(postgres_url)] == [row[0] for row in before]
    records.engine.dispose()
    assert Stage.on(records, policies=Policies()).play(halves, number=64).result() == 4


def test_sweeper_removes_what_an_interrupted_conversion_has_left(
    records: SqlRecords, postgres_url: str
) -> None:
    """The check would refuse all ids of later months."""
    check = f"CHECK (id < '{earliest_id(NOW)}') NOT VALID"
    asked(postgres_url, f"ALTER TABLE flow_step_runs ADD CONSTRAINT {CHECK} {check}")
    assert partitioning(postgres_url)[0].is_interrupted
    stage = Stage.on(records)

    stage.sweep()

    assert not partitioning(postgres_url)[0].is_interrupted
    assert stage.play(halves, number=64).result() == 4

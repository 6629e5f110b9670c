"""Runs on partitioned tables are as on ordinary ones, and the sweeper cares for the partitions."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from flowq import errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.partitions import converting
from flowq.adapters.records.partitions.months import AHEAD, month_after
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import earliest_id
from flowq.engine.engine import Policies
from flowq.engine.sweeper.partitions import care_for_partitions
from flowq.engine.sweeper.retention import collect
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

NOW = datetime.now(UTC)
#: The months before the present one that have a partition.
MONTHS = 3


@pytest.fixture
def records(postgres_url: str) -> Iterator[SqlRecords]:
    """The records on a database with partitions for some months."""
    converting.partition(postgres_url, now=month_after(NOW, -MONTHS) - timedelta(days=20))
    converting.partition(postgres_url, now=NOW)
    records = SqlRecords(postgres_url)
    yield records
    records.close()


@pytest.fixture(autouse=True)
def _invariants_hold(records: SqlRecords) -> Iterator[None]:
    """After each test, everything in that database fits together."""
    yield
    assert_invariants(records, grace=timedelta(hours=1))


@step
def double(number: int) -> int:
    return 2 * number


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@step(retries=2)
def shaky(number: int) -> int:
    if random.random() < 0.5:
        raise ValueError("not yet")
    return number


@step
def failing(number: int) -> int:
    raise ValueError(f"no {number}")


@flow
def chain(number: int) -> int:
    return double(double(double(number)))


@flow
def mapped(count: int) -> int:
    return total(double.map(list(range(count))))


@flow
def parent(count: int) -> int:
    return double(mapped(count))


@step
async def doubled(number: int) -> int:
    return 2 * number


@step
async def refusing(number: int) -> int:
    raise ValueError(f"no {number}")


@flow
async def program(number: int) -> int:
    for _ in range(3):
        number = await doubled(number)
    try:
        await refusing(number)
    except errors.FlowqError:
        number = await doubled(number)
    return number


@flow
def retried(count: int) -> int:
    return total(shaky.map(list(range(count))))


@flow
def broken(number: int) -> int:
    return double(failing(number))


PLAYED: list[tuple[Any, dict[str, int]]] = [
    (chain, {"number": 3}),
    (mapped, {"count": 12}),
    (parent, {"count": 4}),
    (program, {"number": 1}),
    (broken, {"number": 1}),
]


def outcome(played: Played) -> Any:
    """Return all of a run that does not depend on the time."""
    view = played.view
    steps = [(s.key, s.counts, s.attempts, s.error_message) for s in view.steps]
    return view.status, view.outputs, view.error, steps


def moment_id(moment: datetime) -> Any:
    """Return what makes ids of a moment."""
    first = earliest_id(moment).int | 7 << 76 | 2 << 62
    return lambda: UUID(int=first | random.getrandbits(60))


def partitions(records: SqlRecords, table: str = "flow_step_runs") -> list[str]:
    query = text(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:table) "
        "ORDER BY 1"
    )
    with records.engine.connect() as connection:
        return list(connection.execute(query, {"table": table}).scalars())


def run_sql(records: SqlRecords, statement: Any) -> None:
    with records.engine.connect() as connection:
        connection.execute(text(statement) if isinstance(statement, str) else statement)


def is_vacuumed(records: SqlRecords, month: datetime) -> bool:
    """Return whether a month takes no space, once its deleted rows are gone."""
    for table in ("flow_step_runs", "llm_requests"):
        run_sql(records, f"VACUUM {table}")
        query = text(f"SELECT pg_relation_size('{table}_{month:%Y_%m}')")
        with records.engine.connect() as connection:
            if connection.execute(query).scalar_one():
                return False
    return True


def test_flows_end_as_on_ordinary_tables(records: SqlRecords, sqlite_url: str) -> None:
    ordinary = SqlRecords(sqlite_url)
    for seed in range(3):
        here, there = Stage.on(records, seed=seed), Stage.on(ordinary, seed=seed)
        for played, inputs in PLAYED:
            assert outcome(here.play(played, **inputs)) == outcome(there.play(played, **inputs))
    ordinary.close()


def test_retries_and_lost_workers_are_recovered(records: SqlRecords) -> None:
    stage = Stage.on(records)
    waiting = stage.submit(mapped, {"count": 6})
    again = stage.submit(retried, {"count": 1})
    stage.dispatcher.clear()  # all messages are lost
    for _ in range(60):
        late = update(FlowStepRun).where(FlowStepRun.wake_at.is_not(None))
        run_sql(records, late.values(wake_at=DbNow(-60)))
        stage.sweep()
        stage.dispatcher.run(stage.engine)
        if all(one.view.completed_at for one in (waiting, again)):
            break

    assert waiting.result() == 30
    assert again.view.status in ("completed", "failed")


def test_expired_lease_is_requeued(records: SqlRecords) -> None:
    stage = Stage.on(records)
    run = stage.submit(chain, {"number": 1})
    taken = update(FlowStepRun).where(FlowStepRun.status == "queued")
    lost = {"status": "running", "attempt": 1, "lease_expires_at": DbNow(-5)}
    run_sql(records, taken.values(**lost, started_at=DbNow(-9), lease_token=run.id))
    stage.dispatcher.clear()

    assert stage.sweep() >= 1

    stage.dispatcher.run(stage.engine)
    assert run.result() == 8
    assert max(one.recoveries for one in run.view.steps) == 1


def test_month_that_retention_has_emptied_is_dropped_and_no_other(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=Policies(retention=timedelta(days=1)))
    old_month, kept_month = month_after(NOW, -2), month_after(NOW, -1)
    played = [
        replace(stage, engine=replace(stage.engine, new_id=moment_id(at))).play(parent, count=2)
        for at in (old_month, kept_month, NOW)
    ]
    assert [one.result() for one in played] == [4, 4, 4]
    end = "UPDATE flow_runs SET completed_at = now() - interval '30 days' WHERE id "
    run_sql(records, f"{end} < '{earliest_id(kept_month)}'")
    months = partitions(records)

    assert collect(stage.engine) == 2

    # It leaves pages as long as anything else, such as ANALYZE, reads the database.
    wait_until(lambda: is_vacuumed(records, old_month), what="the month has no page")
    assert care_for_partitions(stage.engine) > 0
    kept = {f"flow_step_runs_{month_after(NOW, at):%Y_%m}" for at in range(-1, AHEAD + 1)}
    assert set(partitions(records)) == {*kept, "flow_step_runs_other"} & set(months)
    assert [one.status for one in played[1:]] == ["completed", "completed"]
    new_old = replace(stage, engine=replace(stage.engine, new_id=moment_id(old_month)))
    assert new_old.play(chain, number=1).result() == 8, "it is in the partition of all others"


def test_sweeper_makes_the_coming_months(records: SqlRecords) -> None:
    last = [
        f"{name}_{month_after(NOW, AHEAD):%Y_%m}" for name in ("flow_step_runs", "llm_requests")
    ]
    for name in last:
        run_sql(records, f"ALTER TABLE {name.rsplit('_', 2)[0]} DETACH PARTITION {name}")
        run_sql(records, f"DROP TABLE {name}")

    Stage.on(records).sweep()

    assert last[0] in partitions(records)
    assert last[1] in partitions(records, "llm_requests")


def test_partition_that_cannot_be_made_is_a_warning(
    records: SqlRecords, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"flow_step_runs_{month_after(NOW, AHEAD):%Y_%m}"
    run_sql(records, f"ALTER TABLE flow_step_runs DETACH PARTITION {name}")
    stage = Stage.on(records)  # a table of that name is in the way

    care_for_partitions(stage.engine)

    assert f'relation "{name}" already exists' in caplog.text
    assert stage.play(chain, number=1).result() == 8

"""What every database does for schedules: one suite, on SQLite and on PostgreSQL."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import event, func, insert, select

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowSchedule, SkippedTick
from flowq.core.ids import RunId
from flowq.core.limits.budgets import Budget
from flowq.core.schedules.decide import Progress, Skip, SkipReason
from flowq.core.schedules.spec import CatchUp, Overlap, RunOptions, ScheduleSpec
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState
from flowq.engine.model.rows import NewRun
from flowq.engine.model.schedules import StoredSchedule

LATER, SOON = timedelta(seconds=600), timedelta(seconds=150)
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SPEC = ScheduleSpec(
    name="nightly",
    flow_name="flow",
    cron="0 2 * * *",
    timezone="Europe/Berlin",
    inputs={"x": [1, None, "é"]},
    time_input="day",
    options=RunOptions(
        user_id="u",
        metadata={"a": 1},
        deadline=LATER,
        budget=Budget(usd="0.10").spec,
        priority=4,
    ),
    catch_up=CatchUp.ALL,
    catch_up_limit=7,
    overlap=Overlap.QUEUE,
    jitter=timedelta(seconds=90.25),
    starts_at=PAST,
    ends_at=FUTURE,
)
DUE = Progress(PAST, last_at=PAST - LATER)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    with records.engine.begin() as connection:
        connection.execute(SkippedTick.__table__.delete())  # type: ignore[attr-defined]
        connection.execute(FlowSchedule.__table__.delete())  # type: ignore[attr-defined]
    yield records
    records.close()


def add(
    records: SqlRecords,
    spec: ScheduleSpec = SPEC,
    progress: Progress = DUE,
    wake_at: datetime | None = PAST,
    declared_in: str | None = None,
) -> bool:
    return records.transaction(
        lambda tx: tx.schedules.insert(
            spec, progress, wake_at, anchor=PAST, declared_in=declared_in
        )
    )


def find(records: SqlRecords, name: str = "nightly") -> StoredSchedule:
    found = records.autocommit(lambda tx: tx.schedules.find(name))
    assert found is not None
    return found


def take(records: SqlRecords, flows: set[str], limit: int = 10) -> list[tuple[str, str]]:
    return records.transaction(
        lambda tx: tx.schedules.take_due(flows, again=SOON, longest=LATER, limit=limit)
    )


def move(records: SqlRecords, progress: Progress, version: int, wake_at: Any = FUTURE) -> bool:
    return records.transaction(
        lambda tx: tx.schedules.move("nightly", progress, wake_at, version=version)
    )


def named(name: str, flow: str = "flow") -> ScheduleSpec:
    return SPEC.model_copy(update={"name": name, "flow_name": flow})


def test_a_schedule_comes_back_as_it_was(records: SqlRecords) -> None:
    every = SPEC.model_copy(update={"name": "often", "cron": None, "every": 1.5 * SOON})
    assert add(records, declared_in="flows.py:7")
    assert add(records, every)

    found = find(records)

    assert (SPEC, DUE, PAST, 1) == (found.spec, found.progress, found.anchor, found.version)
    assert ("flows.py:7", PAST, None) == (found.declared_in, found.wake_at, found.problem)
    assert every == find(records, "often").spec


def test_a_name_is_taken_once(records: SqlRecords) -> None:
    assert [True, False] == [add(records), add(records)]


def test_due_schedules_are_taken_once_and_come_again_later(records: SqlRecords) -> None:
    for name in ("a", "b", "c"):
        add(records, named(name))
    add(records, named("others", "unknown"))
    add(records, named("later"), wake_at=FUTURE)
    add(records, named("paused"), wake_at=None)

    assert records.autocommit(lambda tx: tx.schedules.any_due())
    first = take(records, {"flow"}, limit=2)
    rest = take(records, {"flow", "another"})

    assert [("a", "flow"), ("b", "flow"), ("c", "flow")] == sorted(first + rest)
    assert [] == take(records, {"flow"})
    assert [("others", "unknown")] == take(records, {"unknown"})
    assert not records.autocommit(lambda tx: tx.schedules.any_due())
    wait = (find(records, "a").wake_at or PAST) - datetime.now(UTC)
    assert timedelta(0) < wait <= 2 * SOON


def test_sweepers_at_once_take_different_schedules(records: SqlRecords) -> None:
    for number in range(40):
        add(records, named(f"s{number:02}"))
    ready = Barrier(4)

    def sweep(_: int) -> list[tuple[str, str]]:
        ready.wait()
        return [one for _ in range(10) for one in take(records, {"flow"}, limit=5)]

    with ThreadPoolExecutor(4) as pool:
        taken = [name for part in pool.map(sweep, range(4)) for name, _ in part]

    assert [f"s{number:02}" for number in range(40)] == sorted(taken)


def test_of_changes_from_one_version_one_is_made(records: SqlRecords) -> None:
    add(records)
    ready = Barrier(4)

    def start(number: int) -> bool:
        ready.wait()
        return move(records, replace(DUE, next_at=FUTURE + number * LATER), version=1)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(start, range(4)))

    assert 1 == made.count(True)
    assert (2, FUTURE + made.index(True) * LATER) == (
        find(records).version,
        find(records).progress.next_at,
    )


def test_a_move_writes_all_of_the_progress_and_clears_the_problem(records: SqlRecords) -> None:
    whole = Progress(*(PAST + number * LATER for number in range(7)))
    add(records)
    records.autocommit(lambda tx: tx.schedules.note("nightly", "no worker knows it"))
    assert "no worker knows it" == find(records).problem

    assert move(records, whole, version=1, wake_at=None)

    assert (whole, None, None) == (
        find(records).progress,
        find(records).problem,
        find(records).wake_at,
    )


def test_a_changed_definition_replaces_the_old_one(records: SqlRecords) -> None:
    add(records)
    changed = SPEC.model_copy(update={"cron": "0 3 * * *", "overlap": Overlap.ALLOW})

    def change(version: int) -> bool:
        return records.transaction(
            lambda tx: tx.schedules.change(
                changed, DUE, FUTURE, version=version, declared_in="f.py:1"
            )
        )

    assert [False, True] == [change(9), change(1)]
    assert (changed, "f.py:1") == (find(records).spec, find(records).declared_in)


def test_open_runs_are_found_with_the_schedule(records: SqlRecords) -> None:
    add(records)
    spec = FlowSpec(name="flow", steps=(StepSpec(key="a", name="steps.a"),))
    ids = [RunId(uuids.uuid7()) for _ in range(3)]
    runs = [
        NewRun(run_id, "flow", spec, {}, (), schedule=name)
        for run_id, name in zip(ids, ("nightly", "nightly", "other"), strict=True)
    ]
    records.transaction(lambda tx: tx.runs.insert(runs, LATER))
    records.transaction(lambda tx: tx.runs.close(ids[0], RunState.COMPLETED))

    found = records.autocommit(lambda tx: tx.schedules.at_this_moment("nightly"))

    assert found is not None
    assert ([ids[1]], find(records)) == (found.open_runs, found.schedule)
    assert abs(found.now - datetime.now(UTC)) < timedelta(minutes=5)
    assert records.autocommit(lambda tx: tx.schedules.at_this_moment("none")) is None


def test_only_the_latest_skipped_ticks_are_kept(records: SqlRecords) -> None:
    add(records)
    add(records, named("other"))
    skips = [
        Skip(PAST + n * LATER, PAST + n * LATER, 1, SkipReason.REFUSED, "x is wrong")
        for n in range(130)
    ]
    records.transaction(lambda tx: tx.schedules.skip("other", skips[0]))
    for skip in (*skips, skips[-1]):  # one of them twice
        records.transaction(lambda tx, skip=skip: tx.schedules.skip("nightly", skip))  # type: ignore[misc]

    with records.engine.connect() as connection:
        of_it = SkippedTick.schedule_name == "nightly"
        first, count = connection.execute(
            select(func.min(SkippedTick.first_at), func.count()).where(of_it)
        ).one()
        assert (skips[30].first, 100) == (first, count)


def test_a_deleted_schedule_is_gone_with_its_skipped_ticks(records: SqlRecords) -> None:
    add(records)
    skip = Skip(PAST, PAST, 1, SkipReason.MISSED)
    records.transaction(lambda tx: tx.schedules.skip("nightly", skip))

    deleted = [records.transaction(lambda tx: tx.schedules.delete("nightly")) for _ in range(2)]

    assert [True, False] == deleted
    with records.engine.connect() as connection:
        assert 0 == connection.scalar(select(func.count()).select_from(SkippedTick))


def test_ten_thousand_idle_schedules_cost_one_look_into_an_index(records: SqlRecords) -> None:
    add(records, wake_at=FUTURE)
    with records.engine.begin() as connection:
        row = connection.execute(select(FlowSchedule.__table__)).mappings().one()
        connection.execute(
            insert(FlowSchedule), [dict(row) | {"name": f"s{n}"} for n in range(10_000)]
        )
        if records.url.get_backend_name() == "postgresql":
            connection.exec_driver_sql("ANALYZE flow_schedules")
    statements: list[str] = []
    plans: list[str] = []
    explain = (
        "EXPLAIN " if records.url.get_backend_name() == "postgresql" else "EXPLAIN QUERY PLAN "
    )

    def look(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "flow_schedules" in statement:
            statements.append(statement)
            cursor.execute(explain + statement, parameters)
            plans.append(" ".join(str(line) for line in cursor.fetchall()))

    records.autocommit(lambda tx: tx.schedules.any_due())
    event.listen(records.engine, "before_cursor_execute", look)
    assert not records.autocommit(lambda tx: tx.schedules.any_due())
    event.remove(records.engine, "before_cursor_execute", look)

    assert 1 == len(statements)
    assert re.search(r"(?:SEARCH|Index Only Scan|Index Scan).*ix_flow_schedules_wake_at", plans[0])

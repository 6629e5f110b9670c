"""What every database does for logs: one suite, on SQLite and on PostgreSQL."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import delete, func, select

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.log_tables import FlowLog
from flowq.adapters.records.sql.tables import FlowRun
from flowq.core.ids import LeaseToken, RunId, node_id
from flowq.core.results import log_key
from flowq.engine.model.logs import DroppedBunches, LogBunch, LogFilter, StoredBunch, StoredLine
from tests.contract.records.sweeps.test_sweeps import completed, new_run

ALL = LogFilter()
BEGIN = datetime.now(UTC).replace(microsecond=123_456) - timedelta(days=20)
DAY = timedelta(days=1)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def bunch(run_id: RunId, first: int = 0, *texts: str, **changes: Any) -> LogBunch:
    said = texts or ("a", "b")
    at = changes.get("first_at", BEGIN)
    lines = [StoredLine(int(at.timestamp() * 1e6), logging.INFO, "app", text) for text in said]
    made = LogBunch(
        run_id=run_id,
        step_id=node_id(run_id, "a"),
        token=changes.pop("token", None) or TOKEN,
        attempt=1,
        first_line=first,
        line_count=len(lines),
        missing=0,
        level=logging.INFO,
        first_at=at,
        data=json.dumps(lines).encode(),
    )
    return replace(made, **changes)


TOKEN = LeaseToken(uuids.uuid7())


def write(records: SqlRecords, *bunches: LogBunch, dropped: Sequence[DroppedBunches] = ()) -> Any:
    return records.transaction(lambda tx: tx.logs.write(bunches, dropped))


def read(
    records: SqlRecords, run_id: RunId, wanted: LogFilter = ALL, **options: Any
) -> list[StoredBunch]:
    options = {"limit": 100, **options}
    return records.autocommit(lambda tx: tx.logs.bunches(run_id, wanted, **options))


def texts(found: Sequence[StoredBunch]) -> list[str]:
    return [line.message for one in found for line in one.lines]


def count(records: SqlRecords) -> int:
    with records.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(FlowLog)).scalar_one()


def test_bunch_comes_back(records: SqlRecords) -> None:
    run_id = new_run(records)
    odd = "\0 ␀ \x1b[2J \u2028 \\ud800 é 𝄞"

    assert write(records, bunch(run_id, 7, odd, missing=3)) == []

    [found] = read(records, run_id)
    assert found.place == (BEGIN, TOKEN, 7)
    assert (found.key, found.map_index, found.attempt, found.missing) == ("a", None, 1, 3)
    assert found.step_id == node_id(run_id, "a")
    assert found.lines == [StoredLine(int(BEGIN.timestamp() * 1e6), 20, "app", odd)]
    assert found.object_key is None


def test_writing_again_changes_nothing(records: SqlRecords) -> None:
    run_id = new_run(records)
    both = bunch(run_id, 0, "a"), bunch(run_id, 1, "b")
    write(records, *both)
    write(records, replace(both[0], data=b"[]"), both[1], bunch(run_id, 2, "c"))

    assert texts(read(records, run_id)) == ["a", "b", "c"]


def test_displaced_bunches_are_deleted_and_counted(records: SqlRecords) -> None:
    run_id = new_run(records)
    key = log_key(run_id, node_id(run_id, "a"), TOKEN, 1)
    write(records, *[bunch(run_id, number, f"{number}") for number in range(4) if number != 1])
    write(records, bunch(run_id, 1, "1", object_key=key))
    gone = DroppedBunches(node_id(run_id, "a"), TOKEN, (1, 2), next_line=3, missing=2)

    assert write(records, bunch(run_id, 4, "4"), dropped=[gone]) == [key]
    assert write(records, dropped=[gone]) == [], "again"

    found = read(records, run_id)
    assert texts(found) == ["0", "3", "4"]
    assert [one.missing for one in found] == [0, 2, 0]


def test_bunches_of_deleted_runs_are_left_out(records: SqlRecords) -> None:
    gone, there = RunId(uuids.uuid7()), new_run(records)
    key = log_key(gone, node_id(gone, "a"), TOKEN, 0)

    assert write(records, bunch(gone, object_key=key), bunch(there)) == [key]

    assert read(records, gone) == []
    assert texts(read(records, there)) == ["a", "b"]


def test_deleted_run_takes_its_logs_with_it(records: SqlRecords) -> None:
    run_id = new_run(records)
    own = completed(records, run_id)
    key = log_key(run_id, node_id(run_id, "a"), TOKEN, 0)
    write(records, bunch(run_id, object_key=key), bunch(run_id, 2))
    assert records.autocommit(lambda tx: tx.sweeps.unnamed([own, key])) == []

    tree = records.transaction(lambda tx: tx.sweeps.delete_tree(run_id))

    assert tree is not None
    assert set(tree.objects) == {own, key}
    assert count(records) == 0
    unnamed = records.autocommit(lambda tx: tx.sweeps.unnamed([own, key, "logs/other"]))
    assert set(unnamed) == {own, key, "logs/other"}


def test_no_step_keeps_the_lines_of_a_deleted_run(records: SqlRecords) -> None:
    run_id = new_run(records)
    write(records, bunch(run_id))
    with records.engine.connect() as connection:
        connection.execute(delete(FlowRun).where(FlowRun.id == run_id))

    assert count(records) == 0


def test_bunches_are_in_the_order_of_time_and_read_in_parts(records: SqlRecords) -> None:
    run_id, other = new_run(records), LeaseToken(uuids.uuid7())
    step = timedelta(milliseconds=1)
    made = [
        bunch(run_id, number, f"{number}", first_at=BEGIN + (number // 2) * step, token=token)
        for number, token in enumerate([other, TOKEN] * 5)
    ]
    write(records, *reversed(made))

    whole = read(records, run_id)
    parts: list[StoredBunch] = []
    while part := read(records, run_id, limit=3, after=parts[-1].place if parts else None):
        parts += part
    back: list[StoredBunch] = []
    while part := read(
        records, run_id, limit=3, newest=True, after=back[-1].place if back else None
    ):
        back += part

    assert [one.place for one in whole] == sorted(one.place for one in whole)
    assert sorted(texts(whole), key=int) == [f"{number}" for number in range(10)]
    assert parts == whole
    assert back == whole[::-1]


@pytest.mark.parametrize(
    "wanted, found",
    [
        (LogFilter(), "abc"),
        (LogFilter(step="a"), "abc"),
        (LogFilter(step="b"), ""),
        (LogFilter(index=0), ""),
        (LogFilter(attempt=2), "b"),
        (LogFilter(level=logging.WARNING), "bc"),
        (LogFilter(level=logging.CRITICAL), "c"),
        (LogFilter(step="a", attempt=2, level=logging.ERROR), "b"),
    ],
    ids=str,
)
def test_filters(records: SqlRecords, wanted: LogFilter, found: str) -> None:
    """A place where lines are missing is found whatever the level."""
    run_id = new_run(records)
    write(records, bunch(new_run(records), 0, "other"))
    write(
        records,
        bunch(run_id, 0, "a"),
        bunch(run_id, 1, "b", attempt=2, level=logging.ERROR),
        bunch(run_id, 5, "c", missing=3),
    )

    assert "".join(texts(read(records, run_id, wanted))) == found


def test_old_bunches_expire(records: SqlRecords) -> None:
    """A run that is old may still log."""
    old, new = new_run(records, days=20), new_run(records, days=0)
    key = log_key(old, node_id(old, "a"), TOKEN, 0)
    now = datetime.now(UTC)
    write(
        records,
        bunch(old, 0, "0", first_at=now - 10 * DAY, object_key=key),
        bunch(old, 1, "1", first_at=now - 9 * DAY),
        bunch(old, 2, "2", first_at=now - DAY),
        bunch(new, 0, "3", first_at=now),
    )

    def expire(limit: int) -> tuple[int, list[str]]:
        return records.transaction(lambda tx: tx.logs.expire(7 * DAY, limit=limit))

    assert expire(1) == (1, [key])
    assert expire(10) == (1, [])
    assert expire(10) == (0, [])
    assert texts(read(records, old) + read(records, new)) == ["2", "3"]


def test_row_that_flowq_did_not_write_has_no_lines(records: SqlRecords) -> None:
    run_id = new_run(records)
    write(records, bunch(run_id, 0, data=b'{"a": 1}'), bunch(run_id, 1, data=b'[1, ["x"]]'))

    assert texts(read(records, run_id)) == []

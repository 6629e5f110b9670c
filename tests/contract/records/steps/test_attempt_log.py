"""Attempts that others follow are kept, with how they ended; the others cost no statement."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowAttempt
from flowq.core.ids import node_id
from flowq.core.states import AttemptEnd
from flowq.engine.model.rows import Outcome
from tests.contract.records.test_records import claimed, insert, late, new_run, stored

NOW, LATER = timedelta(0), timedelta(seconds=60)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def kept(records: SqlRecords) -> list[tuple[Any, ...]]:
    """What is kept, in the order in which the attempts ended."""
    a = FlowAttempt
    query = select(a.place, a.attempt, a.outcome, a.worker, a.error_type, a.error_message).order_by(
        a.place
    )
    with records.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def lapse(records: SqlRecords, *, most: int = 3) -> None:
    late(records, "lease_expires_at")
    assert records.transaction(
        lambda tx: tx.sweeps.expired_leases(max_recoveries=most, resend_after=NOW, limit=10)
    )


def test_each_attempt_that_another_one_follows_is_kept(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    error = Outcome(error_type="ValueError", error_message="no\0" + "x" * 600)
    records.transaction(lambda tx: tx.steps.retry(one, error, NOW))
    two = claimed(records, run_id)
    away = Outcome(error_type="StoreUnavailable", error_message="it is away")
    records.transaction(lambda tx: tx.steps.retry(two, away, NOW, recovered=True))
    claimed(records, run_id)
    lapse(records)
    four = claimed(records, run_id)
    records.transaction(lambda tx: tx.steps.release_leases([four.token]))
    again = claimed(records, run_id)
    records.transaction(lambda tx: tx.steps.requeue(again, NOW, AttemptEnd.PAUSED))
    last = claimed(records, run_id)
    records.autocommit(lambda tx: tx.steps.complete(last, stored(last, b"1"), advanced=True))

    worker = "host:1"
    assert kept(records) == [
        (1, 1, "failed", worker, "ValueError", ("no\N{SYMBOL FOR NULL}" + "x" * 600)[:500]),
        (2, 2, "put_off", worker, "StoreUnavailable", "it is away"),
        (3, 3, "lost", worker, None, None),
        (4, 4, "given_back", worker, None, None),
        (5, 4, "paused", worker, None, None),
    ]
    assert last.attempt == 4


def test_times_are_those_of_the_attempt(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    starts = []
    for _ in range(2):
        one = claimed(records, run_id)
        with records.engine.connect() as connection:
            starts.append(
                connection.execute(text("SELECT started_at FROM flow_step_runs")).scalar()
            )
        records.transaction(lambda tx: tx.steps.retry(one, Outcome(), NOW))  # noqa: B023

    query = select(FlowAttempt.claimed_at, FlowAttempt.ended_at).order_by(FlowAttempt.place)
    with records.engine.connect() as connection:
        rows = connection.execute(query).all()
    assert [str(row[0])[:19] for row in rows] == [str(start)[:19] for start in starts]
    assert rows[0][0] <= rows[0][1] <= rows[1][0] <= rows[1][1]


def test_last_attempt_is_in_the_row_alone(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", "c", queued=True))
    one, two = claimed(records, run_id, "a"), claimed(records, run_id, "b")
    records.autocommit(lambda tx: tx.steps.complete(one, stored(one, b"1"), advanced=True))
    records.autocommit(lambda tx: tx.steps.fail(two, Outcome(), advanced=True))
    claimed(records, run_id, "c")
    lapse(records, most=0)

    assert kept(records) == []


def test_attempt_that_has_lost_its_lease_is_kept_once(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    old = claimed(records, run_id)
    lapse(records)

    assert not records.transaction(lambda tx: tx.steps.retry(old, Outcome(), NOW))
    assert records.transaction(lambda tx: tx.steps.release_leases([old.token])) == []
    assert records.transaction(lambda tx: tx.steps.requeue(old, NOW, AttemptEnd.PAUSED)) is None

    assert [row[2] for row in kept(records)] == ["lost"]


def test_attempt_that_had_to_wait_for_a_limit_is_not_kept(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)

    records.transaction(lambda tx: tx.steps.requeue(one, NOW))

    assert kept(records) == []


def test_what_is_rolled_back_is_not_kept(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)

    def fails(tx: Any) -> None:
        assert tx.steps.retry(one, Outcome(), NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        records.transaction(fails)

    assert kept(records) == []
    assert records.transaction(lambda tx: tx.steps.retry(one, Outcome(), NOW))
    assert len(kept(records)) == 1


def test_kept_attempts_go_with_their_run(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    records.transaction(lambda tx: tx.steps.retry(one, Outcome(), NOW))
    with records.engine.begin() as connection:
        connection.execute(text("UPDATE flow_runs SET status = 'completed'"))

    assert records.transaction(lambda tx: tx.sweeps.delete_tree(run_id)) is not None

    with records.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(FlowAttempt)).scalar() == 0


def test_step_that_succeeds_at_once_asks_nothing_of_the_history(sqlite_url: str) -> None:
    records = SqlRecords(sqlite_url)
    said: list[str] = []
    run_id = insert(records, new_run("a", queued=True))
    event.listen(records.engine, "before_cursor_execute", lambda *given: said.append(given[2]))

    one = claimed(records, run_id)
    result = stored(one, b"1")
    done = records.atomic(lambda tx: tx.steps.complete_and_release(one, result, []))
    assert done is not None

    records.close()
    assert said
    assert not [statement for statement in said if "flow_attempts" in statement]
    assert one.id == node_id(run_id, "a")

"""The last step of a run, and the run, end in one statement, or only the step ends."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun
from flowq.core.ids import LeaseToken, RunId, batch_of_nodes, item_id, node_id
from flowq.core.results import ResultRef, StorageKind, row_key
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.rows import Claim, NewRun, NewStep, Outcome
from flowq.engine.model.stops import StopReason

LEASE, LATER = timedelta(seconds=30), timedelta(seconds=60)
WHY = StopReason(StopKind.USER, "why")
ROUNDS = 30


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def insert(records: SqlRecords, *keys: str) -> RunId:
    """Insert a run whose steps are queued."""
    run_id = RunId(uuids.uuid7())
    batch = batch_of_nodes(run_id, node_id(run_id, keys[0]))
    steps = tuple(
        NewStep(node_id(run_id, key), key, f"steps.{key}", order, 0, {}, batch)
        for order, key in enumerate(keys, start=1)
    )
    spec = FlowSpec(
        name="flow", steps=tuple(StepSpec(key=key, name=f"steps.{key}") for key in keys)
    )
    run = NewRun(run_id, "flow", spec, {}, steps)
    assert records.transaction(lambda tx: tx.runs.insert([run], LATER))
    return run_id


def claimed(records: SqlRecords, run_id: RunId, key: str) -> Claim:
    token = LeaseToken(uuids.uuid7())
    found = records.autocommit(
        lambda tx: tx.steps.claim(node_id(run_id, key), token=token, lease=LEASE, worker="host:1")
    )
    assert found is not None
    return found


def result(claim: Claim, data: bytes) -> Outcome:
    key = row_key(claim.id, claim.token)
    ref = ResultRef(place=StorageKind.ROW, codec="json", key=key, size=len(data), sha256="x")
    return Outcome(ref, data, execution_time_ms=7)


def close(records: SqlRecords, claim: Claim, data: bytes = b'{"n": 1}') -> bool | None:
    return records.atomic(lambda tx: tx.steps.complete_and_close(claim, result(claim, data)))


def complete(records: SqlRecords, run_id: RunId, key: str = "a") -> None:
    one = claimed(records, run_id, key)
    assert records.autocommit(lambda tx: tx.steps.complete(one, result(one, b"1"), advanced=True))


def run_of(records: SqlRecords, run_id: RunId) -> FlowRun:
    found = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert found is not None
    return found


def state(records: SqlRecords, claim: Claim) -> StepState:
    return records.autocommit(lambda tx: tx.steps.states(claim.run_id, [claim.key]))[claim.key]


@pytest.mark.parametrize("data, outputs", [(b'{"n": 1}', {"n": 1}), (b"null", None), (b"0", 0)])
def test_run_ends_with_its_last_step_and_has_its_result(
    records: SqlRecords, data: bytes, outputs: Any
) -> None:
    run_id = insert(records, "a", "b", "last")
    for key in ("a", "b"):
        complete(records, run_id, key)
    last = claimed(records, run_id, "last")

    assert close(records, last, data) is True
    assert close(records, last, data) is None, "its lease is gone"

    run, view = run_of(records, run_id), records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert (run.status, run.outputs, run.current_step) == ("completed", outputs, None)
    assert (run.total_steps, run.step_progress, run.progress_percentage) == (3, 3, 100.0)
    assert (view.done, view.total) == (3, 3)
    assert run.completed_at is not None
    assert run.execution_time_ms is not None
    row = records.autocommit(lambda tx: tx.steps.by_id(last.id))
    assert row is not None
    assert (row.status, row.outputs, row.execution_time_ms) == ("completed", outputs, 7)


def test_items_of_a_map_count_and_its_node_does_not(records: SqlRecords) -> None:
    run_id = insert(records, "each", "last")
    node = node_id(run_id, "each")
    items = [NewStep(item_id(node, n), "each", "steps.each", 1, 0, {}) for n in range(4)]
    batch = batch_of_nodes(run_id, node)
    with records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_step_runs SET status = 'pending'")
    assert records.transaction(lambda tx: tx.steps.expand(run_id, "each", items, batch, LATER))
    with records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET status = CASE step_key WHEN 'each' THEN 'completed'"
            " ELSE 'queued' END"
        )

    assert close(records, claimed(records, run_id, "last")) is True

    run = run_of(records, run_id)
    assert (run.total_steps, run.step_progress, run.progress_percentage) == (5, 5, 100.0)


def _leave_open(records: SqlRecords, run_id: RunId) -> None:
    claimed(records, run_id, "a")


def _fail(records: SqlRecords, run_id: RunId) -> None:
    one = claimed(records, run_id, "a")
    assert records.autocommit(
        lambda tx: tx.steps.fail(one, Outcome(error_message="no"), advanced=True)
    )


def _cancel(records: SqlRecords, run_id: RunId) -> None:
    complete(records, run_id)
    assert records.transaction(lambda tx: tx.runs.request_cancel([run_id], WHY)) == [run_id]


def _pause(records: SqlRecords, run_id: RunId) -> None:
    complete(records, run_id)
    assert records.transaction(lambda tx: tx.runs.pause([run_id], WHY))


def _stop(records: SqlRecords, run_id: RunId) -> None:
    complete(records, run_id)
    assert records.autocommit(lambda tx: tx.runs.stop(run_id, WHY))


@pytest.mark.parametrize(
    "other, left",
    [
        (_leave_open, "running"),
        (_fail, "running"),
        (_cancel, "cancelling"),
        (_pause, "paused"),
        (_stop, "cancelling"),
    ],
)
def test_only_the_step_ends_when_something_has_gone_another_way(
    records: SqlRecords, other: Callable[[SqlRecords, RunId], None], left: str
) -> None:
    run_id = insert(records, "a", "last")
    last = claimed(records, run_id, "last")
    other(records, run_id)

    assert close(records, last) is False

    assert state(records, last) is StepState.COMPLETED
    assert (run_of(records, run_id).status, run_of(records, run_id).outputs) == (left, None)


def test_attempt_that_lost_its_lease_ends_neither(records: SqlRecords) -> None:
    run_id = insert(records, "last")
    last = claimed(records, run_id, "last")
    records.transaction(lambda tx: tx.steps.release_leases([last.token]))

    assert close(records, last) is None

    assert state(records, last) is StepState.QUEUED
    assert run_of(records, run_id).status == "running"


def test_of_a_cancel_and_the_last_step_at_once_one_is_first(records: SqlRecords) -> None:
    """Neither waits for the other in vain, and the run has one end."""
    begin = Barrier(2)

    def cancel(run_id: RunId) -> bool:
        begin.wait()

        def work(tx: Any) -> bool:
            asked: bool = tx.runs.request_cancel([run_id], WHY) == [run_id]
            tx.steps.cancel_open(run_id)
            return asked

        return records.transaction(work)

    def end(last: Claim) -> bool | None:
        begin.wait()
        return close(records, last)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            run_id = insert(records, "last")
            last = claimed(records, run_id, "last")
            asked, closed = pool.submit(cancel, run_id), pool.submit(end, last)

            assert asked.result(60) is not closed.result(60)
            assert state(records, last) is StepState.COMPLETED
            expected = RunState.CANCELLING if asked.result() else RunState.COMPLETED
            assert run_of(records, run_id).status == expected


def test_of_two_last_steps_at_once_no_run_is_closed_too_early(records: SqlRecords) -> None:
    """Each may see the other one as open; then whoever looks next closes the run."""
    begin = Barrier(2)

    def end(last: Claim) -> bool | None:
        begin.wait()
        return close(records, last)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            run_id = insert(records, "one", "other")
            both = [claimed(records, run_id, key) for key in ("one", "other")]
            ended = [each.result(60) for each in [pool.submit(end, last) for last in both]]

            assert None not in ended
            assert ended.count(True) <= 1
            run = run_of(records, run_id)
            assert run.status == ("completed" if True in ended else "running")
            assert run.step_progress == (2 if True in ended else 0)

"""How programs wait and are woken, on SQLite and on PostgreSQL, with real races."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Event
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import (
    BatchId,
    LeaseToken,
    RunId,
    StepRunId,
    batch_of_calls,
    batch_of_items,
    batch_of_nodes,
    item_id,
    node_id,
)
from flowq.core.results import NO_RESULT
from flowq.core.spec import CallSpec, FlowSpec, MapSpec, StepKind, StepSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.programs import NewCall, SeenCancel, Suspension
from flowq.engine.model.rows import Claim, NewRun, NewStep, Outcome
from flowq.engine.model.stops import StopReason

LEASE = timedelta(seconds=30)
LATER = timedelta(seconds=60)
ROUNDS = 60
QUEUED, WAITING, COMPLETED = StepState.QUEUED, StepState.WAITING, StepState.COMPLETED
DONE = Outcome(NO_RESULT)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def begun(records: SqlRecords) -> tuple[RunId, Claim]:
    """A run of a program, and the claim of its first attempt."""
    run_id = RunId(uuids.uuid7())
    program = node_id(run_id, "p")
    spec = FlowSpec(name="f", steps=(StepSpec(key="p", name="f", kind=StepKind.PROGRAM),))
    batch = batch_of_nodes(run_id, program)
    row = NewStep(program, "p", "f", 1, 0, {"n": 1}, batch, observed=0)
    records.transaction(lambda tx: tx.runs.insert([NewRun(run_id, "f", spec, {}, (row,))], LATER))
    return run_id, claimed(records, program)


def claimed(records: SqlRecords, step_id: StepRunId) -> Claim:
    token = LeaseToken(uuids.uuid7())
    found = records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=LEASE, worker="w")
    )
    assert found is not None
    return found


def call(run_id: RunId, key: str, group: tuple[str, ...] = (), **options: Any) -> NewCall:
    members = group or (key,)
    row = node_id(run_id, key)
    spec = CallSpec(key=key, name="s", arguments={"x": 1}, group=len(members))
    batch = batch_of_calls(run_id, node_id(run_id, members[0]), len(members))
    return replace(NewCall(row, spec, 2, batch, QUEUED), **options)


def suspension(*calls: NewCall, observed: int = 0, **options: Any) -> Suspension:
    return Suspension(observed, {}, calls, LATER, **options)


def suspend(records: SqlRecords, claim: Claim, what: Suspension) -> StepState | None:
    return records.transaction(lambda tx: tx.steps.suspend(claim, what))


def state(records: SqlRecords, run_id: RunId, key: str = "p") -> StepState:
    return records.autocommit(lambda tx: tx.steps.states(run_id, [key]))[key]


def complete(records: SqlRecords, claim: Claim) -> bool | None:
    program = node_id(claim.run_id, "p")
    ended = records.atomic(lambda tx: tx.steps.complete_and_wake(claim, DONE, program, LATER))
    return None if ended is None else ended.queued


def row(records: SqlRecords, step_id: StepRunId) -> FlowStepRun:
    found = records.autocommit(lambda tx: tx.steps.by_id(step_id))
    assert found is not None
    return found


def waiting(records: SqlRecords, *keys: str, together: bool = False) -> tuple[RunId, list[Claim]]:
    """A program that waits for calls, which are claimed."""
    run_id, program = begun(records)
    group = keys if together else ()
    calls = [call(run_id, key, group) for key in keys]
    assert suspend(records, program, suspension(*calls)) is WAITING
    return run_id, [claimed(records, node_id(run_id, key)) for key in keys]


def test_program_is_claimed_without_its_inputs(records: SqlRecords) -> None:
    """They may be large, it is claimed for each call that has ended, and its spec has them."""
    run_id, claim = begun(records)

    assert claim.inputs is None
    assert {"n": 1} == row(records, node_id(run_id, "p")).inputs


def test_call_is_a_row_with_its_own_spec(records: SqlRecords) -> None:
    run_id, (claim,) = waiting(records, "a#1")

    assert claim.spec == CallSpec(key="a#1", name="s", arguments={"x": 1})
    assert claim.inputs == {"x": 1}
    (found,) = records.autocommit(lambda tx: tx.steps.called(run_id))
    assert (found.spec, found.observed, found.batch) == (
        claim.spec,
        None,
        call(run_id, "a#1").batch,
    )
    assert records.autocommit(lambda tx: tx.steps.call_spec(run_id, "b#1")) is None


def test_program_waits_without_lease_and_attempt(records: SqlRecords) -> None:
    run_id, _ = waiting(records, "a#1")

    program = row(records, node_id(run_id, "p"))

    assert (program.lease_token, program.lease_expires_at, program.attempt) == (None, None, 0)


def test_suspension_of_a_lost_attempt_changes_nothing(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    records.autocommit(lambda tx: tx.steps.release_leases([claim.token]))

    assert suspend(records, claim, suspension(call(run_id, "a#1"))) is None
    assert records.autocommit(lambda tx: tx.steps.called(run_id)) == []
    assert state(records, run_id) is QUEUED


def test_end_of_a_call_wakes_the_program(records: SqlRecords) -> None:
    run_id, (claim,) = waiting(records, "a#1")

    assert complete(records, claim) is True
    assert state(records, run_id) is QUEUED
    assert row(records, claim.id).advanced
    assert complete(records, claim) is None


def test_running_program_is_not_queued_by_an_end(records: SqlRecords) -> None:
    run_id, (one, other) = waiting(records, "a#1", "b#2")
    complete(records, one)
    claimed(records, node_id(run_id, "p"))

    assert complete(records, other) is False
    assert state(records, run_id) is StepState.RUNNING


def test_group_wakes_the_program_when_all_have_ended(records: SqlRecords) -> None:
    run_id, claims = waiting(records, "a#1", "b#2", "c#3", together=True)
    program = node_id(run_id, "p")
    woken = []
    for claim in claims:
        batch = records.autocommit(lambda tx: tx.steps.complete_call(claim, DONE))  # noqa: B023
        assert batch is not None
        woken.append(records.transaction(lambda tx: tx.steps.wake(program, batch, LATER)))  # noqa: B023

    assert woken == [False, False, True]
    assert all(row(records, claim.id).advanced for claim in claims)


def test_failed_member_wakes_the_program_at_once(records: SqlRecords) -> None:
    run_id, (one, _) = waiting(records, "a#1", "b#2", together=True)
    failure = Outcome(error_type="E", error_message="no")

    records.autocommit(lambda tx: tx.steps.fail(one, failure, advanced=False))

    batch = call(run_id, "a#1", ("a#1", "b#2")).batch
    assert records.transaction(lambda tx: tx.steps.wake(node_id(run_id, "p"), batch, LATER))


def test_member_that_is_awaited_alone_has_a_batch_of_its_own(records: SqlRecords) -> None:
    run_id, (one, other) = waiting(records, "a#1", "b#2", together=True)
    alone = {other.id: batch_of_calls(run_id, other.id, 1)}
    batch = records.autocommit(lambda tx: tx.steps.complete_call(one, DONE))
    assert batch is not None
    records.autocommit(lambda tx: tx.steps.end_waiting(node_id(run_id, "p"), COMPLETED, DONE))
    run_id, (one, other) = waiting(records, "a#1", "b#2", together=True)
    wake_for_test(records, run_id)
    program = claimed(records, node_id(run_id, "p"))
    alone = {other.id: batch_of_calls(run_id, other.id, 1)}
    assert suspend(records, program, suspension(alone=alone)) is WAITING

    ended = records.autocommit(lambda tx: tx.steps.complete_call(other, DONE))

    assert ended == alone[other.id]
    assert records.transaction(
        lambda tx: tx.steps.wake(node_id(run_id, "p"), BatchId(ended), LATER)
    )


def wake_for_test(records: SqlRecords, run_id: RunId) -> None:
    """Queue a program that waits, as an end would."""
    with records.engine.begin() as connection:
        connection.execute(
            update(FlowStepRun)
            .where(FlowStepRun.id == node_id(run_id, "p"))
            .values(status=QUEUED, wake_at=DbNow(60))
        )


def test_what_ended_before_the_suspension_queues_the_program_at_once(records: SqlRecords) -> None:
    run_id, (one, other) = waiting(records, "a#1", "b#2")
    complete(records, one)
    program = claimed(records, node_id(run_id, "p"))
    complete(records, other)

    seen = replace(suspension(call(run_id, "c#3"), observed=1), seen={one.id: 1})

    assert suspend(records, program, seen) is QUEUED


def test_what_was_seen_does_not_queue_the_program(records: SqlRecords) -> None:
    run_id, (one,) = waiting(records, "a#1")
    complete(records, one)
    program = claimed(records, node_id(run_id, "p"))

    seen = replace(suspension(call(run_id, "b#2"), observed=1), seen={one.id: 1})

    assert suspend(records, program, seen) is WAITING
    found = records.autocommit(lambda tx: tx.steps.program(program.id, after=0))
    assert found is not None
    assert [(one.spec.key, one.observed) for one in found.ended] == [("a#1", 1)]
    again = records.autocommit(lambda tx: tx.steps.program(program.id, after=1))
    assert again is not None
    assert again.ended == ()


def test_map_is_inserted_with_its_items(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    node = node_id(run_id, "m#1")
    spec = CallSpec(
        key="m#1", name="s", arguments={"y": 2}, map=MapSpec(parameter="x", items=[5, 6])
    )
    items = tuple(
        NewStep(item_id(node, i), "m#1", "s", 2, 0, {"x": x}, batch_of_items(node))
        for i, x in enumerate([5, 6])
    )
    mapped = call(run_id, "m#1", spec=spec, items=items, state=StepState.RUNNING)

    suspend(records, claim, suspension(mapped))

    assert row(records, node).map_size == 2
    item = claimed(records, item_id(node, 1))
    assert (item.spec, item.inputs, item.map_index) == (None, {"x": 6}, 1)
    assert records.autocommit(lambda tx: tx.steps.call_spec(run_id, "m#1")) == spec


def test_timer_ends_when_its_time_has_come(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    spec = CallSpec(key="t#1", name="sleep", kind=StepKind.TIMER)
    timer = call(run_id, "t#1", spec=spec, state=WAITING, delay=timedelta(hours=1))
    suspend(records, claim, suspension(timer))
    assert records.transaction(lambda tx: tx.steps.end_timers(run_id)) == []
    left = records.autocommit(lambda tx: tx.steps.next_timer(run_id))
    assert left is not None
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert records.transaction(lambda tx: tx.sweeps.timed(limit=10)) == []

    with records.engine.begin() as connection:
        due = update(FlowStepRun).where(FlowStepRun.id == timer.id)
        connection.execute(due.values(wake_at=DbNow(-1)))

    assert records.transaction(lambda tx: tx.sweeps.timed(limit=10)) == [timer.batch]
    assert records.transaction(lambda tx: tx.steps.end_timers(run_id)) == []
    assert state(records, run_id, "t#1") is COMPLETED


def test_wait_for_a_signal_fails_when_its_time_has_come(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    spec = CallSpec(key="s#1", name="approve", kind=StepKind.SIGNAL)
    signal = call(run_id, "s#1", spec=spec, state=WAITING, delay=timedelta(0))
    suspend(records, claim, suspension(signal))

    assert records.transaction(lambda tx: tx.steps.end_timers(run_id)) == [signal.batch]
    assert state(records, run_id, "s#1") is StepState.FAILED


# --- cancel --------------------------------------------------------------------------------------


def cancel(records: SqlRecords, run_id: RunId) -> None:
    def ask(tx: SqlTransaction) -> None:
        tx.runs.request_cancel([run_id], StopReason(StopKind.USER, "enough"))
        tx.steps.shield(run_id, LATER, LATER)
        tx.steps.cancel_open(run_id)

    records.transaction(ask)


def test_shielded_program_is_queued_and_claimed_in_a_stopping_run(records: SqlRecords) -> None:
    run_id, (one,) = waiting(records, "a#1")

    cancel(records, run_id)

    assert state(records, run_id) is QUEUED
    claim = claimed(records, node_id(run_id, "p"))
    found = records.autocommit(lambda tx: tx.steps.program(claim.id, after=0))
    assert found is not None
    assert found.stopping == "enough"
    assert state(records, run_id, "a#1") is StepState.RUNNING
    assert one.token in records.autocommit(
        lambda tx: tx.steps.cancel_asked([one.token, claim.token])
    )
    assert records.autocommit(lambda tx: tx.steps.cancel_asked([claim.token])) == set()


def test_program_that_has_not_seen_the_cancel_is_queued(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    cancel(records, run_id)

    assert suspend(records, claim, suspension(call(run_id, "a#1"))) is QUEUED
    assert state(records, run_id, "a#1") is StepState.CANCELLED


def test_what_cleans_up_runs_until_its_time_is_over(records: SqlRecords) -> None:
    run_id, claim = begun(records)
    cancel(records, run_id)
    found = records.autocommit(lambda tx: tx.steps.program(claim.id, after=0))
    assert found is not None
    cleaning = suspension(
        call(run_id, "a#1", shielded=True),
        observed=1,
        cancel=SeenCancel(1, "enough", found.read_at),
        cancel_seen=True,
        cleanup=timedelta(hours=1),
    )

    assert suspend(records, claim, cleaning) is WAITING
    assert records.autocommit(lambda tx: tx.steps.cancel_open(run_id)) == 0
    claimed(records, node_id(run_id, "a#1"))
    with records.engine.begin() as connection:
        over = update(FlowStepRun).where(FlowStepRun.shielded_until.is_not(None))
        connection.execute(over.values(shielded_until=DbNow(-1)))
    assert records.autocommit(lambda tx: tx.steps.cancel_open(run_id)) == 1
    assert state(records, run_id) is StepState.CANCELLED


# --- races ---------------------------------------------------------------------------------------


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do things at the same moment, more or less."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        barrier.wait()
        time.sleep(random.random() * 0.003)  # which of them is first, chance decides
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result() for one in [pool.submit(run, work) for work in works]]


def test_no_wake_up_is_lost_when_a_program_begins_to_wait(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        run_id, (one, other) = waiting(records, "a#1", "b#2")
        complete(records, one)
        program = claimed(records, node_id(run_id, "p"))
        seen = replace(suspension(call(run_id, "c#3"), observed=1), seen={one.id: 1})

        at_once(
            lambda: suspend(records, program, seen),  # noqa: B023 - called at once
            lambda: complete(records, other),  # noqa: B023
        )

        assert state(records, run_id) is QUEUED


def test_no_wake_up_is_lost_when_all_of_a_group_end_at_once(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        run_id, claims = waiting(records, "a#1", "b#2", "c#3", together=True)
        program = node_id(run_id, "p")

        def end(claim: Claim, program: StepRunId = program) -> bool:
            batch = records.autocommit(lambda tx: tx.steps.complete_call(claim, DONE))
            assert batch is not None
            return records.transaction(lambda tx: tx.steps.wake(program, batch, LATER))

        woken = at_once(*[lambda claim=claim: end(claim) for claim in claims])

        assert state(records, run_id) is QUEUED
        assert woken.count(True) == 1


def test_cancel_reaches_a_program_that_begins_to_wait(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        run_id, claim = begun(records)
        what = suspension(call(run_id, "a#1"), call(run_id, "b#2"))

        at_once(
            lambda: suspend(records, claim, what),  # noqa: B023
            lambda: cancel(records, run_id),  # noqa: B023
        )

        assert state(records, run_id) is QUEUED
        assert row(records, claim.id).shielded_until is not None
        for key in ("a#1", "b#2"):
            assert state(records, run_id, key) is StepState.CANCELLED


def test_cancel_reaches_a_program_that_begins(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        run_id, claim = begun(records)
        records.autocommit(lambda tx: tx.steps.release_leases([claim.token]))  # noqa: B023
        with records.engine.begin() as connection:
            new = update(FlowStepRun).where(FlowStepRun.id == claim.id)
            connection.execute(new.values(started_at=None))
        token = LeaseToken(uuids.uuid7())

        found, _ = at_once(
            lambda: records.autocommit(
                lambda tx: tx.steps.claim(claim.id, token=token, lease=LEASE, worker="w")  # noqa: B023
            ),
            lambda: cancel(records, run_id),  # noqa: B023
        )

        if found is None:
            assert state(records, run_id) is StepState.CANCELLED
        else:
            assert row(records, claim.id).shielded_until is not None


def test_whoever_ends_a_call_waits_for_the_suspension(records: SqlRecords) -> None:
    """The order that loses a wake-up where nobody takes the lock of the program's row."""
    run_id, (one, other) = waiting(records, "a#1", "b#2")
    complete(records, one)
    program = claimed(records, node_id(run_id, "p"))
    seen = replace(suspension(call(run_id, "c#3"), observed=1), seen={one.id: 1})
    looked, ended = Event(), Event()

    def slowly(tx: SqlTransaction) -> StepState | None:
        found = tx.steps.suspend(program, seen)
        looked.set()
        assert not ended.wait(0.3)  # it has looked, it has not committed, and nobody passes it
        return found

    def end() -> bool | None:
        looked.wait(60)
        woken = complete(records, other)
        ended.set()
        return woken

    with ThreadPoolExecutor(2) as pool:
        suspending, ending = pool.submit(records.transaction, slowly), pool.submit(end)
        assert suspending.result() is WAITING
        assert ending.result() is True

    assert state(records, run_id) is QUEUED
    assert records.autocommit(lambda tx: tx.runs.status(run_id)) is RunState.RUNNING

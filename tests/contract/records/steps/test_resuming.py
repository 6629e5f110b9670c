"""A program that is claimed by whoever ends its call, and that waits for one next call.

A local call is claimed by the program's suspension. A live program that has run ahead records the
end of its call and the next one together.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import select

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.repository import STEPS
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import (
    LeaseToken,
    RunId,
    StepRunId,
    batch_of_calls,
    batch_of_nodes,
    node_id,
)
from flowq.core.results import NO_RESULT
from flowq.core.spec import CallSpec, FlowSpec, MapSpec, StepKind, StepSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.model.programs import (
    Claiming,
    NewCall,
    NextCall,
    Resuming,
    Suspension,
    WaitingProgram,
    WokenProgram,
)
from flowq.engine.model.rows import Claim, NewRun, NewStep, Outcome
from flowq.engine.model.stops import StopReason

LEASE, LATER = timedelta(seconds=30), timedelta(seconds=60)
DONE = Outcome(NO_RESULT)
WAIT = StopReason(StopKind.USER, "wait")
ROUNDS = 40


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def new_token() -> LeaseToken:
    return LeaseToken(uuids.uuid7())


def claimed(records: SqlRecords, step_id: StepRunId) -> Claim:
    token = new_token()
    found = records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=LEASE, worker="w")
    )
    assert found is not None
    return found


def call(run_id: RunId, key: str, order: int, group: tuple[str, ...] = ()) -> NewCall:
    members = group or (key,)
    spec = CallSpec(key=key, name="s", arguments={"x": order}, group=len(members))
    batch = batch_of_calls(run_id, node_id(run_id, members[0]), len(members))
    return NewCall(node_id(run_id, key), spec, order, batch, StepState.QUEUED)


def begun(records: SqlRecords) -> Claim:
    """A program that has been claimed for the first time."""
    run_id = RunId(uuids.uuid7())
    program = node_id(run_id, "p")
    spec = FlowSpec(name="f", steps=(StepSpec(key="p", name="f", kind=StepKind.PROGRAM),))
    row = NewStep(program, "p", "f", 1, 0, {}, batch_of_nodes(run_id, program), observed=0)
    records.transaction(lambda tx: tx.runs.insert([NewRun(run_id, "f", spec, {}, (row,))], LATER))
    return claimed(records, program)


def waiting(records: SqlRecords, *keys: str, group: bool = False) -> list[Claim]:
    """A program that waits for calls, which are claimed."""
    program = begun(records)
    run_id = program.run_id
    together = keys if group else ()
    calls = [call(run_id, key, place, together) for place, key in enumerate(keys, start=2)]
    what = Suspension(0, {}, calls, LATER)
    assert suspended(records, program, what) is StepState.WAITING
    return [claimed(records, one.id) for one in calls]


def suspended(records: SqlRecords, claim: Claim, what: Suspension) -> StepState | None:
    """Suspend as an attempt of a program does."""
    made = records.atomic(lambda tx: tx.steps.suspend_for_next(claim, what))
    if made is not None:
        return StepState.WAITING
    return records.transaction(lambda tx: tx.steps.suspend(claim, what))


def resume(records: SqlRecords, claim: Claim, after: int = 0) -> WokenProgram | None:
    """End a call, and resume its program."""
    program = node_id(claim.run_id, "p")
    resuming = Resuming(new_token(), LEASE, "here", after)
    return records.atomic(
        lambda tx: tx.steps.complete_and_wake(claim, DONE, program, LATER, resuming)
    )


def state(records: SqlRecords, run_id: RunId, key: str = "p") -> StepState:
    return records.autocommit(lambda tx: tx.steps.states(run_id, [key]))[key]


def cancel(records: SqlRecords, run_id: RunId) -> None:
    def work(tx: SqlTransaction) -> None:
        tx.runs.request_cancel([run_id], StopReason(StopKind.USER, "enough"))
        tx.steps.shield(run_id, LATER, LATER)
        tx.steps.cancel_open(run_id)

    records.transaction(work)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    barrier = Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(run, work) for work in works]]


# --- resumed -------------------------------------------------------------------------------------


def test_program_is_claimed_with_the_end_of_its_call(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")

    woken = resume(records, one)

    assert woken is not None
    assert not woken.queued
    assert woken.resumed is not None
    claim, read = woken.resumed.claim, woken.resumed.state
    assert (claim.key, claim.attempt, claim.spec, claim.run_id) == ("p", 1, None, one.run_id)
    assert state(records, one.run_id) is StepState.RUNNING
    assert [(row.id, row.stored.status, row.observed) for row in read.ended] == [
        (one.id, StepState.COMPLETED, None)
    ]
    assert (read.observed, read.stopping, read.cancel) == (0, None, None)
    # The same that a claim by a message would read.
    again = records.autocommit(lambda tx: tx.steps.program(claim.id, after=0))
    assert again is not None
    assert replace(again, read_at=read.read_at) == read
    # The lease is real: it guards the next write, and the row names the worker.
    assert suspended(records, claim, Suspension(1, {one.id: 1}, [], LATER)) is StepState.WAITING


def test_what_ended_before_is_read_with_it(records: SqlRecords) -> None:
    """A member of a group that is not complete has ended: its program sees that too."""
    program = begun(records)
    run_id = program.run_id
    pair = ("a#1", "b#2")
    calls = [call(run_id, "a#1", 2, pair), call(run_id, "b#2", 3, pair), call(run_id, "c#3", 4)]
    assert suspended(records, program, Suspension(0, {}, calls, LATER)) is StepState.WAITING
    first, _, third = [claimed(records, one.id) for one in calls]
    records.autocommit(lambda tx: tx.steps.complete_call(first, DONE))

    woken = resume(records, third)

    assert woken is not None
    assert woken.resumed is not None
    assert [row.id for row in woken.resumed.state.ended] == [first.id, third.id]


def test_running_program_is_left_to_its_process(records: SqlRecords) -> None:
    one, other = waiting(records, "a#1", "b#2")
    woken = resume(records, one)
    assert woken is not None
    assert woken.resumed is not None

    second = resume(records, other)

    assert second == WokenProgram()
    # It sees the other end when it suspends.
    program = woken.resumed.claim
    assert suspended(records, program, Suspension(1, {one.id: 1}, [], LATER)) is StepState.QUEUED


def test_program_of_a_paused_run_is_queued(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    records.transaction(lambda tx: tx.runs.pause([one.run_id], WAIT))

    woken = resume(records, one)

    assert woken == WokenProgram(queued=True)
    assert state(records, one.run_id) is StepState.QUEUED


def test_lost_lease_changes_nothing(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    records.autocommit(lambda tx: tx.steps.release_leases([one.token]))

    assert resume(records, one) is None
    assert state(records, one.run_id) is StepState.WAITING


def test_two_ends_at_once_resume_it_once(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        claims = waiting(records, "a#1", "b#2", "c#3")

        ended = at_once(*(lambda one=one: resume(records, one) for one in claims))

        resumed = [one.resumed for one in ended if one.resumed is not None]
        assert len(resumed) == 1
        assert not any(one.queued for one in ended)
        # Nothing is lost: what it has not seen queues it as soon as it waits.
        seen = {row.id: place for place, row in enumerate(resumed[0].state.ended, start=1)}
        after = suspended(records, resumed[0].claim, Suspension(len(seen), seen, [], LATER))
        assert after is (StepState.WAITING if len(seen) == 3 else StepState.QUEUED)


def test_cancel_reaches_a_program_that_is_resumed(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        (one,) = waiting(records, "a#1")

        woken, _ = at_once(lambda: resume(records, one), lambda: cancel(records, one.run_id))  # noqa: B023

        run_id = one.run_id
        if woken is None or woken.resumed is None:
            assert state(records, run_id) is StepState.QUEUED  # to see the cancel
            continue
        claim = woken.resumed.claim
        seen = {row.id: place for place, row in enumerate(woken.resumed.state.ended, start=1)}
        made = Suspension(1, seen, [call(run_id, "n#2", 3)], LATER, is_next=True)
        if woken.resumed.state.stopping is None:
            assert suspended(records, claim, made) is StepState.QUEUED
            assert state(records, run_id, "n#2") is StepState.CANCELLED


# --- one statement -------------------------------------------------------------------------------


def rows_after(records: SqlRecords, how: Callable[[SqlRecords, Claim, Suspension], object]) -> Any:
    (one,) = waiting(records, "a#1")
    woken = resume(records, one)
    assert woken is not None
    assert woken.resumed is not None
    run_id = one.run_id
    what = Suspension(1, {one.id: 1}, [call(run_id, "b#2", 3)], LATER, is_next=True)
    how(records, woken.resumed.claim, what)
    names = [
        *("step_key", "status", "observed", "attempt", "inputs", "spec", "step_order"),
        *("lease_token", "advanced", "map_index", "map_size", "tokens_used", "resends"),
    ]
    found = records.autocommit(lambda tx: [tx.steps.by_id(node_id(run_id, k)) for k in KEYS])
    return [
        {**{name: getattr(row, name) for name in names}, "waits": row.wake_at is not None}
        for row in found
        if row is not None
    ]


KEYS = ("p", "a#1", "b#2")


def test_one_statement_writes_what_several_write(records: SqlRecords) -> None:
    def slow(records: SqlRecords, claim: Claim, what: Suspension) -> None:
        assert records.transaction(lambda tx: tx.steps.suspend(claim, what)) is StepState.WAITING

    def fast(records: SqlRecords, claim: Claim, what: Suspension) -> None:
        assert suspended(records, claim, what) is StepState.WAITING

    found = rows_after(records, fast)

    assert found == rows_after(records, slow)
    assert len(found) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"is_next": False},
        {"given_up": {StepRunId(uuids.uuid7()): 2}},
        {"cancel_seen": True},
        {"share": "t"},
        {"calls": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_has_more_to_record_has_no_next_call(changes: dict[str, Any]) -> None:
    run_id = RunId(uuids.uuid7())
    plain = Suspension(1, {}, [call(run_id, "b#2", 3)], LATER, is_next=True)

    assert plain.next_call is plain.calls[0]
    assert replace(plain, **changes).next_call is None


@pytest.mark.parametrize(
    "changes",
    [{"kind": StepKind.SIGNAL}, {"map": MapSpec(items=[1], parameter="x")}],
    ids=["signal", "map"],
)
def test_signals_and_maps_are_no_next_call(changes: dict[str, Any]) -> None:
    run_id = RunId(uuids.uuid7())
    one = call(run_id, "b#2", 3)
    one = replace(one, spec=one.spec.model_copy(update=changes))

    assert Suspension(1, {}, [one], LATER, is_next=True).next_call is None


def test_stopping_run_makes_no_call(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    woken = resume(records, one)
    assert woken is not None
    assert woken.resumed is not None
    cancel(records, one.run_id)
    made = call(one.run_id, "b#2", 3)
    what = Suspension(1, {one.id: 1}, [made], LATER, is_next=True)
    claim = woken.resumed.claim

    found = records.atomic(lambda tx: tx.steps.suspend_for_next(claim, what))

    if found is None:  # nothing has changed
        assert state(records, one.run_id) is StepState.RUNNING
        assert suspended(records, claim, what) is StepState.QUEUED
    assert state(records, one.run_id) is StepState.QUEUED
    assert state(records, one.run_id, "b#2") is StepState.CANCELLED


def test_the_lease_ends_with_the_suspension(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    woken = resume(records, one)
    assert woken is not None
    assert woken.resumed is not None
    claim = woken.resumed.claim
    what = Suspension(1, {one.id: 1}, [call(one.run_id, "b#2", 3)], LATER, is_next=True)

    assert suspended(records, claim, what) is StepState.WAITING
    assert suspended(records, claim, what) is None


# --- local calls ---------------------------------------------------------------------------------


def local(
    records: SqlRecords, program: Claim, *, after: int = 0
) -> tuple[Claim | None, Suspension]:
    """Suspend a program for a call, and claim that."""
    made = call(program.run_id, f"local#{after + 1}", 2 + after)
    seen = {node_id(program.run_id, f"local#{after}"): after} if after else {}
    what = Suspension(after, seen, [made], LATER, is_next=True)
    claiming = Claiming(new_token(), LEASE, "here")
    found = records.atomic(lambda tx: tx.steps.suspend_for_next(program, what, claiming))
    return found.claim if found is not None else None, what


def test_call_is_claimed_as_by_a_claim_of_its_own(records: SqlRecords) -> None:
    program = begun(records)

    found, _ = local(records, program)

    assert found is not None
    assert state(records, program.run_id) is StepState.WAITING
    with records.engine.connect() as connection:
        row = connection.execute(select(STEPS).where(STEPS.c.id == found.id)).one()
    assert (row.status, row.attempt, row.worker) == (StepState.RUNNING, 1, "here")
    assert row.started_at == row.first_started_at == found.began_at
    assert row.lease_expires_at == row.started_at + LEASE
    assert row.wake_at is None
    records.transaction(lambda tx: tx.steps.release_leases([found.token]))
    again = records.autocommit(
        lambda tx: tx.steps.claim(found.id, token=found.token, lease=LEASE, worker="here")
    )
    assert again is not None
    assert replace(again, began_at=found.began_at) == found


def test_calls_follow_each_other(records: SqlRecords) -> None:
    program = begun(records)
    first, _ = local(records, program)
    assert first is not None
    woken = resume(records, first)
    assert woken is not None
    assert woken.resumed is not None

    second, _ = local(records, woken.resumed.claim, after=1)

    assert second is not None
    assert records.autocommit(lambda tx: tx.steps.complete(second, DONE, advanced=True))
    seen = records.autocommit(lambda tx: tx.steps.called(program.run_id, ["local#1"]))
    assert [one.observed for one in seen] == [1]


@pytest.mark.parametrize("why", ["paused", "cancelled", "lease lost"])
def test_nothing_is_written_when_the_call_may_not_begin(records: SqlRecords, why: str) -> None:
    program = begun(records)
    if why == "paused":
        records.transaction(lambda tx: tx.runs.pause([program.run_id], WAIT))
        assert records.autocommit(lambda tx: tx.runs.status(program.run_id)) is RunState.PAUSED
    elif why == "cancelled":
        cancel(records, program.run_id)
    else:
        records.transaction(lambda tx: tx.steps.release_leases([program.token]))
    before = state(records, program.run_id)

    found, what = local(records, program)

    assert found is None
    assert state(records, program.run_id) is before
    assert records.autocommit(lambda tx: tx.steps.states(program.run_id, ["local#1"])) == {}
    if why == "paused":
        written = records.transaction(lambda tx: tx.steps.suspend(program, what))
        assert written is StepState.WAITING
        assert state(records, program.run_id, "local#1") is StepState.QUEUED


def test_other_suspensions_claim_nothing(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    woken = resume(records, one)
    assert woken is not None
    assert woken.resumed is not None
    calls = [call(one.run_id, key, 3) for key in ("b#2", "c#3")]
    what = Suspension(1, {one.id: 1}, calls, LATER, is_next=True)
    claiming = Claiming(new_token(), LEASE, "here")

    claim = woken.resumed.claim
    assert records.atomic(lambda tx: tx.steps.suspend_for_next(claim, what, claiming)) is None
    assert state(records, one.run_id) is StepState.RUNNING


# --- ahead ---------------------------------------------------------------------------------------

ENDED_AT = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def ahead(
    records: SqlRecords, one: Claim, *, after: int = 0, claiming: Claiming | None = None
) -> NextCall | None:
    """End a call, and record the next one of its program, which has seen that end."""
    place = after + 1
    made = call(one.run_id, f"n#{place + 1}", place + 2)
    what = Suspension(place, {one.id: place}, [made], LATER, is_next=True)
    outcome = replace(DONE, ended_at=ENDED_AT)
    program = WaitingProgram(node_id(one.run_id, "p"), after)
    return records.atomic(
        lambda tx: tx.steps.complete_for_next(one, outcome, program, what, claiming)
    )


def test_end_and_next_call_are_what_several_statements_write(records: SqlRecords) -> None:
    """As by the end, the claim of the program, and its suspension; but for the times."""

    def columns(run_id: RunId) -> list[dict[str, Any]]:
        with records.engine.connect() as connection:
            rows = connection.execute(
                select(STEPS).where(STEPS.c.flow_run_id == run_id).order_by(STEPS.c.step_order)
            )
            found = [dict(row._mapping) for row in rows]
        ids = ("id", "flow_run_id", "batch_id", "worker")
        return [
            {
                name: value is None if isinstance(value, datetime) else value
                for name, value in row.items()
                if name not in ids
            }
            for row in found
        ]

    (one,) = waiting(records, "a#1")
    assert ahead(records, one) == NextCall()

    (other,) = waiting(records, "a#1")
    woken = resume(records, other)
    assert woken is not None
    assert woken.resumed is not None
    what = Suspension(1, {other.id: 1}, [call(other.run_id, "n#2", 3)], LATER, is_next=True)
    assert suspended(records, woken.resumed.claim, what) is StepState.WAITING
    assert columns(one.run_id) == columns(other.run_id)


def test_end_has_the_time_that_the_program_has_seen(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")

    assert ahead(records, one) is not None

    (row,) = records.autocommit(lambda tx: tx.steps.called(one.run_id, ["a#1"]))
    assert (row.completed_at, row.observed) == (ENDED_AT, 1)


def test_next_call_is_claimed_with_the_end_of_the_last(records: SqlRecords) -> None:
    (one,) = waiting(records, "a#1")
    claiming = Claiming(new_token(), LEASE, "here")

    made = ahead(records, one, claiming=claiming)

    assert made is not None
    assert made.claim is not None
    assert state(records, one.run_id, "n#2") is StepState.RUNNING
    assert ahead(records, made.claim, after=1) == NextCall()
    assert state(records, one.run_id, "n#3") is StepState.QUEUED


def _continued(records: SqlRecords, one: Claim) -> None:
    """Another process has ended the other call, and continued the program."""
    run_id = one.run_id
    other = claimed(records, node_id(run_id, "b#2"))
    woken = resume(records, other)
    assert woken is not None
    assert woken.resumed is not None
    what = Suspension(1, {other.id: 1}, [], LATER)
    assert suspended(records, woken.resumed.claim, what) is StepState.WAITING


@pytest.mark.parametrize("why", ["paused", "cancelled", "lease lost", "continued", "running"])
def test_end_changes_nothing_when_the_program_does_not_wait_as_known(
    records: SqlRecords, why: str
) -> None:
    program = begun(records)
    run_id = program.run_id
    calls = [call(run_id, "a#1", 2), call(run_id, "b#2", 3)]
    suspended(records, program, Suspension(0, {}, calls, LATER))
    one = claimed(records, calls[0].id)
    if why == "paused":
        records.transaction(lambda tx: tx.runs.pause([run_id], WAIT))
    elif why == "cancelled":
        cancel(records, run_id)
    elif why == "lease lost":
        records.transaction(lambda tx: tx.steps.release_leases([one.token]))
    elif why == "continued":
        _continued(records, one)
    else:
        resume(records, claimed(records, calls[1].id))
    keys = ["p", "a#1", "b#2", "n#2"]
    before = records.autocommit(lambda tx: tx.steps.states(run_id, keys))

    assert ahead(records, one) is None

    assert records.autocommit(lambda tx: tx.steps.states(run_id, keys)) == before
    (row,) = records.autocommit(lambda tx: tx.steps.called(run_id, ["a#1"]))
    assert (row.observed, row.completed_at) == (None, None)


def test_cancel_finds_the_next_call_or_keeps_it_from_being_made(records: SqlRecords) -> None:
    for _ in range(ROUNDS):
        (one,) = waiting(records, "a#1")
        run_id = one.run_id

        made, _ = at_once(lambda: ahead(records, one), lambda: cancel(records, run_id))  # noqa: B023

        assert state(records, run_id) is StepState.QUEUED  # to see the cancel
        found = records.autocommit(lambda tx: tx.steps.states(run_id, ["a#1", "n#2"]))  # noqa: B023
        if made is None:
            assert found == {"a#1": StepState.RUNNING}
        else:
            assert found == {"a#1": StepState.COMPLETED, "n#2": StepState.CANCELLED}


def test_one_of_two_processes_continues_a_program(records: SqlRecords) -> None:
    """A lease that seemed lost may have two attempts: of these one ends the call."""
    for _ in range(ROUNDS):
        (one,) = waiting(records, "a#1")

        made = at_once(lambda: ahead(records, one), lambda: ahead(records, one))  # noqa: B023

        assert sorted(each is not None for each in made) == [False, True]

"""What every database does for the engine: one suite, on SQLite and on PostgreSQL."""

# ruff: noqa: B023 - what is given to a transaction is called at once

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import Connection, delete, event, select, text, update
from sqlalchemy.exc import DBAPIError

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun, FlowStepRun
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core import errors
from flowq.core.ids import (
    FIRST_ID,
    BatchId,
    LeaseToken,
    RunId,
    StepRunId,
    batch_of_items,
    batch_of_nodes,
    item_id,
    node_id,
)
from flowq.core.results import NO_RESULT, ResultRef, StorageKind, row_key
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState, StepState, StopKind
from flowq.core.usage import CostStatus, RequestStatus, Tokens, Usage
from flowq.engine.model.model_calls import Caller, EndedRequest, StartedRequest
from flowq.engine.model.rows import (
    CacheEntry,
    Claim,
    Definition,
    NewRun,
    NewStep,
    Outcome,
    RunEnding,
    StepRef,
)
from flowq.engine.model.stops import StopReason
from flowq.engine.model.sweeps import ExpiredLease, Orphan, RunIdRange, UnclaimedStep
from tests.tools.waiting import wait_until

LEASE = timedelta(seconds=30)
LATER = timedelta(seconds=60)
NOW = timedelta(0)
ALL = RunIdRange(RunId(FIRST_ID), None)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def new_run(
    *keys: str, pending: dict[str, int] | None = None, queued: bool = False, **options: Any
) -> NewRun:
    run_id = options.pop("id", None) or RunId(uuids.uuid7())
    batch = batch_of_nodes(run_id, node_id(run_id, keys[0])) if queued else None
    steps = tuple(
        NewStep(
            node_id(run_id, key),
            key,
            f"steps.{key}",
            i,
            (pending or {}).get(key, 0),
            {"a": i},
            batch,
        )
        for i, key in enumerate(keys, start=1)
    )
    spec = FlowSpec(name="flow", steps=tuple(StepSpec(key=s.key, name=s.name) for s in steps))
    name = options.pop("flow_name", "flow")
    return NewRun(run_id, name, spec, {"x": 1}, steps, **options)


def insert(records: SqlRecords, run: NewRun) -> RunId:
    assert records.transaction(lambda tx: tx.runs.insert([run], LATER))
    return run.id


def token() -> LeaseToken:
    return LeaseToken(uuids.uuid7())


def claim(records: SqlRecords, step_id: StepRunId, lease: timedelta = LEASE) -> Claim | None:
    return records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token(), lease=lease, worker="host:1")
    )


def claimed(records: SqlRecords, run_id: RunId, key: str = "a") -> Claim:
    found = claim(records, node_id(run_id, key))
    assert found is not None
    return found


def status(records: SqlRecords, run_id: RunId, key: str = "a") -> StepState:
    return records.autocommit(lambda tx: tx.steps.states(run_id, [key]))[key]


def row(records: SqlRecords, step_id: UUID) -> FlowStepRun:
    found = records.autocommit(lambda tx: tx.steps.by_id(step_id))
    assert found is not None
    return found


def because(text: str, kind: StopKind = StopKind.USER) -> StopReason:
    return StopReason(kind, text)


def ending(records: SqlRecords, run_id: RunId) -> RunEnding:
    found = records.autocommit(lambda tx: tx.runs.ending(run_id))
    assert found is not None
    return found


def stored(claim: Claim, data: bytes, codec: str = "json") -> Outcome:
    ref = ResultRef(
        place=StorageKind.ROW,
        codec=codec,
        key=row_key(claim.id, claim.token),
        size=len(data),
        sha256="x",
    )
    return Outcome(ref, data, execution_time_ms=7)


def spend(
    records: SqlRecords, claim: Claim, tokens: int = 0, cost: Decimal | None = Decimal(0)
) -> None:
    """Record a call of a model; without a cost it is of unknown cost."""
    caller = Caller(claim.run_id, claim.id, claim.token, claim.attempt)
    call = StartedRequest(uuids.uuid7(), caller, "openai", "small")
    records.transaction(lambda tx: tx.llm_requests.start([call]))
    known = CostStatus.UNKNOWN if cost is None else CostStatus.KNOWN
    ended = EndedRequest(
        call.id, caller, RequestStatus.COMPLETED, Tokens(tokens), cost, cost_status=known
    )
    records.transaction(lambda tx: tx.llm_requests.end([ended]))


def expanded(
    records: SqlRecords, run_id: RunId, count: int, key: str = "a", order: int = 1
) -> list[StepRunId]:
    node, name = node_id(run_id, key), f"steps.{key}"
    items = [NewStep(item_id(node, i), key, name, order, 0, {"n": i}) for i in range(count)]
    assert records.transaction(
        lambda tx: tx.steps.expand(run_id, key, items, batch_of_items(node), LATER)
    )
    return [item.id for item in items]


def late(records: SqlRecords, column: str, seconds: float = 100) -> None:
    """Make a time of all steps lie in the past."""
    clock = getattr(FlowStepRun, column)
    with records.engine.begin() as connection:
        connection.execute(
            update(FlowStepRun).where(clock.is_not(None)).values({column: DbNow(-seconds)})
        )


# --- runs ----------------------------------------------------------------------------------------


def test_run_is_inserted_once(records: SqlRecords) -> None:
    run = new_run("a", "b", user_id="ada", metadata={"k": "v"}, parent=StepRunId(uuids.uuid7()))
    insert(records, run)
    again = new_run("a", "b", id=run.id, is_new=False)

    assert records.transaction(lambda tx: tx.runs.insert([again], LATER)) == set()

    found = records.autocommit(lambda tx: tx.runs.definition(run.id))
    assert found is not None
    assert (found.flow_name, found.user_id, found.parent) == ("flow", "ada", run.parent)
    assert found.spec == run.spec
    assert len(records.autocommit(lambda tx: tx.steps.by_flow_run_id(run.id))) == 2


def test_run_that_is_not_there_is_none(records: SqlRecords) -> None:
    nobody = RunId(uuids.uuid7())

    assert records.autocommit(lambda tx: tx.runs.definition(nobody)) is None
    assert records.autocommit(lambda tx: tx.runs.status(nobody)) is None
    assert records.autocommit(lambda tx: tx.runs.view(nobody)) is None
    assert records.autocommit(lambda tx: tx.runs.by_id(nobody)) is None
    assert not records.autocommit(lambda tx: tx.runs.close(nobody, RunState.COMPLETED))


def test_failed_transaction_leaves_nothing(records: SqlRecords) -> None:
    run = new_run("a")

    def work(tx: Any) -> None:
        tx.runs.insert([run], LATER)
        raise RuntimeError("after the insert")

    with pytest.raises(RuntimeError, match="after the insert"):
        records.transaction(work)

    assert records.autocommit(lambda tx: tx.runs.status(run.id)) is None


def test_run_closes_once_with_its_totals(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", "c", queued=True))
    for key, cost in (("a", "0.000000001"), ("b", "0.2"), ("c", "0.1")):
        one = claimed(records, run_id, key)
        spend(records, one, 10, Decimal(cost))
        done = stored(one, b"1")
        assert records.autocommit(lambda tx: tx.steps.complete(one, done, advanced=True))

    assert records.autocommit(
        lambda tx: tx.runs.close(run_id, RunState.COMPLETED, outputs={"a": [1]})
    )
    late = because("late")
    assert not records.autocommit(lambda tx: tx.runs.close(run_id, RunState.FAILED, reason=late))

    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    assert (run.status, run.outputs, run.error_message) == ("completed", {"a": [1]}, None)
    assert (run.total_steps, run.step_progress, run.progress_percentage) == (3, 3, 100.0)
    assert run.total_tokens == 30
    assert run.total_cost == Decimal("0.300000001")
    assert isinstance(run.total_cost, Decimal)
    assert run.execution_time_ms is not None


def test_stopped_run_keeps_its_first_error(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))

    first = StopReason(StopKind.FAILED, "first\0", node_id(run_id, "a"))
    third = because("third", StopKind.DEADLINE)
    assert records.autocommit(lambda tx: tx.runs.stop(run_id, first))
    assert not records.autocommit(lambda tx: tx.runs.stop(run_id, because("second")))
    assert not records.autocommit(lambda tx: tx.runs.close(run_id, RunState.COMPLETED))
    assert records.autocommit(lambda tx: tx.runs.close(run_id, RunState.FAILED, reason=third))

    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    assert (run.status, run.error_message) == ("failed", "first\N{SYMBOL FOR NULL}")
    assert (run.stop_kind, run.failed_step_id) == ("failed", node_id(run_id, "a"))


def test_run_without_steps_is_wholly_done(records: SqlRecords) -> None:
    run_id = RunId(uuids.uuid7())
    insert(records, NewRun(run_id, "empty", FlowSpec(name="empty", steps=()), {}, ()))

    assert records.autocommit(lambda tx: tx.runs.close(run_id, RunState.COMPLETED))

    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    assert (run.total_steps, run.progress_percentage, run.total_cost) == (0, 100.0, Decimal(0))


def test_times_are_aware_and_utc(records: SqlRecords) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    run_id = insert(records, new_run("a", queued=True))
    claimed(records, run_id)

    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    step = row(records, node_id(run_id, "a"))
    for moment in (run.created_at, run.started_at, step.created_at, step.started_at):
        assert moment is not None
        assert moment.utcoffset() == timedelta(0)
        assert before <= moment <= before + timedelta(minutes=1)
    assert step.lease_expires_at is not None
    assert step.started_at is not None
    lease = step.lease_expires_at - step.started_at
    assert lease.total_seconds() == pytest.approx(30, abs=0.1)


# --- repositories for people ---------------------------------------------------------------------


def test_runs_are_found_by_user_newest_first(records: SqlRecords) -> None:
    ids = [insert(records, new_run("a", user_id="ada")) for _ in range(5)]
    insert(records, new_run("a", user_id="bob"))

    def page(**options: int) -> list[UUID]:
        return [
            run.id for run in records.autocommit(lambda tx: tx.runs.by_user_id("ada", **options))
        ]

    assert page() == ids[::-1]
    assert page(limit=2) == ids[:2:-1]
    assert page(limit=2, offset=2) == [ids[2], ids[1]]
    assert page(offset=9) == []


def test_runs_are_found_by_status_and_by_flow(records: SqlRecords) -> None:
    one = insert(records, new_run("a", flow_name="one"))
    two = insert(records, new_run("a", flow_name="two"))
    records.autocommit(lambda tx: tx.runs.close(one, RunState.COMPLETED))

    running = records.autocommit(lambda tx: tx.runs.by_status(RunState.RUNNING))
    assert [run.id for run in running] == [two]
    named = records.autocommit(lambda tx: tx.runs.by_flow_name("one"))
    assert [run.id for run in named] == [one]
    assert [v.id for v in records.autocommit(lambda tx: tx.runs.views())] == [two, one]
    completed = records.autocommit(
        lambda tx: tx.runs.views(status=RunState.COMPLETED, flow_name="one")
    )
    assert [(v.id, v.total) for v in completed] == [(one, 1)]


def test_run_is_found_by_the_beginning_of_its_id(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))
    find: Any = lambda words: records.autocommit(lambda tx: tx.runs.find(words))  # noqa: E731

    for words in (str(run_id), run_id.hex, str(run_id)[:25], str(run_id).upper()[:20]):
        assert find(words) == [(run_id, "flow")]
    for words in ("", "-", "%", "no id", "0" * 33, str(run_id)[:-1] + "x"):
        assert find(words) == []


def test_steps_of_a_run_come_in_step_order_with_items_after_their_map(records: SqlRecords) -> None:
    run_id = insert(records, new_run("b", "a", "c"))
    expanded(records, run_id, 12, "a", order=2)

    rows = records.autocommit(lambda tx: tx.steps.by_flow_run_id(run_id))
    assert [(r.step_key, r.map_index) for r in rows] == [
        ("b", None),
        ("a", None),
        *(("a", i) for i in range(12)),
        ("c", None),
    ]
    second = records.autocommit(lambda tx: tx.steps.by_flow_run_id(run_id, limit=2, offset=2))
    assert [(r.step_key, r.map_index) for r in second] == [("a", 0), ("a", 1)]


def test_deleted_run_takes_its_steps_with_it(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b"))
    other = insert(records, new_run("a"))

    with records.engine.begin() as connection:
        connection.execute(delete(FlowRun).where(FlowRun.id == run_id))

    assert records.autocommit(lambda tx: tx.steps.by_flow_run_id(run_id)) == []
    assert len(records.autocommit(lambda tx: tx.steps.by_flow_run_id(other))) == 1


# --- attempts ------------------------------------------------------------------------------------


def test_queued_step_is_claimed_once(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))

    first = claimed(records, run_id)

    assert (first.run_id, first.key, first.map_index) == (run_id, "a", None)
    assert (first.attempt, first.recoveries, first.inputs) == (1, 0, {"a": 1})
    assert claim(records, first.id) is None
    assert row(records, first.id).worker == "host:1"


def test_first_claim_comes_with_the_definition_of_the_run(records: SqlRecords) -> None:
    run = new_run("a", queued=True, user_id="ada", priority=3)
    step_id = node_id(insert(records, run), "a")

    def first() -> tuple[Claim, Definition] | None:
        return records.autocommit(
            lambda tx: tx.steps.claim_first(step_id, token=token(), lease=LEASE, worker="host:1")
        )

    found = first()

    assert found is not None
    one, definition = found
    assert (one.id, one.run_id, one.key, one.attempt, one.rows) == (step_id, run.id, "a", 1, ())
    assert definition == records.autocommit(lambda tx: tx.runs.definition(run.id))
    assert (definition.user_id, definition.priority) == ("ada", 3)
    assert status(records, run.id) is StepState.RUNNING
    assert first() is None, "it is claimed"
    assert records.autocommit(lambda tx: tx.steps.held(step_id)) == one


def test_of_many_claims_at_once_one_wins(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    start = Barrier(8)

    def race(_: int) -> Claim | None:
        start.wait(60)
        return claim(records, node_id(run_id, "a"))

    with ThreadPoolExecutor(8) as pool:
        won = [one for one in pool.map(race, range(8)) if one is not None]

    assert len(won) == 1
    assert row(records, won[0].id).lease_token == won[0].token


def test_claim_is_refused_while_a_step_is_pending_or_its_run_stopped(records: SqlRecords) -> None:
    pending = insert(records, new_run("a"))
    stopped = insert(records, new_run("a", queued=True))
    records.autocommit(lambda tx: tx.runs.stop(stopped, because("it broke")))

    assert claim(records, node_id(pending, "a")) is None
    assert claim(records, node_id(stopped, "a")) is None
    assert claim(records, StepRunId(uuids.uuid7())) is None


def test_retry_is_claimed_when_it_is_due(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    first = claimed(records, run_id)
    failed = Outcome(error_type="E", error_message="why\0", metadata={"traceback": "t\0"})

    assert records.autocommit(lambda tx: tx.steps.retry(first, failed, timedelta(seconds=50)))

    assert status(records, run_id) is StepState.RETRYING
    assert claim(records, first.id) is None
    late(records, "wake_at")
    second = claimed(records, run_id)
    assert second.attempt == 2
    assert row(records, first.id).error_message == "why\N{SYMBOL FOR NULL}"


@pytest.mark.parametrize("write", ["complete", "fail", "retry", "wait"])
def test_write_of_an_attempt_that_lost_its_lease_changes_nothing(
    records: SqlRecords, write: str
) -> None:
    run_id = insert(records, new_run("a", queued=True))
    old = claimed(records, run_id)
    late(records, "lease_expires_at")
    records.transaction(
        lambda tx: tx.sweeps.expired_leases(max_recoveries=3, resend_after=LATER, limit=10)
    )
    new = claimed(records, run_id)
    writes: dict[str, Any] = {
        "complete": lambda tx: tx.steps.complete(old, stored(old, b'"old"'), advanced=True),
        "fail": lambda tx: tx.steps.fail(old, Outcome(error_message="old"), advanced=True),
        "retry": lambda tx: tx.steps.retry(old, Outcome(), NOW),
        "wait": lambda tx: tx.steps.wait(old),
    }

    assert not records.autocommit(writes[write])

    after = row(records, old.id)
    assert (after.status, after.lease_token) == ("running", new.token)
    assert (after.outputs, after.error_message, after.recoveries) == (None, None, 1)


def test_second_completion_changes_nothing(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)

    assert records.autocommit(lambda tx: tx.steps.complete(one, stored(one, b"1"), advanced=False))
    assert not records.autocommit(
        lambda tx: tx.steps.complete(one, stored(one, b"2"), advanced=False)
    )
    assert not records.autocommit(lambda tx: tx.steps.fail(one, Outcome(), advanced=False))

    assert (row(records, one.id).outputs, row(records, one.id).execution_time_ms) == (1, 7)


def test_usage_of_all_attempts_adds_up(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    for attempt in range(10):
        one = claimed(records, run_id)
        before = Usage(3 * attempt, attempt * Decimal("0.1"), attempt)
        assert (one.used, one.execution_time_ms) == (before, 7 * attempt)
        spend(records, one, 3, Decimal("0.1"))
        spend(records, one, cost=None)
        assert records.autocommit(lambda tx: tx.steps.retry(one, stored(one, b""), NOW))
    last = claimed(records, run_id)
    first_started_at = row(records, last.id).first_started_at
    spend(records, last, 1)
    records.autocommit(lambda tx: tx.steps.complete(last, stored(last, b"1"), advanced=True))

    ended = row(records, last.id)
    assert (ended.tokens_used, ended.cost_estimate, ended.unpriced_calls) == (31, Decimal(1), 10)
    assert ended.execution_time_ms == 77
    assert first_started_at is not None
    assert ended.first_started_at == first_started_at
    assert ended.started_at is not None
    assert first_started_at <= ended.started_at
    records.autocommit(lambda tx: tx.runs.roll_up(run_id))
    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    assert (run.total_cost, run.unpriced_calls) == (Decimal(1), 10)


def test_cost_of_a_call_is_unknown_until_it_has_ended(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    caller = Caller(run_id, one.id, one.token, one.attempt)
    records.transaction(
        lambda tx: tx.llm_requests.start([StartedRequest(uuids.uuid7(), caller, "openai", "small")])
    )
    assert row(records, one.id).unpriced_calls == 1

    spend(records, one, 5, Decimal("0.5"))

    assert row(records, one.id).unpriced_calls == 1, "the first call goes on, or nobody ended it"
    view = records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert (view.cost, view.unpriced, view.steps[0].unpriced) == (Decimal("0.5"), 1, 1)


def test_leases_are_renewed_together_and_lost_ones_are_reported(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    one, two = claimed(records, run_id, "a"), claimed(records, run_id, "b")
    records.autocommit(lambda tx: tx.steps.complete(two, stored(two, b"1"), advanced=True))
    late(records, "lease_expires_at")

    alive = records.autocommit(lambda tx: tx.steps.renew([one.token, two.token, token()], LEASE))

    assert alive == {one.token: False}
    assert (
        records.transaction(
            lambda tx: tx.sweeps.expired_leases(max_recoveries=3, resend_after=LATER, limit=10)
        )
        == []
    )
    assert records.autocommit(lambda tx: tx.steps.renew([], LEASE)) == {}


def test_waiting_step_ends_once(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    assert not records.autocommit(
        lambda tx: tx.steps.end_waiting(one.id, StepState.COMPLETED, Outcome())
    )
    assert records.autocommit(lambda tx: tx.steps.wait(one))
    done = stored(one, b'{"a": 1}')

    assert records.autocommit(lambda tx: tx.steps.end_waiting(one.id, StepState.COMPLETED, done))
    assert not records.autocommit(
        lambda tx: tx.steps.end_waiting(one.id, StepState.FAILED, Outcome())
    )

    assert (row(records, one.id).status, row(records, one.id).outputs) == ("completed", {"a": 1})


@pytest.mark.parametrize(
    "codec, data",
    [
        ("json", b'{"b": 1,  "a": [1.0, 1e3, "\\u0000", null]}'),
        ("json", b"null"),
        ("json", '"ünï\u2028"'.encode()),
        ("text", 'text with "quotes" and \0 and ü'.encode()),
        ("bytes", bytes(range(256))),
        ("parquet", b""),
    ],
)
def test_copies_come_back_byte_for_byte(records: SqlRecords, codec: str, data: bytes) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    done = stored(one, data, codec)
    records.autocommit(lambda tx: tx.steps.complete(one, done, advanced=True))
    key = row_key(one.id, one.token)

    other = row_key(one.id, token())
    assert records.autocommit(lambda tx: tx.steps.copies([key])) == {key: data}
    assert records.autocommit(lambda tx: tx.steps.copies([other])) == {}
    assert records.autocommit(lambda tx: tx.steps.stored(run_id, ["a"]))[0].result == done.result


def test_status_comes_with_nodes_once_the_run_has_completed(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    for key in ("a", "b"):
        one = claimed(records, run_id, key)
        records.autocommit(lambda tx: tx.steps.complete(one, stored(one, b"1"), advanced=True))

    def status(run_id: RunId, *keys: str) -> tuple[Any, ...] | None:
        found = records.autocommit(lambda tx: tx.steps.status_and_nodes(run_id, keys))
        return found and (*found[:2], {node.key: node.status for node in found[2]})

    assert status(run_id, "a") == (RunState.RUNNING, None, {})
    records.autocommit(lambda tx: tx.runs.close(run_id, RunState.COMPLETED))
    both = dict.fromkeys(("a", "b"), StepState.COMPLETED)
    assert status(run_id, "a", "b", "none") == (RunState.COMPLETED, None, both)
    assert status(run_id) == (RunState.COMPLETED, None, {})
    assert status(RunId(uuids.uuid7()), "a") is None


# --- advance -------------------------------------------------------------------------------------


def test_dependents_are_counted_down_exactly_once_each(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", "c", pending={"b": 2, "c": 1}))

    assert records.transaction(lambda tx: tx.steps.release(run_id, {"b": 1, "c": 1})) == ["c"]
    assert records.transaction(lambda tx: tx.steps.release(run_id, {"b": 1})) == ["b"]
    assert sorted(records.autocommit(lambda tx: tx.steps.ready(run_id))) == ["a", "b", "c"]


def test_of_many_that_count_down_at_once_one_reaches_zero(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", pending={"a": 8}))
    start = Barrier(8)

    def release(_: int) -> list[str]:
        start.wait(60)
        return records.transaction(lambda tx: tx.steps.release(run_id, {"a": 1}))

    with ThreadPoolExecutor(8) as pool:
        freed = sorted(pool.map(release, range(8)))

    assert freed == [[]] * 7 + [["a"]]


def test_step_is_queued_only_at_zero_and_once(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", pending={"b": 1}))
    batch = batch_of_nodes(run_id, node_id(run_id, "a"))

    def queue() -> list[str]:
        return records.transaction(lambda tx: tx.steps.queue(run_id, batch, ["a", "b"], LATER))

    assert queue() == ["a"]
    assert queue() == []

    found = row(records, node_id(run_id, "a"))
    assert (found.status, found.batch_id) == ("queued", batch)


def test_batch_is_advanced_once(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", "c", queued=True))
    batch = batch_of_nodes(run_id, node_id(run_id, "a"))
    for key in ("a", "b"):
        one = claimed(records, run_id, key)
        records.autocommit(lambda tx: tx.steps.complete(one, Outcome(), advanced=False))

    first = records.transaction(lambda tx: tx.steps.advance(run_id, batch))

    assert first == {"a": StepState.COMPLETED, "b": StepState.COMPLETED}
    assert records.transaction(lambda tx: tx.steps.advance(run_id, batch)) == {}
    assert records.transaction(lambda tx: tx.steps.advance(run_id, None, ["a", "c"])) == {}


def test_settled_steps_stay_as_they_are(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", "c"))
    settle: Any = lambda keys, state, **o: records.transaction(  # noqa: E731
        lambda tx: tx.steps.end_nodes(run_id, keys, state, **o)
    )

    assert sorted(settle(["a", "b"], StepState.SKIPPED)) == ["a", "b"]
    assert settle(["a"], StepState.CANCELLED) == []
    assert settle(["c"], StepState.FAILED, reason="unreadable") == ["c"]

    failed = records.autocommit(lambda tx: tx.steps.failed(run_id))
    assert [(one.key, one.error_message) for one in failed] == [("c", "unreadable")]
    assert records.autocommit(lambda tx: tx.steps.advance(run_id, None, ["a", "b", "c"])) == {}


def test_step_that_a_worker_holds_is_not_settled(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    claimed(records, run_id)

    assert (
        records.transaction(lambda tx: tx.steps.end_nodes(run_id, ["a"], StepState.CANCELLED)) == []
    )


@pytest.mark.parametrize("count", [1, 3, 2500])
def test_map_is_expanded_once(records: SqlRecords, count: int) -> None:
    run_id = insert(records, new_run("a", "b", pending={"b": 1}))
    ids = expanded(records, run_id, count)

    node = node_id(run_id, "a")
    assert not records.transaction(
        lambda tx: tx.steps.expand(run_id, "a", [], batch_of_items(node), LATER)
    )

    assert records.autocommit(lambda tx: tx.steps.counts(run_id, "a")) == {StepState.QUEUED: count}
    assert [
        i.map_index for i in records.autocommit(lambda tx: tx.steps.items(run_id, "a"))
    ] == list(range(count))
    one = claim(records, ids[-1])
    assert one is not None
    assert (one.map_index, one.inputs) == (count - 1, {"n": count - 1})
    view = records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert view.total == count + 1


def test_large_map_is_expanded_in_few_statements(records: SqlRecords) -> None:
    """One for the map, and one for each 2,000 items."""
    run_id, said = insert(records, new_run("a")), []

    def look(*given: Any) -> None:
        said.append(given[2].split()[0])

    event.listen(records.engine, "before_cursor_execute", look)
    expanded(records, run_id, 5_000)
    event.remove(records.engine, "before_cursor_execute", look)

    assert said.count("INSERT") == 3
    assert said.count("UPDATE") <= 1


def test_map_over_nothing_is_settled(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))

    records.transaction(
        lambda tx: tx.steps.end_nodes(run_id, ["a"], StepState.COMPLETED, map_size=0)
    )

    view = records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert (view.total, view.steps[0].map_size, view.steps[0].status) == (0, 0, StepState.COMPLETED)
    assert records.autocommit(lambda tx: tx.steps.items(run_id, "a")) == []


def test_cancelling_leaves_what_workers_hold(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    ids = expanded(records, insert(records, new_run("a", "b")), 3)
    held = claimed(records, run_id, "a")

    assert records.transaction(lambda tx: tx.steps.cancel_open(run_id)) == 1

    assert status(records, run_id, "a") is StepState.RUNNING
    assert status(records, run_id, "b") is StepState.CANCELLED
    assert row(records, ids[0]).status == "queued", "another run's"
    assert records.autocommit(lambda tx: tx.steps.has_open(run_id))
    assert records.autocommit(lambda tx: tx.steps.complete(held, Outcome(), advanced=True))
    assert not records.autocommit(lambda tx: tx.steps.has_open(run_id))


def test_items_of_one_map_are_cancelled_alone(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b"))
    ids = expanded(records, run_id, 3)
    assert claim(records, ids[1]) is not None

    assert records.transaction(lambda tx: tx.steps.cancel_open(run_id, "a")) == 2

    counts = records.autocommit(lambda tx: tx.steps.counts(run_id, "a"))
    assert counts == {StepState.CANCELLED: 2, StepState.RUNNING: 1}
    assert status(records, run_id, "b") is StepState.PENDING
    assert status(records, run_id, "a") is StepState.RUNNING


def test_first_failed_item_is_the_one_that_failed_first(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))
    ids = expanded(records, run_id, 3)
    for index in (2, 0):
        one = claim(records, ids[index])
        assert one is not None
        why = Outcome(error_type="E", error_message=str(index), metadata={"item": index})
        records.autocommit(lambda tx: tx.steps.fail(one, why, advanced=True))

    first = records.autocommit(lambda tx: tx.steps.first_failed_item(run_id, "a"))

    assert first is not None
    assert first.error_message in {"2", "0"}
    assert records.autocommit(lambda tx: tx.steps.failed(run_id)) == []
    item = records.autocommit(lambda tx: tx.steps.item(run_id, "a", 2))
    assert item is not None
    assert (item.status, item.metadata) == (StepState.FAILED, {"item": 2})


# --- sweeps --------------------------------------------------------------------------------------


def unclaimed(records: SqlRecords, limit: int = 100) -> list[UnclaimedStep]:
    return records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=limit))


def put_off(records: SqlRecords, found: list[UnclaimedStep], longest: timedelta) -> set[StepRunId]:
    return records.transaction(lambda tx: tx.sweeps.snooze(found, LATER, longest))


def clock(records: SqlRecords) -> datetime:
    """The database's clock."""
    with records.engine.connect() as connection:
        return connection.execute(select(DbNow())).scalar_one()


def is_left_alone(records: SqlRecords, step_id: UUID, seconds: float, since: datetime) -> bool:
    """Whether a row is left alone for so long, counted from some moment since then."""
    wake_at, wait = row(records, step_id).wake_at, timedelta(seconds=seconds)
    assert wake_at is not None
    return since + wait <= wake_at <= clock(records) + wait


def test_queued_step_that_nobody_took_is_left_alone_for_longer_each_time(
    records: SqlRecords,
) -> None:
    before = clock(records)
    run_id = insert(records, new_run("a", queued=True))
    step_id = node_id(run_id, "a")
    assert unclaimed(records) == []
    assert is_left_alone(records, step_id, 60, before)

    for count, wait in enumerate([120, 240, 480, 600, 600]):
        late(records, "wake_at")
        (found,) = unclaimed(records)
        assert (found.id, found.place.key, found.resends) == (step_id, "a", count)
        before = clock(records)
        assert put_off(records, [found], timedelta(seconds=600)) == {step_id}
        assert unclaimed(records) == []
        assert is_left_alone(records, step_id, wait, before)

    claimed(records, run_id)
    assert row(records, step_id).resends == 0


def test_most_overdue_steps_are_found_first(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))
    ids = expanded(records, run_id, 4)
    with records.engine.begin() as connection:
        for age, index in enumerate((2, 0, 3, 1)):
            query = update(FlowStepRun).where(FlowStepRun.id == ids[index])
            connection.execute(query.values(wake_at=DbNow(-100 + age)))

    assert [one.place.map_index for one in unclaimed(records, limit=3)] == [2, 0, 3]


def test_step_that_was_claimed_meanwhile_is_not_deferred(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    late(records, "wake_at")
    found = unclaimed(records)
    claimed(records, run_id, "a")

    assert put_off(records, found, LATER) == {node_id(run_id, "b")}
    assert put_off(records, found, LATER) == set()
    assert row(records, node_id(run_id, "a")).wake_at is None


def test_due_retry_becomes_queued(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowq.adapters.records.sweeps.steps._RETRY_GRACE", 60.0)
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    records.autocommit(lambda tx: tx.steps.retry(one, Outcome(), NOW))
    due: Any = lambda: records.transaction(lambda tx: tx.sweeps.due(resend_after=LATER, limit=10))  # noqa: E731

    assert due() == [], "its own message gets time to arrive"
    late(records, "wake_at")
    assert [place.key for place in due()] == ["a"]
    assert due() == []
    assert status(records, run_id) is StepState.QUEUED


def test_step_whose_lease_lapsed_is_queued_until_it_was_recovered_too_often(
    records: SqlRecords,
) -> None:
    run_id = insert(records, new_run("a", queued=True))

    def lapsed() -> list[ExpiredLease]:
        return records.transaction(
            lambda tx: tx.sweeps.expired_leases(max_recoveries=2, resend_after=LATER, limit=10)
        )

    for count in (1, 2):
        claimed(records, run_id)
        assert lapsed() == []
        late(records, "lease_expires_at")
        (found,) = lapsed()
        assert (found.failed, found.place.key) == (False, "a")
        assert row(records, node_id(run_id, "a")).recoveries == count
        assert lapsed() == []
    claimed(records, run_id)
    late(records, "lease_expires_at")

    (found,) = lapsed()

    assert found.failed
    assert found.batch == batch_of_nodes(run_id, node_id(run_id, "a"))
    after = row(records, node_id(run_id, "a"))
    assert (after.status, after.error_type, after.lease_token) == ("failed", "WorkerLost", None)
    assert after.error_message is not None
    assert "the last one was host:1" in after.error_message
    assert "recovered 2 times" in after.error_message
    assert (after.completed_at is not None, after.wake_at) == (True, None)


def test_many_sweepers_at_once_take_each_row_once(records: SqlRecords) -> None:
    ids = expanded(records, insert(records, new_run("a")), 40)
    late(records, "wake_at")
    start = Barrier(6)

    def sweep(_: int) -> list[Any]:
        start.wait(60)
        found: list[Any] = []
        for _ in range(8):
            some = unclaimed(records, limit=10)
            found += put_off(records, some, LATER)
        return found

    with ThreadPoolExecutor(6) as pool:
        taken = [step_id for part in pool.map(sweep, range(6)) for step_id in part]

    assert sorted(taken) == sorted(ids)


def test_batches_that_ended_without_an_advance_are_found(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    find: Any = lambda grace: records.autocommit(  # noqa: E731
        lambda tx: tx.sweeps.unadvanced(grace=grace, limit=10)
    )
    for key in ("a", "b"):
        assert find(-LATER) == [], "others of the batch have not ended"
        one = claimed(records, run_id, key)
        records.autocommit(lambda tx: tx.steps.complete(one, Outcome(), advanced=False))

    assert find(LATER) == [], "its chord gets time to arrive"
    late(records, "completed_at")
    assert find(LATER) == [batch_of_nodes(run_id, node_id(run_id, "a"))]
    records.transaction(lambda tx: tx.steps.advance(run_id, BatchId(find(LATER)[0])))
    assert find(LATER) == []


def test_batch_with_a_failure_is_found_before_all_of_it_has_ended(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    one = claimed(records, run_id)
    records.autocommit(lambda tx: tx.steps.fail(one, Outcome(), advanced=False))
    late(records, "completed_at")

    found = records.autocommit(lambda tx: tx.sweeps.unadvanced(grace=LATER, limit=10))

    assert found == [batch_of_nodes(run_id, node_id(run_id, "a"))]


def test_map_whose_items_have_all_ended_is_found(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a"))
    ids = expanded(records, run_id, 2)
    late(records, "started_at")
    find: Any = lambda: records.autocommit(lambda tx: tx.sweeps.unadvanced(grace=NOW, limit=10))  # noqa: E731

    for step_id in ids:
        assert find() == []
        one = claim(records, step_id)
        assert one is not None
        records.autocommit(lambda tx: tx.steps.complete(one, Outcome(), advanced=False))

    assert find() == [batch_of_items(node_id(run_id, "a"))]


def test_runs_that_only_an_advance_can_move_are_stalled(records: SqlRecords) -> None:
    ready = insert(records, new_run("a"))
    waiting = insert(records, new_run("a", pending={"a": 1}))
    queued = insert(records, new_run("a", queued=True))
    ended = insert(records, new_run("a"))
    records.transaction(lambda tx: tx.steps.end_nodes(ended, ["a"], StepState.SKIPPED))
    stopping = insert(records, new_run("a", queued=True))
    records.autocommit(lambda tx: tx.runs.stop(stopping, because("it broke")))
    held = insert(records, new_run("a", queued=True))
    claimed(records, held)
    records.autocommit(lambda tx: tx.runs.stop(held, because("it broke")))

    found = records.autocommit(lambda tx: tx.sweeps.stalled(within=ALL, grace=-LATER, limit=10))

    assert set(found) == {ready, ended, stopping}
    assert not {waiting, queued, held} & set(found)
    assert records.autocommit(lambda tx: tx.sweeps.stalled(within=ALL, grace=LATER, limit=10)) == []


def test_open_runs_are_rolled_up_from_time_to_time(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    one = claimed(records, run_id)
    records.autocommit(lambda tx: tx.steps.complete(one, Outcome(), advanced=False))
    claimed(records, run_id, "b")
    stale: Any = lambda age: records.autocommit(  # noqa: E731
        lambda tx: tx.sweeps.stale(within=ALL, age=age, limit=10)
    )

    assert stale(LATER) == []  # younger than that
    with records.engine.begin() as connection:
        connection.execute(update(FlowRun).values(created_at=DbNow(-2 * LATER.total_seconds())))
    assert stale(LATER) == [run_id]
    assert records.autocommit(lambda tx: tx.runs.roll_up(run_id))

    assert stale(LATER) == []
    run = records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert run is not None
    assert (run.step_progress, run.progress_percentage, run.current_step) == (1, 50.0, "b")
    records.autocommit(lambda tx: tx.runs.close(run_id, RunState.COMPLETED))
    assert not records.autocommit(lambda tx: tx.runs.roll_up(run_id))


# --- the database itself -------------------------------------------------------------------------


def test_killed_connections_of_the_pool_are_replaced(records: SqlRecords) -> None:
    if records.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has no connections that anyone could kill")
    run_id = insert(records, new_run("a", "b", queued=True))
    # It waits until they are gone: one that is asked before that answers, and dies then.
    kill = (
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid()"
    )

    def kill_all() -> None:
        killer = SqlRecords(records.url.render_as_string(hide_password=False))
        with killer.engine.connect() as connection:
            connection.execute(text(kill + " AND datname = current_database()"))
        killer.close()

    kill_all()
    assert claim(records, node_id(run_id, "a")) is not None
    kill_all()
    assert (
        records.transaction(lambda tx: tx.steps.end_nodes(run_id, ["b"], StepState.SKIPPED)) == []
    )
    assert status(records, run_id, "b") is StepState.QUEUED


def test_statement_whose_answer_was_lost_is_repeated_unless_it_is_to_be_sent_once(
    records: SqlRecords,
) -> None:
    if records.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has no connections that could be lost")
    run_id = insert(records, new_run("a", "b", queued=True))
    asked: list[str] = []

    def claim_and_die(tx: SqlTransaction, key: str) -> object:
        asked.append(key)
        node = node_id(run_id, key)
        claimed = tx.steps.claim(node, token=token(), lease=LEASE, worker="w")
        if asked.count(key) == 1:
            tx.steps._run(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return claimed

    assert records.autocommit(lambda tx: claim_and_die(tx, "a")) is None
    with pytest.raises(errors.DatabaseUnavailable):
        records.autocommit(lambda tx: claim_and_die(tx, "b"), idempotent=False)

    assert asked == ["a", "a", "b"]
    assert status(records, run_id, "b") is StepState.RUNNING


def test_database_that_does_not_answer_is_given_up(records: SqlRecords) -> None:
    if records.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite answers or is locked, which has a timeout of its own")
    url = records.url.render_as_string(hide_password=False)
    impatient = SqlRecords(url, timeout=0.3)

    def answers() -> bool:
        """Whether it has an answer in time; on a busy machine not each time."""
        try:
            node = impatient.autocommit(lambda tx: tx.steps.node(StepRunId(uuid4())))
        except errors.DatabaseUnavailable:
            return False
        assert node is None
        return True

    wait_until(answers, what="the database answers")
    began = time.monotonic()

    with pytest.raises(errors.DatabaseUnavailable, match=r"not answered for 0\.3 s"):
        impatient.autocommit(lambda tx: tx.steps._run(text("SELECT pg_sleep(600)")))
    with pytest.raises(errors.DatabaseUnavailable, match=r"not answered for 0\.3 s"):
        impatient.transaction(lambda tx: tx.steps._run(text("SELECT pg_sleep(600)")))

    assert time.monotonic() - began < 60
    wait_until(answers, what="the database answers again")
    impatient.close()


def test_locks_of_a_client_that_has_gone_without_a_word_end(records: SqlRecords) -> None:
    if records.url.get_backend_name() == "sqlite":
        pytest.skip("the locks of SQLite end with their process")
    run_id = insert(records, new_run("a", queued=True))
    node = node_id(run_id, "a")
    gone = SqlRecords(records.url.render_as_string(hide_password=False), timeout=0.5)

    def claim(tx: SqlTransaction) -> object:
        return tx.steps.claim(node, token=token(), lease=LEASE, worker="w")

    def begun() -> Connection | None:
        """A transaction that holds the row; on a busy machine its session may have ended."""
        connection = gone.engine.connect()
        try:
            connection.exec_driver_sql("BEGIN")
            assert claim(SqlTransaction(connection)) is not None
        except DBAPIError:
            connection.invalidate()
            connection.close()
            return None
        return connection

    connection = wait_until(begun, what="a transaction holds the row")
    assert connection is not None
    began = time.monotonic()
    assert records.transaction(claim) is not None  # once the other's transaction is undone
    assert time.monotonic() - began < 60
    connection.invalidate()
    connection.close()
    gone.close()


def test_writers_at_once_wait_for_each_other(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", pending={"a": 200}))

    def write(_: int) -> None:
        records.transaction(lambda tx: tx.steps.release(run_id, {"a": 1}))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(200)))

    assert records.autocommit(lambda tx: tx.steps.ready(run_id)) == ["a"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ada:hunter2@127.0.0.1:1/flowq",
        "postgresql+psycopg://ada:hunter2@/flowq?host=/nowhere",
        "postgresql+psycopg://ada:hunter2@/flowq?host=127.0.0.1:1&host=127.0.0.1:2",
    ],
)
def test_database_that_is_away_is_an_error_without_its_password(url: str) -> None:
    records = SqlRecords(url)
    try:
        for call in (records.autocommit, records.transaction):
            with pytest.raises(errors.DatabaseUnavailable) as away:
                call(lambda tx: tx.runs.status(RunId(uuids.uuid7())))
            assert "hunter2" not in str(away.value)
            assert away.value.hint
    finally:
        records.close()


def test_sqlite_file_that_is_not_there_has_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "no such folder" / "flowq.db"
    records = SqlRecords(f"sqlite:///{file}")
    for call in (records.autocommit, records.transaction):
        with pytest.raises(errors.DatabaseNotMigrated, match="no flowq tables") as absent:
            call(lambda tx: tx.runs.status(RunId(uuids.uuid7())))
        assert str(file) in str(absent.value)
        assert "flowq db upgrade" in str(absent.value)
    records.close()


@pytest.mark.parametrize("url", ["no url with hunter2", "mysql+nothing://ada:hunter2@x/y", ""])
def test_url_that_names_no_database_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(errors.DatabaseUnavailable) as wrong:
        SqlRecords(url)

    assert "hunter2" not in str(wrong.value)
    assert "postgresql+psycopg://" in str(wrong.value)


# --- cancel --------------------------------------------------------------------------------------


def test_run_is_asked_to_cancel_once_and_the_first_reason_is_kept(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    failing = insert(records, new_run("a", queued=True))
    records.autocommit(lambda tx: tx.runs.stop(failing, because("it broke")))
    ended = insert(records, new_run("a", queued=True))
    records.autocommit(lambda tx: tx.runs.close(ended, RunState.COMPLETED))

    def ask(reason: str) -> set[RunId]:
        runs = [run_id, failing, ended]
        return set(records.transaction(lambda tx: tx.runs.request_cancel(runs, because(reason))))

    assert ask("first") == {run_id, failing}, "also one that stops by itself, but none that ended"
    assert ask("second") == set()
    for each, status, error in [
        (run_id, "cancelling", "first"),
        (failing, "cancelling", "it broke"),
        (ended, "completed", None),
    ]:
        run = records.autocommit(lambda tx: tx.runs.by_id(each))
        assert run is not None
        assert (run.status, run.error_message) == (status, error)


def test_attempts_of_a_cancelled_run_are_reported(records: SqlRecords) -> None:
    cancelled, other = (insert(records, new_run("a", "b", queued=True)) for _ in range(2))
    mine, ended, yours = (
        claimed(records, run_id, key)
        for run_id, key in [(cancelled, "a"), (cancelled, "b"), (other, "a")]
    )
    tokens = [mine.token, ended.token, yours.token]
    assert records.autocommit(lambda tx: tx.steps.cancel_asked(tokens)) == set()

    records.transaction(lambda tx: tx.runs.request_cancel([cancelled], because("why")))
    records.autocommit(lambda tx: tx.steps.complete(ended, stored(ended, b"1"), advanced=True))

    assert records.autocommit(lambda tx: tx.steps.cancel_asked(tokens)) == {mine.token}
    renewed = records.autocommit(lambda tx: tx.steps.renew(tokens, LEASE))
    assert renewed == {mine.token: True, yours.token: False}


def test_attempt_is_cancelled_by_its_lease_and_only_in_a_run_that_stops(
    records: SqlRecords,
) -> None:
    run_id = insert(records, new_run("a", queued=True))
    mine = claimed(records, run_id)
    spend(records, mine, 5, Decimal("0.5"))
    used = stored(mine, b"1")
    assert not records.autocommit(lambda tx: tx.steps.cancel(mine, used)), "the run goes on"
    records.transaction(lambda tx: tx.runs.request_cancel([run_id], because("why")))
    stranger = replace(mine, token=token())

    assert not records.autocommit(lambda tx: tx.steps.cancel(stranger, used))
    assert records.autocommit(lambda tx: tx.steps.cancel(mine, used))
    assert not records.autocommit(lambda tx: tx.steps.cancel(mine, used))
    assert not records.autocommit(lambda tx: tx.steps.complete(mine, used, advanced=True))

    step = row(records, mine.id)
    assert (step.status, step.lease_token, step.lease_expires_at) == ("cancelled", None, None)
    assert (step.result, step.outputs, step.advanced) == (None, None, True)
    assert (step.tokens_used, step.cost_estimate, step.execution_time_ms) == (5, Decimal("0.5"), 7)
    assert step.completed_at is not None


def test_child_run_is_an_orphan_once_its_step_has_ended(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    one, two = claimed(records, run_id, "a"), claimed(records, run_id, "b")
    for waiting in (one, two):
        assert records.autocommit(lambda tx: tx.steps.wait(waiting))
    child = insert(records, new_run("x", parent=one.id))
    insert(records, new_run("x", parent=two.id))
    ended = insert(records, new_run("x", parent=one.id))
    records.autocommit(lambda tx: tx.runs.close(ended, RunState.COMPLETED))
    assert records.autocommit(lambda tx: tx.runs.orphans([run_id])) == []

    records.autocommit(lambda tx: tx.steps.end_waiting(one.id, StepState.FAILED, Outcome()))

    found = records.autocommit(lambda tx: tx.runs.orphans([run_id]))
    assert found == [Orphan(child, "a", run_id, StepState.FAILED)]
    assert found == records.autocommit(lambda tx: tx.sweeps.orphans(within=ALL, limit=10))
    records.transaction(lambda tx: tx.runs.request_cancel([child], because("why")))
    assert records.autocommit(lambda tx: tx.runs.orphans([run_id])) == []
    assert records.autocommit(lambda tx: tx.sweeps.orphans(within=ALL, limit=10)) == []


def test_cancel_waits_for_a_step_that_has_looked_at_its_run(records: SqlRecords) -> None:
    """Whoever looks and then inserts a child run has done so before the cancel goes on."""
    run_id = insert(records, new_run("a", queued=True))
    order: list[str] = []

    def look(tx: Any) -> None:
        assert tx.runs.status_kept(run_id) is RunState.RUNNING
        asking.append(pool.submit(records.transaction, ask))
        with pytest.raises(TimeoutError):
            asking[0].result(0.3)  # it would be through by now, if nothing held it
        order.append("looked")

    def ask(tx: Any) -> None:
        assert tx.runs.request_cancel([run_id], because("why")) == [run_id]
        order.append("asked")

    asking: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        records.transaction(look)
        asking[0].result(60)

    assert order == ["looked", "asked"]
    assert records.transaction(lambda tx: tx.runs.status_kept(run_id)) is RunState.CANCELLING
    assert records.transaction(lambda tx: tx.runs.status_kept(RunId(uuids.uuid7()))) is None, (
        "it is gone"
    )


# --- cached results ------------------------------------------------------------------------------


def test_cached_result_is_found_until_it_expires(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    outcome = stored(one, b'{"b": [1, 2]}')
    assert records.autocommit(lambda tx: tx.cached.find("k")) is None

    assert records.autocommit(lambda tx: tx.cached.put("k", one, outcome, LATER))

    found = records.autocommit(lambda tx: tx.cached.find("k"))
    assert found is not None
    assert (one.id, outcome.result, outcome.copy) == (found.step_id, found.ref, found.copy)
    assert records.autocommit(lambda tx: tx.cached.put("k", one, outcome, -LATER)), "it is replaced"
    assert records.autocommit(lambda tx: tx.cached.find("k")) is None
    assert records.autocommit(lambda tx: tx.cached.purge(2 * LATER)) == 0
    assert records.autocommit(lambda tx: tx.cached.purge(NOW)) == 1


def test_attempt_that_lost_its_lease_caches_nothing(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    loser = replace(one, token=token())

    assert not records.autocommit(lambda tx: tx.cached.put("k", loser, stored(one, b"1"), LATER))
    assert records.autocommit(lambda tx: tx.cached.find("k")) is None


def test_hit_says_whose_result_it_is_and_what_it_saved(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    one, two = claimed(records, run_id), claimed(records, run_id, "b")
    usage = Usage(tokens=7, cost=Decimal("0.000000001"))
    hit = CacheEntry(one.id, stored(one, b"1").result or NO_RESULT, b"1", usage)

    records.autocommit(
        lambda tx: tx.steps.complete(two, replace(stored(two, b"1"), hit=hit), advanced=True)
    )

    found = row(records, two.id)
    assert (one.id, 7, usage.cost) == (found.cached_from, found.saved_tokens, found.saved_cost)
    assert not found.tokens_used
    assert not found.cost_estimate
    view = records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert (1, usage) == (view.hits, view.saved)


# --- pause ---------------------------------------------------------------------------------------


def test_paused_run_has_no_step_to_claim(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))

    assert records.transaction(lambda tx: tx.runs.pause([run_id], because("why"))) == [run_id]
    assert records.transaction(lambda tx: tx.runs.pause([run_id], because("again"))) == []

    assert claim(records, node_id(run_id, "a")) is None
    assert records.autocommit(lambda tx: tx.runs.status(run_id)) is RunState.PAUSED
    assert ending(records, run_id).stop == because("why")
    assert records.transaction(lambda tx: tx.runs.resume([run_id])) == [run_id]
    assert records.transaction(lambda tx: tx.runs.resume([run_id])) == []
    assert ending(records, run_id).stop is None
    assert claim(records, node_id(run_id, "a")) is not None


def test_parked_step_is_out_of_the_sweepers_sight(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", "b", queued=True))
    other = insert(records, new_run("a", queued=True))
    records.transaction(lambda tx: tx.runs.pause([run_id], because("why")))

    assert records.transaction(lambda tx: tx.steps.park([run_id])) == 2

    assert records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=10)) == []
    unparked = records.transaction(lambda tx: tx.steps.unpark([run_id], NOW, NOW))
    assert {StepRef(run_id, "a", None), StepRef(run_id, "b", None)} == set(unparked)
    found = records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=10))
    assert {one.id for one in found} == {node_id(run_id, "a"), node_id(run_id, "b")}
    assert status(records, other) is StepState.QUEUED


def test_overdue_step_of_a_paused_run_is_parked_and_not_sent(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    other = insert(records, new_run("a", queued=True))
    records.transaction(lambda tx: tx.runs.pause([run_id], because("why")))
    late(records, "wake_at")
    found = records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=10))
    assert len(found) == 2

    assert records.transaction(lambda tx: tx.sweeps.snooze(found, NOW, NOW)) == {
        node_id(other, "a")
    }

    left = records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=10))
    assert [one.id for one in left] == [node_id(other, "a")]
    wake_at = row(records, node_id(run_id, "a")).wake_at
    assert wake_at is not None
    assert wake_at > datetime.now(UTC) + timedelta(days=36_000)


def test_child_runs_are_those_that_a_step_waits_for(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    one = claimed(records, run_id)
    records.autocommit(lambda tx: tx.steps.wait(one))
    child = insert(records, new_run("x", parent=one.id))
    insert(records, new_run("x"))

    assert records.autocommit(lambda tx: tx.runs.children([run_id], RunState.RUNNING)) == [child]
    assert records.autocommit(lambda tx: tx.runs.children([run_id], RunState.PAUSED)) == []
    records.transaction(lambda tx: tx.runs.pause([child], because("why")))
    assert records.autocommit(lambda tx: tx.runs.children([run_id], RunState.PAUSED)) == [child]


@pytest.mark.parametrize("kind", list(StopKind))
def test_reason_is_kept_and_cleared_as_one(records: SqlRecords, kind: StopKind) -> None:
    """A pause, a stop, a cancel or a close: text, kind and step tell of the same moment."""
    run_id = insert(records, new_run("a", queued=True))
    step = node_id(run_id, "a") if kind is StopKind.FAILED else None
    reason, end = StopReason(kind, "why", step), because("an end")

    def stored() -> tuple[str | None, StopKind | None, Any]:
        view = records.autocommit(lambda tx: tx.runs.head(run_id))
        assert view is not None
        return view.error, view.stop_kind, view.failed_step_id

    def paused() -> list[RunId]:
        before = RunId(UUID(int=run_id.int - 1))
        return records.autocommit(lambda tx: tx.sweeps.paused(kind, after=before, limit=1))

    records.transaction(lambda tx: tx.runs.pause([run_id], reason))
    assert (stored(), paused()) == (("why", kind, step), [run_id])
    records.transaction(lambda tx: tx.runs.resume([run_id]))
    assert (stored(), paused()) == ((None, None, None), [])

    assert records.autocommit(lambda tx: tx.runs.stop(run_id, reason))
    records.transaction(lambda tx: tx.runs.request_cancel([run_id], because("a cancel")))
    assert stored() == ("why", kind, step)  # it was failing already
    assert records.autocommit(lambda tx: tx.runs.close(run_id, RunState.CANCELLED, reason=end))
    assert stored() == ("why", kind, step)
    assert ending(records, run_id).stop == reason


def test_reason_of_a_pause_gives_way_to_that_of_a_cancel(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    records.transaction(lambda tx: tx.runs.pause([run_id], because("a pause")))

    records.transaction(lambda tx: tx.runs.request_cancel([run_id], because("a cancel")))

    ended = ending(records, run_id)
    assert (ended.status, ended.stop) == (RunState.CANCELLING, because("a cancel"))

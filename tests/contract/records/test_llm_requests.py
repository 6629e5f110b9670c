"""What every database does for calls of models: one suite, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import LlmRequest
from flowq.core.ids import LeaseToken, RunId, StepRunId, batch_of_nodes, node_id
from flowq.core.results import OBJECTS, image_key
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState
from flowq.core.usage import AppliedPrice, CostStatus, RequestStatus, Tokens, Usage
from flowq.engine.model.model_calls import (
    Caller,
    CostBy,
    CostGroup,
    EndedRequest,
    RequestView,
    StartedRequest,
)
from flowq.engine.model.rows import Claim, NewRun, NewStep, Outcome

LEASE = timedelta(seconds=30)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def running(records: SqlRecords, **options: Any) -> Claim:
    """A run of one step, which is running."""
    run_id = RunId(uuids.uuid7())
    node = node_id(run_id, "a")
    step = NewStep(node, "a", "steps.a", 1, 0, {}, batch_of_nodes(run_id, node))
    spec = FlowSpec(name="flow", steps=(StepSpec(key="a", name="steps.a"),))
    name = options.pop("flow_name", "flow")
    run = NewRun(run_id, name, spec, {}, (step,), **options)
    assert records.transaction(lambda tx: tx.runs.insert([run], LEASE))
    return claimed(records, node)


def claimed(records: SqlRecords, step_id: StepRunId) -> Claim:
    token = LeaseToken(uuids.uuid7())
    claim = records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=LEASE, worker="host:1")
    )
    assert claim is not None
    return claim


def caller(claim: Claim, **options: Any) -> Caller:
    options = {"step_name": "steps.a", "flow_name": "flow", **options}
    return Caller(claim.run_id, claim.id, claim.token, claim.attempt, **options)


def started(records: SqlRecords, who: Caller, model: str = "gpt") -> StartedRequest:
    request = StartedRequest(uuids.uuid7(), who, "openai", model)
    records.transaction(lambda tx: tx.llm_requests.start([request]))
    return request


def ended(request: StartedRequest, **options: Any) -> EndedRequest:
    """Ten tokens read, five written, for USD 0.25."""
    given: dict[str, Any] = {
        "status": RequestStatus.COMPLETED,
        "tokens": Tokens(10, 5, 2),
        "cost": Decimal("0.25"),
        "cost_status": CostStatus.KNOWN,
        "latency_ms": 7,
        **options,
    }
    return EndedRequest(request.id, request.caller, **given)


def end(records: SqlRecords, *requests: EndedRequest) -> list[RunId]:
    return records.transaction(lambda tx: tx.llm_requests.end(list(requests)))


def calls(records: SqlRecords, run_id: RunId) -> list[RequestView]:
    return records.autocommit(lambda tx: tx.llm_requests.of_run(run_id))


def used(records: SqlRecords, claim: Claim) -> tuple[int, Decimal]:
    row = records.autocommit(lambda tx: tx.steps.by_id(claim.id))
    assert row is not None
    return row.tokens_used, row.cost_estimate


def totals(records: SqlRecords, claim: Claim) -> tuple[int, Decimal]:
    row = records.autocommit(lambda tx: tx.runs.by_id(claim.run_id))
    assert row is not None
    return row.total_tokens, row.total_cost


def test_a_call_is_there_before_it_has_ended(records: SqlRecords) -> None:
    claim = running(records)

    request = started(records, caller(claim))

    [view] = calls(records, claim.run_id)
    assert (request.id, "openai", "gpt", RequestStatus.STARTED) == (
        view.id,
        view.provider,
        view.model,
        view.status,
    )
    assert (Tokens(), None, CostStatus.UNKNOWN) == (view.tokens, view.cost, view.cost_status)
    assert (0, Decimal(0)) == used(records, claim)


def test_an_ended_call_adds_to_its_step(records: SqlRecords) -> None:
    claim = running(records)
    first, second = started(records, caller(claim)), started(records, caller(claim))

    assert [] == end(records, ended(first))
    assert [] == end(records, ended(second, cost=None, cost_status=CostStatus.UNKNOWN))

    views = calls(records, claim.run_id)
    assert [RequestStatus.COMPLETED] * 2 == [view.status for view in views]
    assert [Tokens(10, 5, 2)] * 2 == [view.tokens for view in views]
    assert [Decimal("0.25"), None] == [view.cost for view in views]
    assert [7, 7] == [view.latency_ms for view in views]
    assert (30, Decimal("0.25")) == used(records, claim)
    row = records.autocommit(lambda tx: tx.steps.by_id(claim.id))
    assert row is not None
    assert second.id == row.llm_request_id


def test_a_call_is_added_once_however_often_it_is_ended(records: SqlRecords) -> None:
    claim = running(records)
    request = started(records, caller(claim))

    for _ in range(3):
        end(records, ended(request))

    assert (15, Decimal("0.25")) == used(records, claim)


def test_a_call_is_added_once_by_many_at_once(records: SqlRecords) -> None:
    claim = running(records)
    requests = [started(records, caller(claim)) for _ in range(5)]
    barrier = threading.Barrier(4)

    def work(_: int) -> None:
        barrier.wait(60)
        for request in requests:
            end(records, ended(request))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert (75, Decimal("1.25")) == used(records, claim)


def test_many_calls_are_ended_together(records: SqlRecords) -> None:
    claims = [running(records) for _ in range(3)]
    requests = [started(records, caller(claim)) for claim in claims for _ in range(2)]

    assert [] == end(records, *[ended(request) for request in requests])

    assert [(30, Decimal("0.50"))] * 3 == [used(records, claim) for claim in claims]


def test_calls_of_an_earlier_attempt_are_lost(records: SqlRecords) -> None:
    claim = running(records)
    first = started(records, caller(claim))
    other = started(records, caller(running(records)))
    assert records.autocommit(lambda tx: tx.steps.release_leases([claim.token]))
    again = claimed(records, claim.id)

    started(records, replace(caller(again), attempt=2))

    assert [RequestStatus.LOST, RequestStatus.STARTED] == [
        view.status for view in calls(records, claim.run_id)
    ]
    assert other.caller.run_id is not None
    [untouched] = calls(records, other.caller.run_id)
    assert RequestStatus.STARTED is untouched.status
    # The worker that seemed gone has slept, and its call was answered: it was paid for.
    assert [claim.run_id] == end(records, ended(first))
    assert RequestStatus.COMPLETED is calls(records, claim.run_id)[0].status
    assert (15, Decimal("0.25")) == used(records, claim)


def test_a_call_that_ends_after_its_run_is_in_the_totals(records: SqlRecords) -> None:
    claim = running(records)
    request = started(records, caller(claim))
    assert records.autocommit(lambda tx: tx.steps.complete(claim, Outcome(), advanced=True))
    assert records.autocommit(lambda tx: tx.runs.close(claim.run_id, RunState.COMPLETED))
    assert (0, Decimal(0)) == totals(records, claim)

    late = end(records, ended(request))
    records.transaction(lambda tx: tx.llm_requests.recompute_totals(late))

    assert [claim.run_id] == late
    assert (15, Decimal("0.25")) == used(records, claim) == totals(records, claim)


def test_an_open_run_is_not_settled(records: SqlRecords) -> None:
    claim = running(records)
    end(records, ended(started(records, caller(claim))))

    records.transaction(lambda tx: tx.llm_requests.recompute_totals([claim.run_id]))

    assert (0, Decimal(0)) == totals(records, claim)


def test_a_call_outside_any_run_is_recorded(records: SqlRecords) -> None:
    request = started(records, Caller(step_name="alone"))

    assert [] == end(records, ended(request))

    [line] = records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.FLOW))
    assert (None, 1, Decimal("0.25")) == (line.name, line.calls, line.cost)


def test_costs_are_summed_by_what_is_asked(records: SqlRecords) -> None:
    ada, bob = running(records), running(records)
    first = caller(ada, flow_name="one", user_id="ada")
    second = caller(bob, flow_name="two", user_id="bob")
    end(records, ended(started(records, first)), ended(started(records, first, "other")))
    end(records, ended(started(records, second), cost=Decimal(2)))
    failed = {"status": RequestStatus.FAILED, "tokens": Tokens(), "cost": None}
    end(records, ended(started(records, second), **failed, cost_status=CostStatus.UNKNOWN))
    started(records, second)

    def costs(by: CostBy, **where: Any) -> list[tuple[Any, ...]]:
        lines = records.autocommit(lambda tx: tx.llm_requests.costs(by, **where))
        return [(one.name, one.calls, one.failed, one.unknown, one.cost) for one in lines]

    assert [("two", 3, 1, 2, Decimal(2)), ("one", 2, 0, 0, Decimal("0.5"))] == costs(CostBy.FLOW)
    assert [("bob", 3, 1, 2, Decimal(2)), ("ada", 2, 0, 0, Decimal("0.5"))] == costs(CostBy.USER)
    assert [
        ("openai:gpt", 4, 1, 2, Decimal("2.25")),
        ("openai:other", 1, 0, 0, Decimal("0.25")),
    ] == (costs(CostBy.MODEL))
    both = records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.MODEL, CostBy.USER))
    assert [("openai:gpt", "bob", 3), ("openai:gpt", "ada", 1), ("openai:other", "ada", 1)] == [
        (one.name, one.also, one.calls) for one in both
    ]
    # All at one moment, since midnight may come at any other.
    at = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
    with records.engine.begin() as connection:
        connection.execute(update(LlmRequest).values(created_at=at))
    assert [("2026-01-02", 5, 1, 2, Decimal("2.5"))] == costs(CostBy.DAY)
    assert [("one", 2, 0, 0, Decimal("0.5"))] == costs(CostBy.FLOW, user_id="ada")
    assert [("ada", 2, 0, 0, Decimal("0.5"))] == costs(CostBy.USER, flow_name="one")
    assert [("ada", 2, 0, 0, Decimal("0.5"))] == costs(CostBy.USER, run_id=ada.run_id)
    soon = at + timedelta(minutes=5)
    assert [] == costs(CostBy.DAY, since=soon)
    assert 1 == len(costs(CostBy.DAY, until=soon))


def test_an_image_is_named_by_its_call_and_goes_with_its_run(records: SqlRecords) -> None:
    claim = running(records)
    request = started(records, caller(claim))
    key = image_key(claim.run_id, claim.id, request.id, "png")
    lost = image_key(claim.run_id, claim.id, uuids.uuid7(), "png")
    end(records, ended(request, object_key=key))
    unnamed = records.autocommit(lambda tx: tx.sweeps.unnamed([key, lost]))
    assert [] == unnamed  # the step may still come to name it
    assert records.autocommit(lambda tx: tx.steps.complete(claim, Outcome(), advanced=True))

    unnamed = records.autocommit(lambda tx: tx.sweeps.unnamed([key, lost]))

    assert [lost] == unnamed
    assert key.startswith(f"{OBJECTS}/")
    assert records.autocommit(lambda tx: tx.runs.close(claim.run_id, RunState.COMPLETED))
    tree = records.transaction(lambda tx: tx.sweeps.delete_tree(claim.run_id))
    assert tree is not None
    assert (key,) == tree.objects
    assert [] == calls(records, claim.run_id)


@pytest.mark.parametrize("key", ["customer", "cost.center", "$", "a b", "[0]", "'; --", "größe"])
def test_costs_are_summed_by_a_label(records: SqlRecords, key: str) -> None:
    claim = running(records)
    for labels in ({key: "acme"}, {key: "acme", "other": "x"}, {key: "7"}, {"other": "acme"}, {}):
        end(records, ended(started(records, caller(claim, labels=labels))))

    group = CostGroup.parse(f"metadata.{key}")
    lines = records.autocommit(lambda tx: tx.llm_requests.costs(group))

    assert {one.name: one.calls for one in lines} == {"acme": 2, "7": 1, None: 2}


def test_call_keeps_the_price_that_it_was_computed_with(records: SqlRecords) -> None:
    claim, price = running(records), AppliedPrice("FLOWQ_PRICES", "$1/input MTok")
    end(records, ended(started(records, caller(claim)), price=price))
    end(records, ended(started(records, caller(claim)), cost=None))

    calls = records.autocommit(lambda tx: tx.llm_requests.of_run(claim.run_id))

    assert [one.price for one in calls] == [price, None]


def test_largest_of_the_last_calls_is_of_one_step_and_model(records: SqlRecords) -> None:
    claim = running(records)
    for step_name, model, cost in (("a", "m", 1), ("a", "m", 3), ("a", "n", 7), ("b", "m", None)):
        request = started(records, caller(claim, step_name=step_name), model)
        end(records, ended(request, tokens=Tokens(10, cost or 1), cost=cost and Decimal(cost)))

    def largest(step_name: str | None, model: str) -> Usage | None:
        return records.autocommit(lambda tx: tx.llm_requests.largest(step_name, model))

    assert largest("a", "openai:m") == Usage(13, Decimal(3))
    assert largest("b", "openai:m") == Usage(11, Decimal(0), 1)
    assert largest("c", "openai:m") is None
    assert largest(None, "openai:m") is None


def test_label_with_a_nul_costs_no_other_call(records: SqlRecords) -> None:
    """PostgreSQL reads no part of such a document; earlier versions may have stored one."""
    claim = running(records)
    for labels in ({"customer": "acme"}, {"customer": "umbrella", "note": "a\0b"}):
        end(records, ended(started(records, caller(claim, labels=labels))))

    lines = records.autocommit(
        lambda tx: tx.llm_requests.costs(CostGroup.parse("metadata.customer"))
    )

    assert {one.name: one.calls for one in lines}["acme"] == 1
    assert sum(one.calls for one in lines) == 2

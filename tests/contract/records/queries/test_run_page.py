"""What the page of a run reads, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from sqlalchemy.orm import Session

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import Base, FlowRun, FlowStepRun, LlmRequest, Meter
from flowq.core.ids import RunId, StepRunId, child_run_id, item_id, node_id
from flowq.core.states import RunState, StepState
from flowq.core.usage import CostStatus, RequestStatus, Usage
from flowq.engine.queries.run_page import FailedStep, ItemFilter, ItemView, RunPage

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COMPLETED, FAILED, RUNNING = StepState.COMPLETED, StepState.FAILED, StepState.RUNNING


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def store(records: SqlRecords, *rows: Base) -> None:
    with Session(records.engine, expire_on_commit=False) as session:
        session.add_all(rows)
        session.commit()


def a_run(run_id: UUID | None = None, **values: Any) -> FlowRun:
    given = {"status": "running", "created_at": BEGAN, "inputs": {"x": 1}, "spec": {}}
    return FlowRun(id=run_id or uuids.uuid7(), **{"flow_name": "f", **given, **values})


def a_step(run: FlowRun, key: str, order: int = 1, **values: Any) -> FlowStepRun:
    given = {"status": "completed", "created_at": BEGAN, "step_name": f"steps.{key}"}
    return FlowStepRun(
        id=node_id(RunId(run.id), key),
        flow_run_id=run.id,
        step_key=key,
        step_order=order,
        **{**given, **values},
    )


def an_item(run: FlowRun, key: str, index: int, **values: Any) -> FlowStepRun:
    step = a_step(run, key, map_index=index, **values)
    step.id = item_id(node_id(RunId(run.id), key), index)
    return step


def page(records: SqlRecords, run: UUID) -> RunPage:
    found = records.autocommit(lambda tx: tx.overview.run_page(RunId(run)))
    assert found is not None
    return found


def keys(records: SqlRecords, run: UUID, **asked: Any) -> list[str]:
    options = {"limit": 100, **asked}
    found = records.autocommit(lambda tx: tx.overview.steps(RunId(run), **options))
    return [step.key for step in found]


def indexes(records: SqlRecords, run: UUID, **asked: Any) -> list[int]:
    options = {"limit": 3, **asked}
    found = records.autocommit(lambda tx: tx.overview.items(RunId(run), "m", **options))
    return [item.index for item in found]


# --- the head ------------------------------------------------------------------------------------


def test_run_that_is_not_there_is_none(records: SqlRecords) -> None:
    assert records.autocommit(lambda tx: tx.overview.run_page(RunId(uuids.uuid7()))) is None


def test_head_counts_the_items_of_a_map_and_not_its_node(records: SqlRecords) -> None:
    run = a_run()
    node = a_step(run, "m", status="running", map_size=3)
    items = [
        an_item(run, "m", 0, tokens_used=5, cost_estimate=Decimal("0.25")),
        an_item(run, "m", 1, status="failed", tokens_used=2, cost_estimate=Decimal("0.5")),
        an_item(run, "m", 2, status="queued", cached_from=uuids.uuid7(), saved_tokens=4),
    ]
    store(records, run, node, *items, a_step(run, "z", 2, status="pending"))

    found = page(records, run.id)

    assert (found.run.done, found.run.total) == (2, 4)
    assert (found.run.tokens, found.run.cost) == (7, Decimal("0.75"))
    counts = {COMPLETED: 1, FAILED: 1, StepState.QUEUED: 1, StepState.PENDING: 1}
    assert found.states == counts
    assert (found.hits, found.saved) == (1, Usage(4))
    assert not found.takes_signals
    assert (found.spent, found.parent, found.children, found.waits) == (None, None, (), ())


def test_head_of_a_run_without_steps_is_empty(records: SqlRecords) -> None:
    run = a_run()
    store(records, run)

    found = page(records, run.id)

    assert (found.run.done, found.run.total, found.run.cost) == (0, 0, Decimal(0))


def test_head_names_parent_and_child_runs(records: SqlRecords) -> None:
    parent = a_run(flow_name="outer", status="completed")
    step = a_step(parent, "inner")
    child_id = child_run_id(StepRunId(step.id))
    child = a_run(child_id, flow_name="inner", status="failed", parent_step_run_id=step.id)
    others = [a_run(UUID(int=child_id.int ^ 1)), a_run()]
    store(records, parent, step, child, *others)

    below, above = page(records, parent.id), page(records, child.id)

    assert [(one.id, one.flow_name, one.status, one.step) for one in below.children] == [
        (child.id, "inner", RunState.FAILED, "inner")
    ]
    assert below.child_count == 1
    assert above.parent is not None
    assert (above.parent.id, above.parent.flow_name) == (parent.id, "outer")
    assert above.parent.step == "inner"


def test_head_lists_the_first_of_many_child_runs_and_counts_all(records: SqlRecords) -> None:
    run = a_run()
    items = [an_item(run, "m", index) for index in range(25)]
    children = [
        a_run(
            child_run_id(StepRunId(item.id)),
            parent_step_run_id=item.id,
            created_at=after(index),
            flow_name=str(index),
        )
        for index, item in enumerate(items)
    ]
    store(records, run, a_step(run, "m", map_size=25), *items, *children)

    found = page(records, run.id)

    assert found.child_count == 25
    assert [one.flow_name for one in found.children] == [str(index) for index in range(10)]


def test_head_says_what_the_budget_has_been_charged(records: SqlRecords) -> None:
    spends = a_run(budget_usd=Decimal(2), budget_action="pause")
    idle = a_run(budget_tokens=100, budget_action="fail")
    meter = Meter(key=f"run:{spends.id}", began_at=BEGAN, used=12, cost=Decimal("1.5"))
    store(records, spends, idle, meter)

    assert page(records, spends.id).spent == Usage(12, Decimal("1.5"))
    assert page(records, idle.id).spent == Usage()


def test_head_has_the_signals_that_are_waited_for(records: SqlRecords) -> None:
    def wait(key: str, order: int, kind: str = "signal", **values: Any) -> FlowStepRun:
        spec = {"key": key, "name": key, "kind": kind}
        options = {"status": "waiting", "step_name": "approve", "spec": spec, **values}
        return a_step(run, key, order, **options)

    run = a_run()
    schema = {"type": "boolean"}
    wanted = wait("approve", 2, inputs={"schema": {"$literal": schema}}, wake_at=after(60))
    rest = [
        wait("approve-2", 3, inputs={}),
        wait("got", 4, status="completed"),
        wait("sleep", 5, kind="timer"),
        wait("called", 6, kind="flow"),
    ]
    program = a_step(run, "p", status="waiting", observed=0)
    store(records, run, program, wanted, *rest)

    assert page(records, run.id).takes_signals
    first, second = page(records, run.id).waits

    assert (first.key, first.name, first.since) == ("approve", "approve", BEGAN)
    assert (first.until, first.schema) == (after(60), schema)
    assert (second.key, second.until, second.schema) == ("approve-2", None, None)


# --- steps and items -----------------------------------------------------------------------------


def test_map_is_one_step_with_counts(records: SqlRecords) -> None:
    run = a_run()
    items = [
        an_item(run, "m", 0, attempt=3, cached_from=uuids.uuid7(), saved_tokens=9),
        an_item(run, "m", 1, status="failed", attempt=1, cost_estimate=Decimal("0.1")),
    ]
    node = a_step(run, "m", 2, status="running", map_size=2)
    store(records, run, a_step(run, "a", worker="here"), node, *items)

    first, found = records.autocommit(lambda tx: tx.overview.steps(RunId(run.id), limit=9))

    assert (first.key, first.worker, first.counts) == ("a", "here", {COMPLETED: 1})
    assert (found.status, found.map_size, found.attempts) == (RUNNING, 2, 3)
    assert found.counts == {COMPLETED: 1, FAILED: 1}
    assert (found.hits, found.saved_tokens, found.cost) == (1, 9, Decimal("0.1"))
    assert (found.inputs, found.metadata) == (None, {})


def test_steps_come_a_page_at_a_time(records: SqlRecords) -> None:
    run, other = a_run(), a_run()
    steps = [a_step(run, f"s{order}", order) for order in (3, 1, 5, 2, 4)]
    store(records, run, other, *steps, a_step(other, "no"))

    assert ["s1", "s2"] == keys(records, run.id, limit=2)
    assert ["s3", "s4"] == keys(records, run.id, limit=2, after=2)
    assert ["s5"] == keys(records, run.id, limit=2, after=4)
    assert ["s3", "s4"] == keys(records, run.id, limit=2, before=5)
    assert [] == keys(records, run.id, limit=2, before=1)


def test_steps_are_found_by_state_and_text(records: SqlRecords) -> None:
    run = a_run()
    steps = [
        a_step(run, "fetch", 1, worker="Host:1"),
        a_step(run, "m", 2, status="running", map_size=2),
        an_item(run, "m", 0, status="failed"),
        a_step(run, "save", 3, status="failed", error_message="50% of it_is gone"),
    ]
    store(records, run, *steps)

    assert ["m", "save"] == keys(records, run.id, status=FAILED)
    assert ["fetch"] == keys(records, run.id, status=COMPLETED)
    assert ["fetch"] == keys(records, run.id, text="host")
    assert ["save"] == keys(records, run.id, text="50%")
    assert ["save"] == keys(records, run.id, text="t_i")
    assert [] == keys(records, run.id, text="%_")
    assert ["save"] == keys(records, run.id, text="gone", status=FAILED, key="save")
    assert [] == keys(records, run.id, text="gone", key="fetch")


def test_items_come_a_page_at_a_time(records: SqlRecords) -> None:
    run = a_run()
    items = [
        an_item(run, "m", index, status="failed" if index % 2 else "completed")
        for index in range(8)
    ]
    store(records, run, a_step(run, "m", map_size=8), *items)

    assert [0, 1, 2] == indexes(records, run.id)
    assert [3, 4, 5] == indexes(records, run.id, after=2)
    assert [2, 3, 4] == indexes(records, run.id, before=5)
    assert [3, 5, 7] == indexes(records, run.id, after=1, wanted=ItemFilter(FAILED))
    assert [1, 3] == indexes(records, run.id, before=5, wanted=ItemFilter(FAILED))
    assert [] == indexes(records, run.id, wanted=ItemFilter(RUNNING))


def test_items_are_found_by_text_and_have_states_and_short_inputs(records: SqlRecords) -> None:
    run = a_run()
    long, node = "x" * 500, a_step(run, "m", map_size=4)
    items = [
        an_item(run, "m", 0, inputs={"page": "Äpfel"}),
        an_item(run, "m", 1, status="failed", error_message="50% are Gone", inputs={"page": long}),
        an_item(run, "m", 3, worker="host:7"),
    ]
    store(records, run, node, *items, an_item(run, "other", 0, inputs={"page": 1}))

    def read(tx: Any) -> tuple[Any, Any, Any]:
        pages, place = tx.overview, (RunId(run.id), "m")
        states = pages.item_states(*place, first=1, limit=2)
        return (
            states,
            pages.item_inputs(*place, longest=400),
            pages.item_inputs(*place, longest=400, indexes=[1, 3]),
        )

    assert [1] == indexes(records, run.id, wanted=ItemFilter(text="gone"))
    assert [3] == indexes(records, run.id, wanted=ItemFilter(text="HOST"))
    assert [0, 1] == indexes(records, run.id, wanted=ItemFilter(text="50%", or_indexes=[0]))
    assert [] == indexes(records, run.id, wanted=ItemFilter(text="5_%"))
    states, inputs, none = records.autocommit(read)
    assert ([(1, FAILED)], {0: {"page": "Äpfel"}}, {}) == (states, inputs, none)


def test_item_has_all_that_is_shown_of_it(records: SqlRecords) -> None:
    run = a_run()
    item = an_item(
        run,
        "m",
        0,
        status="failed",
        attempt=2,
        recoveries=1,
        started_at=after(1),
        completed_at=after(2),
        execution_time_ms=1000,
        tokens_used=3,
        cost_estimate=Decimal("0.5"),
        worker="here",
        error_type="ValueError",
        error_message="no",
        cached_from=uuids.uuid7(),
    )
    expected = ItemView(
        *(StepRunId(item.id), 0, FAILED, 2, 1, after(1), after(2), 1000, 3, Decimal("0.5")),
        *("here", "ValueError", "no", True, 0),
    )
    store(records, run, a_step(run, "m", map_size=1), item)

    assert [expected] == records.autocommit(
        lambda tx: tx.overview.items(RunId(run.id), "m", limit=5)
    )


# --- failures, costs, events ---------------------------------------------------------------------


def test_first_failure_comes_first_and_items_replace_their_map(records: SqlRecords) -> None:
    run = a_run()
    causes = [{"relation": "cause", "error_type": "KeyError", "message": "'k'", "place": None}]
    metadata = {"traceback": "Traceback…", "item": {"n": 1}, "causes": causes}
    steps = [
        a_step(run, "late", 1, status="failed", completed_at=after(9), attempt=1),
        a_step(run, "m", 2, status="failed", map_size=2, completed_at=after(5)),
        an_item(run, "m", 1, status="failed", completed_at=after(4), step_metadata=metadata),
        an_item(run, "m", 0, status="completed", completed_at=after(3)),
        a_step(run, "good", 3),
    ]
    store(records, run, *steps)

    found = records.autocommit(lambda tx: tx.overview.failures(RunId(run.id), limit=5))
    late, node = StepRunId(steps[0].id), StepRunId(steps[1].id)
    of_step = records.autocommit(lambda tx: tx.overview.failures(RunId(run.id), limit=5, step=late))
    of_map = records.autocommit(lambda tx: tx.overview.failures(RunId(run.id), limit=5, step=node))

    assert ["m[1]", "late"] == [one.label for one in found]
    assert found[0] == FailedStep(
        *(StepRunId(steps[2].id), "m", 1, 0, 0, after(4), None, None, None, "Traceback…", {"n": 1}),
        causes=causes,
    )
    assert (found[1].traceback, found[1].item, found[1].causes) == (None, None, None)
    assert ["late"] == [one.label for one in of_step]
    assert ["m[1]"] == [one.label for one in of_map]


def test_costs_are_summed_by_step_or_by_name(records: SqlRecords) -> None:
    run = a_run()
    hit = {"cached_from": uuids.uuid7(), "saved_tokens": 7, "saved_cost": Decimal("0.07")}
    steps = [
        a_step(run, "ask", 1, step_name="ask", tokens_used=10, cost_estimate=Decimal("0.1")),
        a_step(run, "ask-2", 2, step_name="ask", tokens_used=20, cost_estimate=Decimal("0.2")),
        a_step(run, "m", 3, step_name="m", map_size=2),
        an_item(run, "m", 0, step_name="m", **hit),
        an_item(run, "m", 1, step_name="m", **hit),
        a_step(run, "free", 4),
    ]

    def call(step: FlowStepRun, status: str, cost_status: str) -> LlmRequest:
        return LlmRequest(
            id=uuids.uuid7(),
            flow_run_id=run.id,
            flow_step_run_id=step.id,
            provider="p",
            model="m",
            status=status,
            cost_status=cost_status,
            created_at=BEGAN,
        )

    calls = [
        call(steps[0], RequestStatus.COMPLETED, CostStatus.UNKNOWN),
        call(steps[1], RequestStatus.FAILED, CostStatus.KNOWN),
        call(steps[1], RequestStatus.COMPLETED, CostStatus.KNOWN),
    ]
    store(records, run, *steps, *calls)

    found = records.autocommit(lambda tx: tx.overview.step_costs(RunId(run.id), limit=9))
    names = records.autocommit(
        lambda tx: tx.overview.step_costs(RunId(run.id), limit=9, by_name=True)
    )
    least = records.autocommit(lambda tx: tx.overview.step_costs(RunId(run.id), limit=1))

    assert ["ask-2", "ask", "m"] == [one.key for one in found]
    assert [(2, 1, 0), (1, 0, 1), (0, 0, 0)] == [
        (one.calls, one.failed, one.unknown) for one in found
    ]
    assert (found[2].hits, found[2].saved_tokens, found[2].saved_cost) == (2, 14, Decimal("0.14"))
    assert [("ask", 3, 30, Decimal("0.3")), ("m", 0, 0, Decimal(0))] == [
        (one.key, one.calls, one.tokens, one.cost) for one in names
    ]
    assert ["ask-2"] == [one.key for one in least]


def test_newest_marks_are_of_what_happened_last(records: SqlRecords) -> None:
    run = a_run()
    steps = [
        a_step(run, "b", 2, completed_at=after(2)),
        a_step(run, "a", 1, completed_at=after(3)),
        a_step(run, "c", 3, status="running", started_at=after(4)),
        a_step(run, "old", 4, started_at=after(0), completed_at=after(1)),
        a_step(run, "never", 5, status="pending"),
    ]
    store(records, run, *steps)

    marks = records.autocommit(lambda tx: tx.overview.newest_progress(RunId(run.id), limit=3))

    assert ["a", "b", "c"] == [mark.key for mark in marks]


def test_size_of_results_is_that_of_nodes_and_items(records: SqlRecords) -> None:
    run = a_run()
    result = {"place": "row", "key": "k", "size": 10, "sha256": "x"}
    items = [an_item(run, "m", index, result=result) for index in range(3)]
    store(records, run, a_step(run, "a", result=result), a_step(run, "m", map_size=3), *items)

    assert 40 == records.autocommit(lambda tx: tx.overview.result_bytes(RunId(run.id), ["a", "m"]))
    assert 0 == records.autocommit(lambda tx: tx.overview.result_bytes(RunId(run.id), ["none"]))

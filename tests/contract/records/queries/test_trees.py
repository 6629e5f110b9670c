"""The grid of a flow, and the tree of child runs: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event

from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId, StepRunId, child_run_id, item_id, node_id
from flowq.core.states import RunState, StepState
from flowq.engine.queries.children import MAX_OF_LEVEL, MAX_OF_STEP, ChildrenOfRun
from flowq.engine.queries.flow_page import GRID_RUNS, GRID_STEPS, GridCell
from flowq.engine.queries.lists import RunFilter
from tests.contract.records.queries.test_run_page import a_run, a_step, after, an_item, store


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def test_a_grid_has_the_steps_of_the_latest_runs(records: SqlRecords) -> None:
    runs = [
        a_run(UUID(int=n << 80), status="completed", execution_time_ms=n, total_cost=Decimal(n))
        for n in range(1, GRID_RUNS + 3)
    ]
    empty, last = runs[-2], runs[-1]
    steps = [a_step(run, "a", 1, execution_time_ms=7) for run in runs[:-2]]
    called = {"spec": {"key": "x"}, "step_name": "call"}
    calls = [a_step(last, f"call#{n}", n + 2, **called) for n in range(3)]
    calls[1].status = "failed"
    mapped = a_step(last, "m", 1, map_size=2, status="running", execution_time_ms=None)
    items = [an_item(last, "m", index, status="failed") for index in range(2)]
    store(records, *runs, *steps, *calls, mapped, *items, a_run(flow_name="other"))

    grid = records.autocommit(lambda tx: tx.overview.grid("f"))
    none = records.autocommit(lambda tx: tx.overview.grid("none"))

    assert ((), ()) == (none.steps, none.runs)
    assert ("a", "m", "call") == grid.steps
    assert [run.id for run in runs[2:]] == [run.id for run in grid.runs]
    assert {} == next(run for run in grid.runs if run.id == empty.id).cells
    assert {"a": GridCell(StepState.COMPLETED, 1, "a", 7)} == grid.runs[0].cells
    assert (3, Decimal(3), 0) == (
        grid.runs[0].execution_time_ms,
        grid.runs[0].cost,
        grid.runs[0].unpriced,
    )
    assert {
        "m": GridCell(StepState.RUNNING, 1, "m", None),
        "call": GridCell(StepState.FAILED, 3, None, None),
    } == grid.runs[-1].cells


def test_a_grid_is_bounded(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run()
    store(records, run, *(a_step(run, f"s{n:03}", n) for n in range(GRID_STEPS + 5)))
    grid = records.autocommit(lambda tx: tx.overview.grid("f"))
    assert (GRID_STEPS, 5, GRID_STEPS) == (len(grid.steps), grid.left, len(grid.runs[0].cells))
    assert not grid.is_cut
    monkeypatch.setattr("flowq.adapters.records.queries.flow_page.MAX_NODES", 3)
    grid = records.autocommit(lambda tx: tx.overview.grid("f"))
    assert grid.is_cut
    assert ("s000", "s001", "s002", "s003") == grid.steps


def test_costs_of_a_grid_include_child_runs(records: SqlRecords) -> None:
    run = a_run(total_cost=Decimal(1))
    step = a_step(run, "a", 1)
    child = a_run(child_run_id(StepRunId(step.id)), flow_name="c", parent_step_run_id=step.id)
    child.total_cost, child.unpriced_calls = Decimal(2), 3
    store(records, run, step, child)

    (shown,) = records.autocommit(lambda tx: tx.overview.grid("f")).runs
    assert (Decimal(3), 3) == (shown.cost, shown.unpriced)


def test_child_runs_that_continue_are_counted_and_the_last_one_is_shown(
    records: SqlRecords,
) -> None:
    root, last = a_run(), a_run(UUID(int=3 << 80), flow_name="c", total_cost=Decimal(4))
    step, other = a_step(root, "a", 1), a_run(UUID(int=root.id.int ^ 1), continued_as=UUID(int=9))
    middle = a_run(UUID(int=2 << 80), flow_name="c", total_cost=Decimal(2), continued_as=last.id)
    first = a_run(child_run_id(StepRunId(step.id)), flow_name="c", continued_as=middle.id)
    first.total_cost, last.parent_step_run_id = Decimal(1), step.id
    inner = a_step(middle, "i", 1), a_step(last, "i", 1)
    below = [
        a_run(child_run_id(StepRunId(one.id)), flow_name="d", parent_step_run_id=one.id)
        for one in inner
    ]
    for each in below:
        each.total_cost = Decimal(10)
    other.flow_name = "other"
    store(records, root, step, first, middle, last, other, *inner, *below)

    (shown,) = records.autocommit(lambda tx: tx.overview.grid("f")).runs
    tree = records.autocommit(lambda tx: tx.overview.child_runs(RunId(root.id)))
    assert Decimal(27) == shown.cost
    (child,) = tree.steps[0].runs
    assert (1, last.id) == (tree.count, child.id)
    assert child.below
    assert [below[1].id] == [run.id for run in child.below.steps[0].runs]


def test_child_runs_are_a_tree_with_failed_ones_first(records: SqlRecords) -> None:
    root = a_run()
    once = a_step(root, "once", 0)
    items = [an_item(root, "many", index) for index in range(30)]
    child = a_run(child_run_id(StepRunId(once.id)), parent_step_run_id=once.id, flow_name="c")
    child.started_at, child.step_progress, child.total_steps = after(1), 2, 5
    inner = a_step(child, "deep", 1)
    deep = a_run(child_run_id(StepRunId(inner.id)), parent_step_run_id=inner.id, flow_name="d")
    of_items = [
        a_run(child_run_id(StepRunId(item.id)), parent_step_run_id=item.id, status="completed")
        for item in items
    ]
    of_items[20].status, of_items[25].status = "failed", "running"
    # Another run of the same moment, whose child runs are its own.
    other = a_run(UUID(int=root.id.int ^ 1))
    its = a_step(other, "once", 1)
    its_child = a_run(child_run_id(StepRunId(its.id)), parent_step_run_id=its.id)
    store(records, root, once, *items, child, inner, deep, *of_items, other, its, its_child)

    tree = records.autocommit(lambda tx: tx.overview.child_runs(RunId(root.id)))
    first, many = tree.steps
    assert (31, 1, 0) == (tree.count, tree.failed, tree.left)
    assert ("once", 1, 0) == (first.key, first.count, first.failed)
    (only,) = first.runs
    assert (child.id, "c", None, 2, 5) == (
        only.id,
        only.flow_name,
        only.index,
        only.done,
        only.total,
    )
    assert only.below
    assert ["deep"] == [step.key for step in only.below.steps]
    assert [deep.id] == [run.id for run in only.below.steps[0].runs]
    assert ("many", 30, 1) == (many.key, many.count, many.failed)
    assert [20, 25, *range(MAX_OF_STEP - 2)] == [run.index for run in many.runs]
    assert [RunState.FAILED, RunState.RUNNING] == [run.status for run in many.runs[:2]]
    assert ChildrenOfRun() == records.autocommit(lambda tx: tx.overview.child_runs(RunId(deep.id)))
    assert item_id(node_id(RunId(root.id), "many"), 20) == items[20].id


def test_failed_child_runs_are_shown_first_and_those_left_out_are_counted(
    records: SqlRecords,
) -> None:
    """Each call of a program is a step of its own."""
    root = a_run()
    calls = [a_step(root, f"call#{n:03}", n) for n in range(MAX_OF_LEVEL + 20)]
    children = [
        a_run(child_run_id(StepRunId(call.id)), parent_step_run_id=call.id, status="completed")
        for call in calls
    ]
    for failed in children[-3:]:
        failed.status = "failed"
    inner = [a_step(child, f"i{n:03}", n) for child in children[:2] for n in range(MAX_OF_LEVEL)]
    below = [
        a_run(child_run_id(StepRunId(step.id)), parent_step_run_id=step.id, status="failed")
        for step in inner
    ]
    store(records, root, *calls, *children, *inner, *below)

    tree = records.autocommit(lambda tx: tx.overview.child_runs(RunId(root.id)))
    shown = [step.runs[0] for step in tree.steps]
    assert [one.id for one in children[-3:]] == [one.id for one in shown[-3:]]
    assert (MAX_OF_LEVEL + 20, 3) == (tree.count, tree.failed)
    assert (MAX_OF_LEVEL, 20, 0) == (len(shown), tree.left, tree.left_failed)
    half = MAX_OF_LEVEL // 2
    assert [(half, half, half)] * 2 == [
        (len(one.below.steps), one.below.left, one.below.left_failed) for one in shown if one.below
    ]


def test_a_list_without_child_runs_reads_no_child_run(records: SqlRecords) -> None:
    """The newest run has all the others as child runs, which a list would have to pass by."""
    root = a_run(UUID(int=1 << 100))
    tops = [a_run(UUID(int=n << 80)) for n in range(1, 200)]
    children = [
        a_run(UUID(int=(1 << 100) + n), parent_step_run_id=UUID(int=n)) for n in range(1, 400)
    ]
    is_sqlite = records.url.get_backend_name() == "sqlite"
    if not is_sqlite:  # the size of the files, which other tests have left, decides it too
        with records.engine.connect() as connection:
            connection.exec_driver_sql("TRUNCATE flow_runs CASCADE")
    store(records, root, *tops, *children)
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    plans: list[str] = []

    def look(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM flow_runs" in statement:
            cursor.execute(explain + statement, parameters)
            plans.append(" ".join(str(line) for line in cursor.fetchall()))

    with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    event.listen(records.engine, "before_cursor_execute", look)
    wanted = RunFilter(children=False)
    found = records.autocommit(lambda tx: tx.overview.runs_page(wanted, limit=3, counts=False))
    event.remove(records.engine, "before_cursor_execute", look)

    assert [root.id, tops[-1].id, tops[-2].id] == [run.id for run in found.runs]
    (plan,) = plans
    assert "ix_flow_runs_top" in plan

"""Lists of runs and figures of flows, as pages show them: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import insert, update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun, FlowStepRun, Meter
from flowq.core.ids import RunId, earliest_id, item_id, node_id
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import OPEN_RUN_STATES, RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import NewRun, NewStep
from flowq.engine.queries import flow_page
from flowq.engine.queries.flow_page import FlowHistory, StepFigures, figures
from flowq.engine.queries.lists import (
    BudgetedRun,
    BudgetUsage,
    CacheSavings,
    Cursor,
    RunFilter,
    RunsPage,
)

LATER = timedelta(minutes=1)
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=3650)
FAILED = frozenset({RunState.FAILED})


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def at(moment: datetime, number: int = 0) -> RunId:
    """A UUIDv7 of a moment; of the same moment, the one with the larger number comes later."""
    return RunId(UUID(int=earliest_id(moment).int | 7 << 76 | 2 << 62 | number))


def make(records: SqlRecords, *keys: str, **options: Any) -> RunId:
    """Insert a run with its steps; `row` is written into its row after that."""
    row = options.pop("row", {})
    run_id = options.pop("id", None) or RunId(uuids.uuid7())
    name = options.pop("flow_name", "flow")
    steps = tuple(
        NewStep(node_id(run_id, key), key, f"steps.{key}", number, 0, {})
        for number, key in enumerate(keys or ("a",))
    )
    spec = FlowSpec(name=name, steps=tuple(StepSpec(key=s.key, name=s.name) for s in steps))
    run = NewRun(run_id, name, spec, {}, steps, **options)
    assert records.transaction(lambda tx: tx.runs.insert([run], LATER))
    if row:
        change(records, run_id, **row)
    return run_id


def change(records: SqlRecords, run_id: RunId, **values: Any) -> None:
    records.transaction(
        lambda tx: tx.within.execute(update(FlowRun).where(FlowRun.id == run_id).values(**values))
    )


def step(records: SqlRecords, run_id: RunId, key: str, **values: Any) -> None:
    """Write into the row of a node."""
    where = FlowStepRun.id == node_id(run_id, key)
    records.transaction(
        lambda tx: tx.within.execute(update(FlowStepRun).where(where).values(**values))
    )


def page(
    records: SqlRecords, cursor: Cursor | None = None, limit: int = 50, **wanted: Any
) -> RunsPage:
    return records.autocommit(
        lambda tx: tx.overview.runs_page(RunFilter(**wanted), at=cursor, limit=limit)
    )


def ids(page: RunsPage) -> list[RunId]:
    return [run.id for run in page.runs]


def all_pages(records: SqlRecords, limit: int, **wanted: Any) -> Iterator[RunsPage]:
    """Go on to older runs until there are none."""
    found = page(records, limit=limit, **wanted)
    yield found
    while found.has_older:
        found = page(records, Cursor(found.runs[-1].id), limit, **wanted)
        yield found


def test_pages_have_every_run_once_also_those_of_one_moment(records: SqlRecords) -> None:
    made = [make(records, id=at(NOW, number)) for number in range(5)]
    made += [make(records, id=at(NOW + timedelta(milliseconds=1), number)) for number in range(2)]

    pages = list(all_pages(records, 3))

    assert [3, 3, 1] == [len(one.runs) for one in pages]
    assert made[::-1] == [run for one in pages for run in ids(one)]
    assert [False, True, True] == [one.has_newer for one in pages]


def test_runs_of_a_stored_document_are_listed(records: SqlRecords) -> None:
    one, other = UUID(int=1), UUID(int=2)
    made = [make(records, id=at(NOW, number), document_id=one) for number in range(2)]
    make(records, document_id=other)
    make(records)

    assert made[::-1] == ids(page(records, document_id=one))
    assert [made[0]] == ids(page(records, Cursor(made[1]), document_id=one))
    assert [] == ids(page(records, document_id=UUID(int=3)))


def test_going_back_to_newer_runs_shows_the_same_pages(records: SqlRecords) -> None:
    made = [make(records, id=at(NOW, number)) for number in range(7)]
    older = page(records, Cursor(made[1]), 3)
    assert [made[0]] == ids(older)

    newer = page(records, Cursor(made[0], is_after=True), 3)
    newest = page(records, Cursor(made[3], is_after=True), 3)

    assert [made[3], made[2], made[1]] == ids(newer)
    assert newer.has_newer
    assert newer.has_older
    assert [made[6], made[5], made[4]] == ids(newest)
    assert not newest.has_newer


def test_the_page_with_the_newest_run_is_full(records: SqlRecords) -> None:
    made = [make(records, id=at(NOW, number)) for number in range(5)]

    found = page(records, Cursor(made[3], is_after=True), 3)

    assert [made[4], made[3], made[2]] == ids(found)
    assert not found.has_newer
    assert found.has_older


def test_filters_combine(records: SqlRecords) -> None:
    wanted = {"flow_name": "report", "user_id": "ada", "row": {"status": "failed"}}
    match = make(records, id=at(NOW), **wanted)
    for other in ({"flow_name": "else"}, {"user_id": "bob"}, {"row": {"status": "completed"}}):
        make(records, id=at(NOW, 1 + len(str(other))), **{**wanted, **other})
    make(records, id=at(NOW - timedelta(hours=2)), **wanted)
    make(records, id=at(NOW + timedelta(hours=2)), **wanted)

    found = page(
        records,
        states=FAILED,
        flow_name="report",
        user_id="ada",
        since=NOW - timedelta(hours=1),
        until=NOW + timedelta(hours=1),
        text="REP",
    )

    assert [match] == ids(found)


@pytest.mark.parametrize("limit", [1, 50])
def test_open_runs_are_those_that_have_not_ended(records: SqlRecords, limit: int) -> None:
    made = {
        state: make(records, id=at(NOW, place), row={"status": state})
        for place, state in enumerate(RunState)
    }

    found = [run for one in all_pages(records, limit, states=OPEN_RUN_STATES) for run in ids(one)]

    expected = [made[state] for state in RunState if state in OPEN_RUN_STATES]
    assert expected[::-1] == found


def test_child_runs_can_be_left_out(records: SqlRecords) -> None:
    parents = [make(records, id=at(NOW, 10 * place)) for place in range(5)]
    for place, parent in enumerate(parents):
        waits = {"parent_step_run_id": node_id(parent, "a")}
        make(records, id=at(NOW, 10 * place + 1), row=waits)

    found = [run for one in all_pages(records, 2, children=False) for run in ids(one)]

    assert parents[::-1] == found
    assert 10 == len(ids(page(records)))


def test_child_runs_are_counted_by_their_own_parent(records: SqlRecords) -> None:
    same_moment = at(NOW, 0), at(NOW, 1)
    first, second = (make(records, id=run_id) for run_id in same_moment)
    lonely = make(records, id=at(NOW + timedelta(seconds=1), 0))
    for place, parent in enumerate([first, first, second]):
        make(records, id=at(NOW, 10 + place), row={"parent_step_run_id": node_id(parent, "a")})

    asked = [first, second, lonely]
    found = records.autocommit(lambda tx: tx.overview.child_counts(asked))
    none = records.autocommit(lambda tx: tx.overview.child_counts([]))

    assert ({first: 2, second: 1}, {}) == (found, none)


def test_text_is_the_beginning_of_an_id_or_a_part_of_flow_or_error(records: SqlRecords) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    by_id = make(records, id=at(moment), flow_name="one")
    by_flow = make(records, id=at(NOW, 1), flow_name="reports.Daily_18")
    by_error = make(records, id=at(NOW, 2), row={"error_message": "100% of DAILY_18 is gone"})
    make(records, id=at(NOW, 3), flow_name="dailyX18")

    assert [by_error, by_flow] == ids(page(records, text="daily_18"))
    assert [by_error] == ids(page(records, text="100%"))
    assert [by_id] == ids(page(records, text=str(by_id)[:13]))
    assert [by_id] == ids(page(records, text=str(by_id).upper()))
    for nothing in ("nothing of the kind", "-", "%" * 2, "_" * 4, str(by_id) + "0"):
        assert [] == ids(page(records, text=nothing))


def test_text_is_paged_like_all_else(records: SqlRecords) -> None:
    made = []
    for number in range(9):
        flow = "abc" if number % 3 else "other"
        row = {"error_message": "abc"} if number % 2 else {}
        made.append(make(records, id=at(NOW, number), flow_name=flow, row=row))
    expected = [run for number, run in enumerate(made) if number % 3 or number % 2]

    found = [run for one in all_pages(records, 2, text="abc") for run in ids(one)]

    assert expected[::-1] == found
    newer = page(records, Cursor(expected[0], is_after=True), 3, text="abc")
    assert expected[3:0:-1] == ids(newer)


def test_steps_of_open_runs_are_counted_and_those_of_ended_ones_were(records: SqlRecords) -> None:
    going_on = make(records, "a", "b", "c")
    step(records, going_on, "a", status="completed", tokens_used=70, cost_estimate=Decimal("0.5"))
    step(records, going_on, "b", status="running", map_size=2)
    ended = make(
        records,
        row={
            "status": "failed",
            "total_steps": 9,
            "step_progress": 4,
            "total_tokens": 5,
            "total_cost": Decimal("0.25"),
            "execution_time_ms": 1500,
            "error_message": "no",
        },
    )

    last, first = page(records).runs

    assert (going_on, 2, 1, 70, Decimal("0.5")) == (
        first.id,
        first.total,
        first.done,
        first.tokens,
        first.cost,
    )
    assert (ended, 9, 4, 5, Decimal("0.25"), 1500, "no") == (
        last.id,
        last.total,
        last.done,
        last.tokens,
        last.cost,
        last.execution_time_ms,
        last.error,
    )


def test_steps_of_a_large_open_run_are_not_counted_anew(records: SqlRecords) -> None:
    run_id = make(records, "a", row={"step_progress": 123, "total_steps": 10_000})

    (run,) = page(records).runs

    assert (run_id, 10_000, 123) == (run.id, run.total, run.done)


def test_large_map_is_not_counted_before_the_sweeper_has_done_so(records: SqlRecords) -> None:
    run_id = make(records, "a")
    node = node_id(run_id, "a")
    items = [
        {
            "id": item_id(node, place),
            "flow_run_id": run_id,
            "step_name": "steps.a",
            "step_order": 1,
            "step_key": "a",
            "map_index": place,
            "status": "completed",
            "created_at": NOW,
        }
        for place in range(600)
    ]
    records.transaction(lambda tx: tx.within.execute(insert(FlowStepRun), items))

    (run,) = page(records).runs

    assert (1, 0) == (run.total, run.done)


def test_strips_are_the_latest_runs_of_each_flow(records: SqlRecords) -> None:
    rare = [make(records, id=at(NOW, place), flow_name="rare") for place in range(2)]
    often = [make(records, id=at(NOW, place), flow_name="often") for place in range(10, 15)]
    change(records, often[-1], status="failed", execution_time_ms=9)
    make(records, id=at(NOW - timedelta(days=1)), flow_name="long ago")

    found = records.autocommit(lambda tx: tx.overview.history_bars(flows=2, runs=3))

    assert ["often", "rare"] == [strip.flow_name for strip in found]
    assert [often[2:], rare] == [[run.id for run in strip.runs] for strip in found]
    assert ["long ago", "often", "rare"] == records.autocommit(lambda tx: tx.overview.flow_names())
    assert ["long ago"] == records.autocommit(lambda tx: tx.overview.flow_names(limit=1))
    newest = found[0].runs[-1]
    assert (RunState.FAILED, 9) == (newest.status, newest.execution_time_ms)


def test_strip_of_one_flow(records: SqlRecords) -> None:
    made = [make(records, id=at(NOW, place), flow_name="one") for place in range(4)]
    make(records, flow_name="another")

    (strip,) = records.autocommit(lambda tx: tx.overview.history_bars(flow_name="one", runs=3))

    assert made[1:] == [run.id for run in strip.runs]
    assert [] == records.autocommit(lambda tx: tx.overview.history_bars(flow_name="none"))


def test_no_runs_at_all(records: SqlRecords) -> None:
    assert RunsPage() == page(records)
    assert [] == records.autocommit(lambda tx: tx.overview.history_bars())
    assert [] == records.autocommit(lambda tx: tx.overview.flow_names())
    assert not records.autocommit(lambda tx: tx.overview.has_runs())

    make(records)

    assert records.autocommit(lambda tx: tx.overview.has_runs())


def history(records: SqlRecords, name: str = "flow", since: datetime = LONG_AGO) -> FlowHistory:
    found = records.autocommit(lambda tx: tx.overview.history(name, since=since))
    assert found is not None
    return found


def test_figures_of_a_flow(records: SqlRecords) -> None:
    for number in range(1, 21):
        row = {"status": "completed", "execution_time_ms": 100 * number}
        row["total_cost"] = Decimal(number) / 100
        make(records, id=at(NOW, number), row={**row, "total_tokens": 10})
    make(records, id=at(NOW, 30), row={"status": "failed", "execution_time_ms": 1})
    make(records, id=at(NOW, 31), row={"status": "cancelled"})
    newest = make(records, "x", "y", id=at(NOW, 32))
    make(records, flow_name="another", row={"status": "failed"})

    found = history(records)
    sums = figures(found.runs)

    assert (23, 1, 20, 1, 1) == (sums.total, sums.open, sums.completed, sums.failed, sums.cancelled)
    assert (1000, 1900) == (sums.median_ms, sums.p95_ms)
    assert (Decimal("0.10"), Decimal("0.19")) == (sums.median_cost, sums.p95_cost)
    assert sums.success == pytest.approx(20 / 21)
    assert (200, Decimal("2.1")) == (sums.tokens, sums.cost)
    assert newest == found.newest
    assert ["x", "y"] == [one.key for one in found.spec.steps]


def test_costs_of_runs_include_their_child_runs_and_theirs(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"status": "completed", "total_tokens": 1, "total_cost": Decimal("0.01")}
    first = make(records, id=at(NOW, 1), row=used)
    second = make(records, id=at(NOW, 2), row=used)
    child = make(
        records,
        id=at(NOW, 3),
        flow_name="child",
        row={**used, "parent_step_run_id": node_id(first, "a")},
    )
    # A flow may be below itself: its run counts for itself, and once in the sums.
    inner = make(records, id=at(NOW, 4), row={**used, "parent_step_run_id": node_id(child, "a")})
    make(records, id=at(NOW, 5), flow_name="other", row=used)

    found = history(records)
    costs = {run.id: run.used.cost for run in found.runs}

    assert costs == {first: Decimal("0.03"), second: Decimal("0.01"), inner: Decimal("0.01")}
    sums = figures(found.runs)
    assert (sums.tokens, sums.cost, sums.p95_cost) == (4, Decimal("0.04"), Decimal("0.03"))
    assert not found.lacks_children
    monkeypatch.setattr("flowq.adapters.records.queries.flow_page.MAX_CHILDREN", 1)
    assert history(records).lacks_children


def test_figures_are_of_a_window_and_of_a_number_of_runs(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.adapters.records.queries.flow_page.MAX_RUNS", 3)
    monkeypatch.setattr(flow_page, "MAX_RUNS", 3)
    make(records, id=at(NOW - timedelta(days=2)))
    made = [make(records, id=at(NOW, place)) for place in range(2)]

    assert made[::-1] == [run.id for run in history(records, since=NOW - LATER).runs]
    assert not history(records, since=NOW - LATER).is_cut
    made += [make(records, id=at(NOW, place)) for place in range(2, 4)]
    assert made[:0:-1] == [run.id for run in history(records, since=NOW - LATER).runs]
    assert history(records, since=NOW - LATER).is_cut
    assert () == history(records, since=NOW + LATER).runs


def test_no_history_of_a_flow_without_runs(records: SqlRecords) -> None:
    make(records, flow_name="another")

    assert records.autocommit(lambda tx: tx.overview.history("flow", since=LONG_AGO)) is None


def test_figures_of_steps_are_of_their_attempts(records: SqlRecords) -> None:
    for number in range(1, 11):
        run_id = make(records, "a", "b", id=at(NOW, number))
        done = {"status": "completed", "attempt": 1, "tokens_used": 2}
        step(records, run_id, "a", **done, execution_time_ms=number, cost_estimate=Decimal("0.1"))
        if number == 1:
            step(records, run_id, "b", status="failed", attempt=3)
        if number == 2:
            step(records, run_id, "b", status="running", attempt=1, map_size=5)

    assert (
        StepFigures("a", 10, 0, 5, 10, 20, Decimal("1.0")),
        StepFigures("b", 1, 1, None, None, 0, Decimal(0)),
    ) == history(records).steps


def test_steps_that_a_program_calls_are_summed_by_their_name(records: SqlRecords) -> None:
    run_id = make(records, "a#1", "a#2")
    for key in ("a#1", "a#2"):
        called = {"spec": {"key": key, "name": "steps.a"}, "step_name": "steps.a"}
        step(records, run_id, key, **called, attempt=1, execution_time_ms=4, status="completed")

    (found,) = history(records).steps

    assert ("steps.a", 2, 4) == (found.name, found.runs, found.p95_ms)


def test_budgets_and_what_was_spent_of_them(records: SqlRecords) -> None:
    budget = BudgetSpec(usd=Decimal(5), action=BudgetAction.PAUSE)
    run_id = make(records, budget=budget)
    unspent = make(records, budget=budget)
    make(records, budget=budget, row={"status": "completed"})
    make(records)
    meters = {f"run:{run_id}": Decimal(2), "flow:a:2001-01": Decimal(9)}
    # A new month may begin before they are read.
    for moment in (datetime.now(UTC), datetime.now(UTC) + timedelta(days=1)):
        month = f"{moment:%Y-%m}"
        meters |= {f"flow:a:b:{month}": Decimal(3), f"user:ada:{month}": Decimal(1)}
        meters |= {f"rate:{month}": Decimal(9)}
    rows = [{"key": key, "began_at": NOW, "used": 10, "cost": cost} for key, cost in meters.items()]
    records.transaction(lambda tx: tx.within.execute(insert(Meter), rows))

    monthly = records.autocommit(lambda tx: tx.overview.monthly_budgets())
    of_runs = records.autocommit(lambda tx: tx.overview.budgeted_runs())

    assert [
        BudgetUsage("flow", "a:b", Usage(10, Decimal(3))),
        BudgetUsage("user", "ada", Usage(10, Decimal(1))),
    ] == monthly
    running = RunState.RUNNING
    assert [
        BudgetedRun(unspent, "flow", running, budget, Usage()),
        BudgetedRun(run_id, "flow", running, budget, Usage(10, Decimal(2))),
    ] == of_runs


def test_newest_specs_of_flows(records: SqlRecords) -> None:
    make(records, "old", id=at(NOW), flow_name="one")
    make(records, "new", id=at(NOW, 1), flow_name="one")

    found = records.autocommit(lambda tx: tx.overview.latest_specs(["one", "none"]))

    assert {"one": ["new"]} == {name: [s.key for s in spec.steps] for name, spec in found.items()}


def test_what_the_cache_has_saved(records: SqlRecords) -> None:
    run_id = make(records, "a", "b", "c", user_id="ada")
    hit = {"cached_from": uuids.uuid7(), "saved_tokens": 10, "status": StepState.COMPLETED}
    hit["saved_cost"] = Decimal("0.5")
    step(records, run_id, "a", **hit, completed_at=NOW)
    step(records, run_id, "b", **hit, completed_at=NOW - timedelta(days=9))
    since = NOW - timedelta(days=1)

    saved = records.autocommit(lambda tx: tx.overview.saved(since=since, user_id="ada"))
    of_other = records.autocommit(lambda tx: tx.overview.saved(since=since, flow_name="another"))

    assert CacheSavings(1, Usage(10, Decimal("0.5"))) == saved
    assert CacheSavings(0, Usage()) == of_other

"""What open steps wait for, as the rows have it: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowRun, Slot, Wait
from flowq.core.ids import RunId
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.model.waits import Holder, OpenSteps
from tests.contract.records.queries.test_run_page import BEGAN, a_run, a_step, after, an_item, store


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def opened(records: SqlRecords, run: FlowRun) -> OpenSteps:
    found = records.autocommit(lambda tx: tx.overview.open_steps(RunId(run.id)))
    assert found is not None
    return found


def called(kind: str, **values: Any) -> dict[str, Any]:
    return {"spec": {"kind": kind, **values}, "observed": None}


def test_run_that_is_not_there_is_none(records: SqlRecords) -> None:
    assert records.autocommit(lambda tx: tx.overview.open_steps(RunId(uuids.uuid7()))) is None


def test_steps_that_wait_for_others_or_have_ended_are_left_out(records: SqlRecords) -> None:
    run = a_run(status="paused", error_message="why")
    steps = [
        a_step(run, "done", 1),
        a_step(run, "later", 2, status="pending"),
        a_step(run, "m", 3, status="running", map_size=2),
        an_item(run, "m", 0, status="completed"),
        a_step(run, "q", 4, status="queued", attempt=2, wake_at=after(9), error_type="E"),
    ]
    store(records, run, *steps)

    found = opened(records, run)

    assert (found.status, found.error, found.flow_name, found.cut) == (
        *(RunState.PAUSED, "why", "f"),
        False,
    )
    (one,) = found.steps
    assert (one.key, one.name, one.state, one.index) == ("q", "steps.q", StepState.QUEUED, None)
    assert (one.since, one.attempt, one.wake_at, one.error_type) == (BEGAN, 2, after(9), "E")
    assert (one.kind, one.queue, one.wanted) == (None, None, None)


def test_items_of_a_map_are_counted_by_state(records: SqlRecords) -> None:
    run = a_run()
    node = a_step(run, "m", status="running", map_size=300)
    items = [
        an_item(run, "m", number, status="queued", created_at=after(300 - number))
        for number in range(5, 300)
    ]
    leased = {"lease_token": uuids.uuid7(), "lease_expires_at": after(3), "worker": "w"}
    items += [an_item(run, "m", number, status="running", **leased) for number in range(2)]
    items += [an_item(run, "m", number, status="completed") for number in range(2, 5)]
    store(records, run, node, *items)

    by_state = {one.state: one for one in opened(records, run).steps}

    assert set(by_state) == {StepState.QUEUED, StepState.RUNNING}
    queued, running = by_state[StepState.QUEUED], by_state[StepState.RUNNING]
    assert (queued.index, queued.count, queued.since) == (5, 295, after(1))
    assert (running.index, running.count, running.lease_until) == (0, 2, after(3))
    assert running.worker == "w"


def test_calls_of_a_program_say_what_they_are(records: SqlRecords) -> None:
    run = a_run()
    schema = {"type": "object", "title": "Approval"}
    waiting = {"status": "waiting", "wake_at": after(60)}
    wanted = {"inputs": {"schema": {"$literal": schema}}}
    steps = [
        a_step(run, "p", 1, status="waiting", observed=3),
        a_step(run, "approve#1", 2, **waiting, **called("signal"), **wanted),
        a_step(run, "sleep#2", 3, **waiting, **called("timer")),
        a_step(run, "work#3", 4, status="queued", **called("step", queue="gpu")),
    ]
    store(records, run, *steps)

    program, signal, timer, work = opened(records, run).steps

    assert (program.kind, program.wanted) == (None, None)
    assert (signal.kind, signal.wanted, signal.wake_at) == (StepKind.SIGNAL, schema, after(60))
    assert (timer.kind, timer.wake_at) == (StepKind.TIMER, after(60))
    assert (work.kind, work.queue) == (StepKind.STEP, "gpu")


def test_line_of_a_limit_has_places_and_holders(records: SqlRecords) -> None:
    first, second = a_run(), a_run(flow_name="g")
    token = uuids.uuid7()
    holding = a_step(first, "a", status="running", lease_token=token, worker="w")
    before = an_item(first, "b", 0, status="queued")
    ours = [an_item(second, "m", number, status="queued") for number in range(3)]
    node = a_step(second, "m", status="running", map_size=3)
    store(records, first, second, holding, before, node, *ours)
    line = [
        Wait(step_run_id=step.id, key="at-once:k", slots=2, since=after(number))
        for number, step in enumerate([before, *ours[:2]])
    ]
    slots = [
        Slot(key="at-once:k", number=0, step_run_id=holding.id, token=token, free_at=BEGAN),
        Slot(key="at-once:k", number=1, free_at=BEGAN),
    ]
    store(records, *line, *slots)

    found = opened(records, second)

    (wait,) = found.limits
    assert (wait.key, wait.limit, wait.slots, wait.per) == ("m", "at-once:k", 2, None)
    assert (wait.count, wait.place, wait.line, wait.turn_at) == (2, 2, 3, None)
    assert wait.holders == (Holder(RunId(first.id), "f", "a", None, "w"),)
    assert [(one.key, one.count, one.index) for one in found.steps] == [("m", 1, 2)]


def test_rate_knows_its_turn(records: SqlRecords) -> None:
    run = a_run()
    step = a_step(run, "a", status="queued")
    turn = {"per_seconds": 60.0, "number": 0, "turn_at": after(30)}
    store(records, run, step)
    store(records, Wait(step_run_id=step.id, key="rate:k", slots=5, since=BEGAN, **turn))

    (wait,) = opened(records, run).limits

    assert (wait.per, wait.turn_at, wait.slots) == (timedelta(minutes=1), after(30), 5)


def test_more_steps_than_are_read_are_cut(records: SqlRecords) -> None:
    run = a_run()
    store(records, run, *(a_step(run, f"s{n}", n, status="queued") for n in range(250)))

    found = opened(records, run)

    assert (len(found.steps), found.cut) == (200, True)


def test_ended_steps_say_when(records: SqlRecords) -> None:
    run = a_run()
    steps = [a_step(run, "a", completed_at=after(5)), a_step(run, "b", 2, status="running")]
    store(records, run, *steps)

    found = records.autocommit(lambda tx: tx.overview.ended_at(RunId(run.id), ["a", "b", "none"]))

    assert found == {"a": after(5)}


def test_queued_steps_are_counted_over_open_runs(records: SqlRecords) -> None:
    runs = [a_run(), a_run(), a_run(status="paused")]
    names: dict[str, Any] = {"step_name": "shop.embed", "status": "queued"}
    steps = [a_step(run, "embed", created_at=after(n), **names) for n, run in enumerate(runs)]
    steps.append(a_step(runs[0], "other", 2, status="queued"))
    store(records, *runs, *steps)

    found = {one.name: one for one in records.autocommit(lambda tx: tx.overview.queued_steps())}

    embed = found["shop.embed"]
    assert (embed.steps, embed.runs, embed.key, embed.since) == (2, 2, "embed", BEGAN)
    assert embed.run_id in {runs[0].id, runs[1].id}
    assert found["steps.other"].steps == 1


def test_only_runs_that_no_worker_is_at_wait(records: SqlRecords) -> None:
    leased: dict[str, Any] = {
        "status": "running",
        "lease_token": uuids.uuid7(),
        "lease_expires_at": after(3),
    }
    runs = [a_run() for _ in range(3)]
    at_work, waiting, over = runs
    over.status = "completed"
    steps = [
        a_step(at_work, "a", **leased),
        a_step(at_work, "b", 2, status="queued"),
        a_step(waiting, "p", status="waiting", observed=0),
        a_step(waiting, "ok#1", 2, step_name="ok", status="waiting", **called("signal")),
        a_step(over, "a"),
    ]
    store(records, *runs, *steps)
    ids = [RunId(run.id) for run in runs]

    (one,) = records.autocommit(lambda tx: tx.overview.waiting_steps(ids))
    views = records.autocommit(lambda tx: tx.runs.views(waiting=True))

    assert (one.run_id, one.state, one.kind, one.name, one.count) == (
        *(waiting.id, StepState.WAITING, StepKind.SIGNAL, "ok"),
        1,
    )
    assert [view.id for view in views] == [waiting.id]

"""A run is cancelled at every moment of its life, and stays cancelled whatever comes later."""

import asyncio
import contextvars
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids

from flowq import Flow, errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId, child_run_id, item_id, node_id
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.model.rows import RunView
from flowq.engine.runs.cancel import cancel
from tests.tools.faults.points import FaultPoint, injected
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

COMPLETED, CANCELLED, RUNNING = StepState.COMPLETED, StepState.CANCELLED, StepState.RUNNING
#: A step that waits for this long was not stopped.
AGES = 300.0
QUICK = Policies(
    cancel_every=timedelta(seconds=0.02), cancel_grace=timedelta(seconds=0.2), chord_from=3
)
#: With all the time it needs to end by itself.
PATIENT = Policies(cancel_every=timedelta(seconds=0.02), cancel_grace=timedelta(seconds=AGES))


class Now:
    """What a step does in the middle of its code; each test says what."""

    act: Callable[[], Any] = staticmethod(lambda: None)
    seen: list[str]


@pytest.fixture(autouse=True)
def now() -> Iterator[None]:
    Now.act, Now.seen = staticmethod(lambda: None), []
    yield
    Now.act = staticmethod(lambda: None)


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, policies=QUICK)


@pytest.fixture
def patient(records: SqlRecords) -> Stage:
    return Stage.on(records, policies=PATIENT)


@pytest.fixture
def postgres_only(records: SqlRecords) -> None:
    if records.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has one writer at a time")


@step
def echo(value: Any) -> Any:
    return value


@step
def act(value: Any = None) -> Any:
    Now.act()
    return value


@step
async def act_async() -> str:
    Now.act()
    try:
        await asyncio.sleep(AGES)
    finally:
        Now.seen.append("finally")
    return "awake"


@step(retries=3, retry_delay=3600)
def fails_once() -> None:
    raise OSError("not now")


@flow
def line() -> Any:
    return echo.options(key="last")(act(echo.options(key="first")("one")))


@flow
def line_async() -> Any:
    return echo.options(key="last")(act_async())


@flow
def retrying() -> Any:
    return echo(fails_once())


@flow
def mapped(count: int) -> Any:
    return echo.options(key="last")(act.map(echo.options(key="list")(list(range(count)))))


@flow
def leaf() -> Any:
    return echo.options(key="last")(act())


@flow
def changed_leaf() -> Any:
    """Return more than the last step does, so that its end and the run's are two statements."""
    return [echo.options(key="last")(act())]


@flow
def middle() -> Any:
    return echo(leaf())


@flow
def top() -> Any:
    return echo.options(key="last")([middle(), act.options(key="aside")()])


@flow
def families(count: int) -> Any:
    return leaf_of.map(list(range(count)))


@flow
def leaf_of(number: int) -> Any:
    return act(number)


@step
def fail() -> None:
    raise ValueError("no")


@flow
def breaks() -> Any:
    return [leaf(), fail.options(after=echo("first"))()]


@flow
def choosy(number: int) -> Any:
    return fail() if number else act(number)


@flow
def choosy_families() -> Any:
    return choosy.map([0, 1])


@flow
def choosy_parent() -> Any:
    return echo.options(key="last", after=choosy.options(key="x", allow_failure=True).map([0, 1]))(
        "went on"
    )


def view_of(stage: Stage, run_id: RunId) -> RunView:
    view = stage.records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    return view


def cancelled(played: Played, reason: str | None = None) -> RunState:
    return cancel(played.stage.engine, played.id, reason)


def deliver(played: Played, label: str) -> None:
    """Let the one step of this name run, out of all that wait."""
    one = next(d for d in played.stage.dispatcher.waiting if d.message and d.message.label == label)
    played.stage.dispatcher.deliver(played.stage.engine, one)


def check_closed(stage: Stage, run_id: RunId) -> RunState:
    """All of a run and its child runs has ended, and nothing holds a lease."""
    view = view_of(stage, run_id)
    assert view.status in TERMINAL_RUN_STATES
    assert view.completed_at is not None
    for row in stage.records.autocommit(lambda tx: tx.steps.by_flow_run_id(run_id)):
        assert row.status in {"completed", "failed", "skipped", "cancelled"}, row.step_key
        assert (row.lease_token, row.lease_expires_at) == (None, None)
        assert row.completed_at is not None
        child = child_run_id(row.id)  # type: ignore[arg-type]
        if stage.records.autocommit(lambda tx: tx.runs.status(child)) is not None:  # noqa: B023
            check_closed(stage, child)
    return view.status


# --- what does not run ---------------------------------------------------------------------------


def test_run_that_has_not_begun_ends_at_once(stage: Stage) -> None:
    played = stage.submit(line, {})

    assert cancelled(played, "ann: the wrong file") is RunState.CANCELLED

    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert set(played.states().values()) == {CANCELLED}
    assert played.error == "ann: the wrong file"
    stage.dispatcher.run(stage.engine)
    assert played.step("first").attempts == 0


def test_retrying_step_is_cancelled_at_once(stage: Stage) -> None:
    played = stage.submit(retrying, {})
    stage.dispatcher.run(stage.engine, limit=1)
    assert played.step("fails_once").status is StepState.RETRYING

    assert cancelled(played) is RunState.CANCELLED

    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.states() == {"fails_once": CANCELLED, "echo": CANCELLED}
    assert played.error == "no reason was given"


@pytest.mark.parametrize("count", [2, 5])
def test_map_is_cancelled_with_its_items_or_before_it_has_any(stage: Stage, count: int) -> None:
    expanded, unexpanded = (stage.submit(mapped, {"count": count}) for _ in range(2))
    stage.dispatcher.run(stage.engine, limit=1)
    assert expanded.step("act").counts == {StepState.QUEUED: count}

    for played in (expanded, unexpanded):
        assert cancelled(played) is RunState.CANCELLED
        assert check_closed(stage, played.id) is RunState.CANCELLED

    assert expanded.step("act").counts == {CANCELLED: count}
    stage.dispatcher.run(stage.engine)
    assert expanded.step("act").counts == {CANCELLED: count}
    assert unexpanded.step("act").map_size is None


def test_child_runs_are_cancelled_to_the_last_generation(stage: Stage) -> None:
    played = stage.submit(top, {})
    deliver(played, "middle")
    deliver(played, "leaf")
    child = child_run_id(node_id(played.id, "middle"))
    grandchild = child_run_id(node_id(child, "leaf"))
    assert view_of(stage, grandchild).status is RunState.RUNNING

    assert cancelled(played, "enough") is RunState.CANCELLED

    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.step("middle").status is CANCELLED
    for each, parent, key in [(child, played.id, "middle"), (grandchild, child, "leaf")]:
        view = view_of(stage, each)
        assert view.status is RunState.CANCELLED
        assert view.error == f"step {key!r} of run {parent}, which waited for it, cancelled"
    stage.dispatcher.run(stage.engine)
    assert view_of(stage, grandchild).done == 0


def test_more_child_runs_than_are_closed_at_once_are_closed_too(stage: Stage) -> None:
    played = stage.submit(families, {"count": 103})
    for index in range(103):
        deliver(played, f"leaf_of[{index}]")
    assert played.step("leaf_of").counts == {StepState.WAITING: 103}

    assert cancelled(played) is RunState.CANCELLED
    stage.dispatcher.run(stage.engine)

    assert check_closed(stage, played.id) is RunState.CANCELLED


def test_child_run_that_is_cancelled_alone_fails_the_step_that_waits(stage: Stage) -> None:
    played = stage.submit(middle, {})
    deliver(played, "leaf")
    child = child_run_id(node_id(played.id, "leaf"))

    assert cancel(stage.engine, child) is RunState.CANCELLED

    assert played.states() == {"leaf": StepState.FAILED, "echo": CANCELLED}
    assert check_closed(stage, played.id) is RunState.FAILED
    assert f"run {child} cancelled" in played.error


# --- what has ended ------------------------------------------------------------------------------


def test_run_that_has_ended_stays_as_it_ended(stage: Stage) -> None:
    completed, failed = stage.play(line), stage.play(breaks)
    before = completed.view, failed.view

    assert cancelled(completed, "too late") is RunState.COMPLETED
    assert cancelled(failed, "too late") is RunState.FAILED

    assert (completed.view, failed.view) == before


def test_second_cancel_changes_nothing(stage: Stage) -> None:
    played = stage.submit(line, {})
    cancelled(played, "first")
    before = played.view

    assert cancelled(played, "second") is RunState.CANCELLED

    assert played.view == before


def test_run_that_is_not_there_cannot_be_cancelled(stage: Stage) -> None:
    with pytest.raises(errors.RunNotFound):
        cancel(stage.engine, RunId(uuids.uuid7()))


@pytest.mark.parametrize("reason", ["", "  ", "\0", "half \ud800 pair", "x" * 10_000])
def test_any_reason_can_be_recorded(stage: Stage, reason: str) -> None:
    played = stage.submit(line, {})

    assert cancelled(played, reason) is RunState.CANCELLED

    assert 0 < len(played.error) <= 4000


# --- what runs -----------------------------------------------------------------------------------


def test_sync_step_sees_that_it_is_cancelled_and_its_result_counts_for_nothing(
    patient: Stage,
) -> None:
    played = patient.submit(line, {})

    def look() -> None:
        assert not step.context().cancelled
        step.context().raise_if_cancelled()
        assert cancelled(played) is RunState.CANCELLING
        context = step.context()
        wait_until(lambda: context.cancelled, what="the step is asked")
        Now.seen.append("returned")

    Now.act = look
    patient.dispatcher.run(patient.engine)

    assert Now.seen == ["returned"]
    assert check_closed(patient, played.id) is RunState.CANCELLED
    assert played.states() == {"first": COMPLETED, "act": CANCELLED, "last": CANCELLED}
    (row,) = patient.records.autocommit(lambda tx: tx.steps.stored(played.id, ["act"]))
    assert row.result is None
    assert played.step("act").execution_time_ms is not None


@pytest.mark.parametrize("ending", ["raise_if_cancelled", "own error"])
def test_step_that_ends_itself_because_it_is_cancelled_is_cancelled(
    patient: Stage, ending: str
) -> None:
    played = patient.submit(line, {})

    def leave() -> None:
        cancelled(played)
        context = step.context()
        wait_until(lambda: context.cancelled, what="the step is asked")
        try:
            context.raise_if_cancelled()
        except Exception:  # noqa: BLE001 - careless code must not catch it
            Now.seen.append("caught")
        except errors.StepCancelled:
            if ending == "own error":
                raise ValueError("so I stop") from None
            raise

    Now.act = leave
    patient.dispatcher.run(patient.engine)

    assert Now.seen == []
    assert check_closed(patient, played.id) is RunState.CANCELLED
    assert played.step("act").status is CANCELLED


def test_step_that_calls_itself_cancelled_has_failed(stage: Stage) -> None:
    def lie() -> None:
        raise errors.StepCancelled("so there")

    Now.act = lie
    played = stage.play(line)

    assert played.states() == {"first": COMPLETED, "act": StepState.FAILED, "last": CANCELLED}
    assert "its run was not cancelled" in played.error


def test_sync_step_in_the_main_thread_is_interrupted_after_the_grace_period(stage: Stage) -> None:
    played = stage.submit(line, {})

    def sleep() -> None:
        cancelled(played)
        time.sleep(AGES)

    Now.act = sleep
    began = time.monotonic()
    stage.dispatcher.run(stage.engine)

    assert 0.2 < time.monotonic() - began < AGES / 2
    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.states() == {"first": COMPLETED, "act": CANCELLED, "last": CANCELLED}


def test_interrupted_step_that_catches_everything_is_cancelled_all_the_same(stage: Stage) -> None:
    played = stage.submit(line, {})

    def stubborn() -> None:
        cancelled(played)
        try:
            time.sleep(AGES)
        except BaseException:  # noqa: BLE001 - careless code is what is tested
            Now.seen.append("caught")
        wait_until(lambda: played.status is RunState.CANCELLED, what="the run ends without it")

    Now.act = stubborn
    stage.dispatcher.run(stage.engine)

    assert Now.seen == ["caught"]
    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.step("act").status is CANCELLED


@pytest.mark.parametrize("label", ["act", "act[1]"])
def test_sync_step_elsewhere_is_left_behind_after_the_grace_period(
    stage: Stage, label: str
) -> None:
    """Nothing can stop its code; the run ends without it, and nobody hears what it returns."""
    flow_, inputs = (line, {}) if label == "act" else (mapped, {"count": 5})
    played = stage.submit(flow_, inputs)
    stage.dispatcher.run(stage.engine, limit=1)
    began, go = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert go.wait(AGES)

    Now.act = hold
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(contextvars.copy_context().run, deliver, played, label)
        assert began.wait(AGES)
        assert cancelled(played) is RunState.CANCELLING
        wait_until(lambda: played.status is RunState.CANCELLED, what="the run ends without it")
        before = played.view
        go.set()
        running.result(AGES)

    stage.dispatcher.run(stage.engine)
    assert played.view == before
    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert CANCELLED in played.step("act").counts


def test_async_step_is_cancelled_at_its_next_await(patient: Stage) -> None:
    played = patient.submit(line_async, {})
    Now.act = lambda: cancelled(played)

    began = time.monotonic()
    patient.dispatcher.run(patient.engine)

    assert time.monotonic() - began < AGES / 2
    assert Now.seen == ["finally"], "its cleanup is done before the step ends"
    assert check_closed(patient, played.id) is RunState.CANCELLED
    assert played.states() == {"act_async": CANCELLED, "last": CANCELLED}


def test_async_step_that_does_not_await_is_left_behind_after_the_grace_period(
    stage: Stage,
) -> None:
    played = stage.submit(line_async, {})
    go = threading.Event()

    def compute() -> None:
        cancelled(played)
        assert go.wait(AGES)

    Now.act = compute
    began = time.monotonic()
    stage.dispatcher.run(stage.engine)

    took = time.monotonic() - began
    go.set()
    assert took < AGES / 2
    assert check_closed(stage, played.id) is RunState.CANCELLED


# --- whoever is first ----------------------------------------------------------------------------

EARLY_OR_LATE = [
    point
    for point in FaultPoint
    if point
    not in {
        FaultPoint.BEFORE_CANCEL,
        FaultPoint.AFTER_CANCEL,
        FaultPoint.BEFORE_RENEW,
        FaultPoint.BEFORE_SWEEP,
    }
]


def play(stage: Stage, flow_: Any, reach: Callable[[Played, FaultPoint], None]) -> Played:
    """Play a run, and pass on each point that it comes by."""
    played = stage.submit(flow_, {"count": 4} if flow_ is mapped else {})
    with injected(lambda point: reach(played, point)):
        stage.dispatcher.run(stage.engine)
    return played


def play_cancelled(
    stage: Stage, flow_: Any, point: FaultPoint, time_: int
) -> tuple[Played, RunState]:
    """Cancel a run when it comes by a point the n-th time; returns what the cancel answered."""
    answers: list[RunState] = []
    reached: list[FaultPoint] = []

    def reach(played: Played, here: FaultPoint) -> None:
        if here is point:
            reached.append(here)
            if len(reached) == time_:
                answers.append(cancelled(played, "now"))

    played = play(stage, flow_, reach)
    (answer,) = answers
    return played, answer


@pytest.mark.parametrize("flow_", [line, top, mapped])
def test_cancel_at_any_point_holds_unless_the_run_had_ended(patient: Stage, flow_: Any) -> None:
    """The points are those that the flow comes by when nobody cancels it."""
    passed: Counter[FaultPoint] = Counter()
    undisturbed = play(patient, flow_, lambda _played, point: passed.update([point]))
    assert check_closed(patient, undisturbed.id) is RunState.COMPLETED
    closed = [(undisturbed, RunState.COMPLETED)]

    moments = [(p, n) for p in EARLY_OR_LATE for n in (1, 2, 4) if n <= passed[p]]
    assert {FaultPoint.BEFORE_CLAIM, FaultPoint.AFTER_FINISH} <= {point for point, _ in moments}
    for moment in moments:
        played, answer = play_cancelled(patient, flow_, *moment)
        status = check_closed(patient, played.id)
        if answer is RunState.COMPLETED:
            assert moment[0] is FaultPoint.AFTER_FINISH, moment
            assert status is RunState.COMPLETED, moment
        else:
            assert status is RunState.CANCELLED, moment
            assert played.error == "now", moment
        closed.append((played, status))

    patient.sweep()
    patient.dispatcher.run(patient.engine)
    assert [played.status for played, _ in closed] == [status for _, status in closed]


@pytest.mark.parametrize(
    "each, point, answer, status",
    [
        (leaf, FaultPoint.BEFORE_COMPLETE, RunState.CANCELLING, RunState.CANCELLED),
        (leaf, FaultPoint.AFTER_COMPLETE, RunState.COMPLETED, RunState.COMPLETED),
        (changed_leaf, FaultPoint.BEFORE_COMPLETE, RunState.CANCELLING, RunState.CANCELLED),
        (changed_leaf, FaultPoint.AFTER_COMPLETE, RunState.CANCELLED, RunState.CANCELLED),
        (changed_leaf, FaultPoint.BEFORE_FINISH, RunState.CANCELLED, RunState.CANCELLED),
        (changed_leaf, FaultPoint.AFTER_FINISH, RunState.COMPLETED, RunState.COMPLETED),
    ],
    ids=lambda one: one.type.name.rpartition(".")[2] if isinstance(one, Flow) else None,
)
def test_of_a_cancel_and_the_last_completion_the_first_one_counts(
    patient: Stage, each: Any, point: FaultPoint, answer: RunState, status: RunState
) -> None:
    played = patient.submit(each, {})
    patient.dispatcher.run(patient.engine, limit=1)

    points = [point]  # a cancel reaches some of them too

    def hook(here: FaultPoint) -> None:
        if [here] == points:
            points.clear()
            Now.seen.append(cancelled(played))

    with injected(hook):
        patient.dispatcher.run(patient.engine)

    assert Now.seen == [answer]
    assert check_closed(patient, played.id) is status
    assert played.states() == {"act": COMPLETED, "last": COMPLETED}, "it had ended before it knew"


def test_child_run_is_not_started_by_a_step_whose_run_was_cancelled_meanwhile(
    patient: Stage,
) -> None:
    played = patient.submit(middle, {})

    def hook(point: FaultPoint) -> None:
        if point is FaultPoint.BEFORE_SUBMIT:
            Now.seen.append(cancelled(played))

    with injected(hook):
        patient.dispatcher.run(patient.engine)

    assert Now.seen == [RunState.CANCELLING]
    child = child_run_id(node_id(played.id, "leaf"))
    assert patient.records.autocommit(lambda tx: tx.runs.status(child)) is None
    assert check_closed(patient, played.id) is RunState.CANCELLED
    assert played.step("leaf").status is CANCELLED


def test_failing_step_is_not_tried_again_in_a_cancelled_run(patient: Stage) -> None:
    played = patient.submit(retrying, {})

    def hook(point: FaultPoint) -> None:
        if point is FaultPoint.BEFORE_FAIL:
            Now.seen.append(cancelled(played))

    with injected(hook):
        patient.dispatcher.run(patient.engine, limit=1)

    assert Now.seen == [RunState.CANCELLING]
    assert patient.dispatcher.waiting == ()
    assert check_closed(patient, played.id) is RunState.CANCELLED
    assert played.step("fails_once").attempts == 1


@pytest.mark.parametrize("seed", range(6))
def test_cancel_among_many_workers_leaves_nothing_running(
    records: SqlRecords, seed: int, postgres_only: None
) -> None:
    """Steps are claimed, completed, expanded and begin child runs while the cancel goes on."""
    stage = Stage.on(records, policies=replace(PATIENT, chord_from=1000))
    played = stage.submit(families, {"count": 30})
    delivered, before = itertools.count(), random.Random(seed).randrange(40)

    begun = threading.Event()

    def work() -> None:
        while played.status not in TERMINAL_RUN_STATES:
            for delivery in list(stage.dispatcher.waiting):
                if next(delivered) == before:
                    begun.set()
                stage.dispatcher.deliver(stage.engine, delivery)  # some of them twice

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        assert begun.wait(AGES)
        answer = cancelled(played)
        for each in working:
            each.result(AGES)

    stage.dispatcher.run(stage.engine)
    if answer is RunState.COMPLETED:  # the workers were faster than this thread
        assert check_closed(stage, played.id) is RunState.COMPLETED
        return
    assert answer in {RunState.CANCELLED, RunState.CANCELLING}
    assert check_closed(stage, played.id) is RunState.CANCELLED


# --- whoever dies in between ---------------------------------------------------------------------


def test_sweeper_finishes_a_cancel_whose_caller_died(stage: Stage) -> None:
    played = stage.submit(top, {})
    deliver(played, "middle")
    deliver(played, "leaf")
    stage.dispatcher.clear()

    def die(point: FaultPoint) -> None:
        if point is FaultPoint.AFTER_CANCEL:
            raise KeyboardInterrupt

    with injected(die), pytest.raises(KeyboardInterrupt):
        cancelled(played, "power cut")
    assert played.status is RunState.CANCELLING

    for _ in range(3):  # one pass for each generation
        stage.sweep()
        stage.dispatcher.run(stage.engine)

    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.error == "power cut"


def test_running_step_of_a_cancelled_run_that_lost_its_worker_is_cancelled(stage: Stage) -> None:
    played = stage.submit(line, {})
    stage.dispatcher.run(stage.engine, limit=1)

    def die(point: FaultPoint) -> None:
        if point is FaultPoint.BEFORE_CODE:
            raise KeyboardInterrupt

    with injected(die), pytest.raises(KeyboardInterrupt):
        deliver(played, "act")
    assert cancelled(played) is RunState.CANCELLING
    assert played.step("act").status is RUNNING

    stage.dispatcher.clear()
    lapse(stage, played)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert check_closed(stage, played.id) is RunState.CANCELLED
    assert played.step("act").status is CANCELLED


def lapse(stage: Stage, played: Played) -> None:
    """Let the leases of a run be over."""
    from sqlalchemy import update

    from flowq.adapters.records.sql.tables import FlowStepRun
    from flowq.adapters.records.sql.types import DbNow

    held = (FlowStepRun.flow_run_id == played.id) & FlowStepRun.lease_token.is_not(None)
    with stage.records.engine.begin() as connection:
        connection.execute(update(FlowStepRun).where(held).values(lease_expires_at=DbNow(-1.0)))


# --- child runs that nobody waits for ------------------------------------------------------------


def test_child_runs_of_a_run_that_stops_by_itself_are_cancelled(stage: Stage) -> None:
    played = stage.submit(breaks, {})
    deliver(played, "leaf")
    child = child_run_id(node_id(played.id, "leaf"))
    deliver(played, "echo")
    deliver(played, "fail")

    assert check_closed(stage, played.id) is RunState.FAILED
    assert played.step("leaf").status is CANCELLED
    assert view_of(stage, child).status is RunState.CANCELLED


def test_child_runs_of_a_map_that_has_failed_are_cancelled(stage: Stage) -> None:
    played = stage.submit(choosy_parent, {})
    deliver(played, "x[0]")
    deliver(played, "x[1]")
    first = child_run_id(item_id(node_id(played.id, "x"), 0))
    assert view_of(stage, first).status is RunState.RUNNING
    deliver(played, "fail")

    assert view_of(stage, first).status is RunState.CANCELLED
    stage.dispatcher.run(stage.engine)
    assert check_closed(stage, played.id) is RunState.COMPLETED
    assert played.result() == "went on"

"""A run is paused at every moment of its life: nothing begins until it is resumed."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids

import flowq
from flowq import errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId, child_run_id, node_id
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.interrupts import Interrupt
from flowq.engine.runs import signals, submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

COMPLETED, QUEUED, PENDING = StepState.COMPLETED, StepState.QUEUED, StepState.PENDING
PAUSED, RUNNING = RunState.PAUSED, RunState.RUNNING


class Now:
    """What a step does in the middle of its code; each test says what."""

    act: Callable[[], Any] = staticmethod(lambda: None)


@pytest.fixture(autouse=True)
def now() -> Iterator[None]:
    Now.act = staticmethod(lambda: None)
    yield
    Now.act = staticmethod(lambda: None)


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, policies=Policies(chord_from=3))


@step
def echo(value: Any) -> Any:
    return value


@step
def act(value: Any = None) -> Any:
    Now.act()
    return value


@step(retries=1, retry_delay=0)
def fails_once() -> str:
    Now.act()
    if step.context().attempt == 1:
        raise OSError("not now")
    return "well"


@step
def fail() -> None:
    Now.act()
    raise ValueError("no")


@flow
def line() -> Any:
    return echo.options(key="last")(act(echo.options(key="first")("one")))


@flow
def alone() -> Any:
    return act("alone")


@flow
def retrying() -> Any:
    return echo(fails_once())


@flow
def failing() -> Any:
    return [fail(), echo.options(key="other")(1)]


@flow(on_failure="continue")
def patient() -> Any:
    return [fail(), echo.options(key="other")(1)]


@flow
def mapped(count: int) -> Any:
    return echo.options(key="last")(act.map(echo.options(key="list")(list(range(count)))))


@flow
def decided() -> Any:
    first = act(3)
    return echo.options(when=first > 2)("so it is")


@flow
def child() -> Any:
    return echo.options(key="last")(act("child"))


@flow
def middle() -> Any:
    return echo.options(key="last")(child())


@flow
def parent() -> Any:
    return echo.options(key="last")(middle())


def paused(played: Played, reason: str | None = None) -> RunState:
    return pause(played.stage.engine, played.id, reason)


def rest(played: Played) -> None:
    """Do whatever can be done, by messages and by a sweeper that takes everything for late."""
    stage = played.stage
    stage.dispatcher.run(stage.engine)
    for _ in range(3):
        late(stage)
        stage.sweep()
        stage.dispatcher.run(stage.engine)


def late(stage: Stage) -> None:
    """Make each step that is not parked overdue."""
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET wake_at = '2020-01-01 00:00:00.000000' "
            "WHERE wake_at < '2100-01-01'"
        )


def check_resumed(played: Played, value: Any) -> None:
    """A resume ends the run, and sends by itself what it needs for that."""
    stage = played.stage
    assert_invariants(stage.records, grace=timedelta(hours=1))
    stage.dispatcher.clear()

    assert resume(stage.engine, played.id) in {RUNNING, RunState.COMPLETED}

    assert played.error == ""
    stage.dispatcher.run(stage.engine)
    assert value == played.result()
    assert_invariants(stage.records, grace=timedelta(0))


# --- pause ---------------------------------------------------------------------------------------


def test_nothing_of_a_paused_run_begins_until_it_is_resumed(stage: Stage) -> None:
    played = stage.submit(line, {})

    assert paused(played, "ann: the prices are wrong") is PAUSED

    rest(played)
    assert (played.status, played.error) == (PAUSED, "ann: the prices are wrong")
    assert played.states() == {"first": QUEUED, "act": PENDING, "last": PENDING}
    assert played.step("first").attempts == 0
    check_resumed(played, "one")
    assert played.step("first").attempts == 1


def test_step_that_runs_ends_and_what_follows_waits(stage: Stage) -> None:
    played = stage.submit(line, {})
    Now.act = lambda: paused(played)

    rest(played)

    assert played.states() == {"first": COMPLETED, "act": COMPLETED, "last": QUEUED}
    assert played.status is PAUSED
    check_resumed(played, "one")


def test_nobody_asks_about_a_paused_run(stage: Stage) -> None:
    played = stage.submit(line, {})
    Now.act = lambda: paused(played)
    rest(played)
    late(stage)

    assert stage.sweep() == 0
    assert stage.dispatcher.waiting == ()
    assert stage.records.autocommit(lambda tx: tx.sweeps.unclaimed(limit=10)) == []


def test_run_whose_last_step_ends_stays_paused_and_completes_when_it_is_resumed(
    stage: Stage,
) -> None:
    played = stage.submit(alone, {})
    Now.act = lambda: paused(played)

    rest(played)

    assert (played.status, played.states()) == (PAUSED, {"act": COMPLETED})
    assert resume(stage.engine, played.id) is RunState.COMPLETED
    assert played.result() == "alone"
    assert_invariants(stage.records, grace=timedelta(0))


def test_failed_attempt_is_tried_again_after_the_resume(stage: Stage) -> None:
    played = stage.submit(retrying, {})
    Now.act = lambda: paused(played)

    rest(played)

    assert played.states() == {"fails_once": QUEUED, "echo": PENDING}
    Now.act = staticmethod(lambda: None)
    check_resumed(played, "well")
    assert played.step("fails_once").attempts == 2


def test_step_that_finally_fails_ends_a_paused_run(stage: Stage) -> None:
    played = stage.submit(failing, {})
    Now.act = lambda: paused(played, "for now")

    rest(played)

    assert played.status is RunState.FAILED
    assert played.error == "step 'fail' failed: no"
    assert played.states() == {"fail": StepState.FAILED, "other": StepState.CANCELLED}
    assert resume(stage.engine, played.id) is RunState.FAILED


def test_flow_that_continues_after_failures_stays_paused_after_one(stage: Stage) -> None:
    played = stage.submit(patient, {})
    Now.act = lambda: paused(played)
    rest(played)
    assert (played.status, played.step("other").status) == (PAUSED, QUEUED)

    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.FAILED
    assert played.step("other").status is COMPLETED
    assert_invariants(stage.records, grace=timedelta(0))


@pytest.mark.parametrize("count", [1, 5])
def test_map_is_paused_before_it_begins_and_in_the_middle(stage: Stage, count: int) -> None:
    """Of the items of a chord some run, some are refused, and the chord's end comes early."""
    played = stage.submit(mapped, {"count": count})
    stage.dispatcher.run(stage.engine, limit=1)
    paused(played)
    rest(played)
    assert played.step("act").counts == {QUEUED: count}
    resume(stage.engine, played.id)
    Now.act = lambda: paused(played)
    rest(played)
    assert played.step("act").counts.get(COMPLETED) == 1

    Now.act = staticmethod(lambda: None)
    check_resumed(played, list(range(count)))


def test_condition_that_is_known_while_the_run_is_paused_is_decided(stage: Stage) -> None:
    played = stage.submit(decided, {})
    Now.act = lambda: paused(played)
    rest(played)
    assert played.status is PAUSED

    check_resumed(played, "so it is")


def test_step_that_lost_its_worker_waits_for_the_resume(stage: Stage) -> None:
    played = stage.submit(alone, {})

    class Gone(Interrupt):
        pass

    def die() -> None:
        paused(played)
        raise Gone

    Now.act = die
    with pytest.raises(Gone):
        stage.dispatcher.run(stage.engine)
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET lease_expires_at = '2020-01-01 00:00:00.000000' "
            "WHERE lease_token IS NOT NULL"
        )
    Now.act = staticmethod(lambda: None)

    rest(played)

    assert (played.status, played.states()) == (PAUSED, {"act": QUEUED})
    check_resumed(played, "alone")
    assert played.step("act").recoveries == 1


# --- child runs ----------------------------------------------------------------------------------


def test_child_runs_are_paused_and_resumed_with_their_parent(stage: Stage) -> None:
    played = stage.submit(parent, {})
    stage.dispatcher.run(stage.engine, limit=2)
    first = child_run_id(node_id(played.id, "middle"))
    second = child_run_id(node_id(first, "child"))

    assert paused(played, "why") is PAUSED

    rest(played)
    for one in (first, second):
        inner = Played(stage, one, child)
        assert (inner.status, inner.error) == (PAUSED, f"with run {played.id}: why")
    check_resumed(played, "child")


def test_no_child_run_begins_behind_the_back_of_a_pause(stage: Stage) -> None:
    """The step that is to start it was claimed before the run was paused."""
    played = stage.submit(middle, {})
    load = stage.engine.registry.flows

    class Flows(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            paused(played)
            return load.get(*args)

    object.__setattr__(stage.engine.registry, "flows", Flows(load))
    try:
        stage.dispatcher.run(stage.engine)
    finally:
        object.__setattr__(stage.engine.registry, "flows", load)

    rest(played)
    assert played.states() == {"child": QUEUED, "last": PENDING}
    assert played.step("child").attempts == 0
    check_resumed(played, "child")


def test_child_run_that_is_paused_alone_holds_the_step_that_waits(stage: Stage) -> None:
    played = stage.submit(middle, {})
    stage.dispatcher.run(stage.engine, limit=1)
    inner = child_run_id(node_id(played.id, "child"))

    assert pause(stage.engine, inner) is PAUSED

    rest(played)
    assert (played.status, played.step("child").status) == (RUNNING, StepState.WAITING)
    assert resume(stage.engine, inner) is RUNNING
    stage.dispatcher.run(stage.engine)
    assert played.result() == "child"


def test_child_run_that_ended_while_paused_completes_its_parent_when_both_are_resumed(
    stage: Stage,
) -> None:
    played = stage.submit(middle, {})
    stage.dispatcher.run(stage.engine, limit=1)
    Now.act = lambda: paused(played)
    rest(played)

    check_resumed(played, "child")


def test_pause_of_many_child_runs_is_resumed_whole(stage: Stage) -> None:
    """More of them than a resume looks after by itself."""
    played = stage.submit(families, {"count": 103})
    stage.dispatcher.run(stage.engine, limit=103)
    paused(played)
    rest(played)
    assert played.step("child").counts == {StepState.WAITING: 103}

    check_resumed(played, ["child"] * 103)


@flow
def each_child(number: int) -> Any:
    return echo.options(key="last")(act("child"))


@flow
def families(count: int) -> Any:
    return each_child.options(key="child").map(list(range(count)))


# --- what else may happen to a paused run --------------------------------------------------------


def test_paused_run_can_be_cancelled(stage: Stage) -> None:
    played = stage.submit(line, {})
    paused(played, "for now")

    assert cancel(stage.engine, played.id, "ann: enough") is RunState.CANCELLED

    assert played.error == "ann: enough"
    assert set(played.states().values()) == {StepState.CANCELLED}
    assert paused(played) is RunState.CANCELLED
    assert resume(stage.engine, played.id) is RunState.CANCELLED
    assert_invariants(stage.records, grace=timedelta(0))


def test_deadline_of_a_paused_run_passes(stage: Stage) -> None:
    run_id = submission.submit(stage.engine, line.type, {}, deadline=timedelta(milliseconds=1))
    played = Played(stage, run_id, line)
    paused(played, "for now")

    rest(played)

    assert played.status is RunState.FAILED
    assert played.error.startswith("deadline passed")
    assert_invariants(stage.records, grace=timedelta(0))


def test_second_pause_keeps_the_first_reason_and_one_resume_ends_both(stage: Stage) -> None:
    played = stage.submit(line, {})
    paused(played, "first")

    assert paused(played, "second") is PAUSED

    assert played.error == "first"
    check_resumed(played, "one")


def test_resume_of_a_run_that_is_not_paused_sends_nothing(stage: Stage) -> None:
    played = stage.submit(line, {})
    before = stage.dispatcher.waiting

    assert resume(stage.engine, played.id) is RUNNING

    assert before == stage.dispatcher.waiting


def test_run_that_has_ended_stays_as_it_ended(stage: Stage) -> None:
    played = stage.play(line)
    before = played.view

    assert paused(played, "too late") is RunState.COMPLETED
    assert resume(stage.engine, played.id) is RunState.COMPLETED

    assert before == played.view


def test_run_that_is_not_there_is_neither_paused_nor_resumed(stage: Stage) -> None:
    for act_on in (pause, resume):
        with pytest.raises(errors.RunNotFound):
            act_on(stage.engine, RunId(uuids.uuid7()))


def test_resume_whose_messages_are_lost_is_made_up_for(stage: Stage) -> None:
    played = stage.submit(mapped, {"count": 3})
    stage.dispatcher.run(stage.engine, limit=1)
    paused(played)
    rest(played)
    resume(stage.engine, played.id)
    stage.dispatcher.clear()

    rest(played)

    assert played.result() == [0, 1, 2]


# --- timers --------------------------------------------------------------------------------------


@step
async def again(value: Any) -> Any:
    return value


@flow
async def sleeping(seconds: float) -> list[Any]:
    first = await again("before")
    await flowq.sleep(seconds)
    return [first, await again("after")]


@flow
async def side_by_side(seconds: float) -> list[Any]:
    return list(await asyncio.gather(sleeping(seconds), again(1)))


@flow
async def asking(seconds: float) -> str:
    try:
        return await flowq.signal("answer", str, timeout=seconds)
    except TimeoutError:
        return str(await again("too late"))


def let_pass(stage: Stage) -> None:
    """Make every timer due."""
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET wake_at = '2020-01-01 00:00:00.000000' "
            "WHERE status = 'waiting' AND wake_at IS NOT NULL"
        )


def asleep(stage: Stage, flow_: Any) -> Played:
    """Return a run of which nothing is left to do but to wait."""
    played = stage.submit(flow_, {"seconds": 3600.0})
    stage.dispatcher.run(stage.engine)
    stage.dispatcher.clear()  # a message with a countdown, if there is one, is lost
    return played


@pytest.mark.parametrize("flow_", [sleeping, side_by_side], ids=["alone", "in a child run"])
def test_timer_that_is_due_while_its_run_is_paused_is_not_lost(stage: Stage, flow_: Any) -> None:
    played = asleep(stage, flow_)
    assert pause(stage.engine, played.id) is PAUSED

    let_pass(stage)
    for _ in range(3):
        stage.sweep()
        stage.dispatcher.run(stage.engine)
    assert played.status is PAUSED
    sleeper = stage.records.autocommit(
        lambda tx: tx.runs.views(flow_name=sleeping.type.name, limit=1)
    )
    states = Played(stage, sleeper[0].id, sleeping).states()
    assert states == {"sleeping": QUEUED, "again#1": COMPLETED, "sleep#2": COMPLETED}
    assert_invariants(stage.records)

    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    after = ["before", "after"]
    assert played.result() == (after if flow_ is sleeping else [after, 1])


def test_timer_that_is_due_after_the_resume_ends_then(stage: Stage) -> None:
    played = asleep(stage, sleeping)
    pause(stage.engine, played.id)
    stage.sweep()
    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    assert {played.status} == {RUNNING}

    let_pass(stage)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == ["before", "after"]


def test_timer_that_no_sweeper_saw_in_the_pause_ends_after_the_resume(stage: Stage) -> None:
    played = asleep(stage, sleeping)
    pause(stage.engine, played.id)
    let_pass(stage)
    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == ["before", "after"]


def test_message_of_a_timer_that_comes_in_the_pause_changes_nothing_for_good(stage: Stage) -> None:
    played = stage.submit(sleeping, {"seconds": 0.05})
    while played.states().get("sleep#2") is not StepState.WAITING:
        stage.dispatcher.run(stage.engine, limit=1)
    pause(stage.engine, played.id)

    stage.dispatcher.run(stage.engine)  # it waits for the timer's message, and delivers it

    assert (played.status, played.step("sleep#2").status) == (PAUSED, COMPLETED)
    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    assert played.result() == ["before", "after"]


def test_signal_that_times_out_in_the_pause_is_seen_after_it(stage: Stage) -> None:
    played = asleep(stage, asking)
    pause(stage.engine, played.id)
    let_pass(stage)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert {played.status} == {PAUSED}

    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert played.result() == "too late"


def test_signal_that_is_sent_in_the_pause_is_received_after_it(stage: Stage) -> None:
    played = asleep(stage, asking)
    pause(stage.engine, played.id)
    signals.send_signal(stage.engine, played.id, "answer", "yes")
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert {played.status} == {PAUSED}

    resume(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)

    assert played.result() == "yes"

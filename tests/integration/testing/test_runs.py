"""`flowq.testing`: runs in the test's own thread, under a clock that jumps."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import flowq
from flowq import flow, step, testing
from flowq.core.errors import (
    FlowNotFound,
    InvalidInput,
    ResultTimeout,
    RunCancelled,
    RunFailed,
    StepFailed,
)
from flowq.core.states import RunState, StepState
from tests.tools.waiting import wait_until

LOG: list[str] = []


@step
async def remind(user: str, number: int) -> int:
    return number


@step(retries=3, retry_delay=timedelta(hours=1))
async def flaky(fails: int) -> int:
    if flowq.step.context().attempt <= fails:
        raise ConnectionError("not yet")
    return flowq.step.context().attempt


@step
async def log(text: str) -> None:
    LOG.append(text)


@flow
async def monthly(user: str) -> list[str]:
    times = []
    for number in range(3):
        await flowq.sleep(timedelta(days=30))
        await remind(user, number)
        times.append(flowq.now().date().isoformat())
    return times


@flow
async def order(amount: int) -> str:
    try:
        answer = await flowq.signal("approve", dict, timeout=timedelta(days=2))
    except TimeoutError:
        return "nobody cared"
    return f"{amount} {answer['by']}"


@flow
async def retried(fails: int) -> int:
    result: int = await flaky(fails)
    return result


@flow
def graph(fails: int) -> int:
    return flaky(fails)  # type: ignore[no-any-return]


@flow
async def cleans_up() -> None:
    try:
        await flowq.sleep(timedelta(days=1))
    finally:
        await log("tidied")


@flow
async def parallel(n: int) -> list[Any]:
    async def one(number: int) -> int:
        await flowq.sleep(n - number)
        result: int = await remind("x", number)
        return result

    results = [
        await task
        for task in asyncio.as_completed([asyncio.create_task(one(number)) for number in range(n)])
    ]
    try:
        async with asyncio.timeout(10):
            await flowq.signal("never")
    except TimeoutError:
        results.append(-1)
    return [*results, flowq.random(), str(flowq.uuid()), flowq.now().isoformat()]


@flow
async def counted(left: int) -> int:
    await remind("x", left)
    if left:
        flowq.continue_as_new(left=left - 1)
    return left


@flow
async def chance() -> float:
    return random.random()


@flow
async def dice() -> None:
    await remind("x", random.randrange(10**9))


@flow
async def moody() -> None:
    """Takes another way on each replay."""
    LOG.append("again")
    await remind("x", 1)
    if len(LOG) % 2:
        await remind("x", 2)
    await remind("x", 3)


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def test_three_months_pass_on_the_clock_of_the_test() -> None:
    days = testing.run(monthly, {"user": "ann"}, now=datetime(2031, 1, 1, tzinfo=UTC))

    assert ["2031-01-31", "2031-03-02", "2031-04-01"] == days


def test_time_stops_until_it_is_advanced() -> None:
    with testing.start(monthly, {"user": "ann"}) as run:
        began = run.now
        assert RunState.RUNNING is run.status
        assert RunState.RUNNING is run.wait(timedelta(days=45))
        assert began + timedelta(days=45) == run.now
        assert ["sleep#1", "remind#2", "sleep#3"] == [one.key for one in run.steps[1:]]
        assert RunState.COMPLETED is run.wait(timedelta(days=45))


@step
async def busy() -> int:
    deadline = time.monotonic() + 0.01
    while time.monotonic() < deadline:
        pass
    return 1


@flow
async def timed() -> list[datetime]:
    times = [flowq.now()]
    for _ in range(3):
        await busy()
        times.append(flowq.now())
    return times


def test_clock_stands_while_code_runs() -> None:
    """Or a test could not name the times that a program records."""
    assert 1 == len(set(testing.run(timed, {})))


def test_signal_is_sent_by_the_test() -> None:
    with testing.start(order, {"amount": 7}) as run:
        with pytest.raises(
            InvalidInput, match="does not match the type that the program waits for"
        ):
            run.send_signal("approve", "yes")
        run.send_signal("approve", {"by": "ann"})
        assert "7 ann" == run.result()


def test_signal_that_does_not_come_times_out() -> None:
    assert "nobody cared" == testing.run(order, {"amount": 7})


def test_run_that_waits_for_ever_says_for_what() -> None:
    @flow(name="tests.waits_for_ever")
    async def waits() -> None:
        await flowq.signal("approve")

    with pytest.raises(ResultTimeout, match="waits for the signal 'approve'"):
        testing.run(waits)


@pytest.mark.parametrize("flow_of_it", [retried, graph])
def test_retries_wait_in_the_time_of_the_test(flow_of_it: Any) -> None:
    with testing.start(flow_of_it, {"fails": 2}) as run:
        began = run.now
        assert 3 == run.result()
        assert timedelta(hours=1) < run.now - began < timedelta(hours=3)


def test_run_that_fails_says_why() -> None:
    with pytest.raises(RunFailed, match="ConnectionError: not yet"):
        testing.run(retried, {"fails": 9})


def test_cancel_lets_the_flow_tidy_up() -> None:
    with testing.start(cleans_up) as run:
        assert RunState.CANCELLED is run.cancel("enough")
        assert ["tidied"] == LOG
        with pytest.raises(RunCancelled, match="enough"):
            run.result()


def test_steps_may_be_replaced() -> None:
    def fake(user: str, number: int) -> int:
        LOG.append(f"{user} {number}")
        return 0

    testing.run(monthly, {"user": "ann"}, fakes={remind: fake})

    assert ["ann 0", "ann 1", "ann 2"] == LOG


def test_fake_may_fail() -> None:
    @flow(name="tests.catches")
    async def catches() -> str:
        try:
            await remind("x", 1)
        except StepFailed as error:
            return error.error
        return "no error"

    def fake(user: str, number: int) -> int:
        raise KeyError(user)

    assert "KeyError" == testing.run(catches, fakes={remind: fake})


def test_run_that_continues_as_a_new_one_is_followed() -> None:
    assert 0 == testing.run(counted, {"left": 3})


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="amount"):
        testing.run(order, {"amount": "much"})


def test_what_is_no_flow_is_refused() -> None:
    with pytest.raises(FlowNotFound):
        testing.run(remind)  # type: ignore[arg-type]


def test_runs_of_tests_do_not_know_of_each_other() -> None:
    with testing.start(order, {"amount": 1}) as one, testing.start(order, {"amount": 2}) as other:
        one.send_signal("approve", {"by": "ann"})
        assert StepState.WAITING is other.steps[1].status
        assert "1 ann" == one.result()


def test_runs_leave_no_thread() -> None:
    """A suite has thousands of them, and each thread keeps its engine."""
    before = set(threading.enumerate())

    for _ in range(3):
        testing.run(monthly, {"user": "ann"})

    wait_until(lambda: before >= set(threading.enumerate()), what="the threads of runs have ended")


# --- determinism ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        lambda: testing.assert_deterministic(monthly, {"user": "ann"}),
        lambda: testing.assert_deterministic(parallel, {"n": 5}),
        lambda: testing.assert_deterministic(counted, {"left": 2}),
        lambda: testing.assert_deterministic(retried, {"fails": 9}),
        lambda: testing.assert_deterministic(
            order, {"amount": 1}, signals=[("approve", {"by": "ann"})]
        ),
    ],
    ids=["loop", "parallel", "new runs", "failure", "signal"],
)
def test_deterministic_flow_passes(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    "flow_of_it, said",
    [
        (chance, "it ends with the result"),
        (dice, "the run has called step 'test_testing.dice' with|remind"),
        (moody, "remind#2|remind#3"),
    ],
)
def test_flow_that_is_not_deterministic_is_caught(flow_of_it: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said) as raised:
        testing.assert_deterministic(flow_of_it)

    assert "the program is not deterministic" in str(raised.value)


def test_graph_has_nothing_to_replay() -> None:
    with pytest.raises(AssertionError, match="is a `def` flow"):
        testing.assert_deterministic(graph, {"fails": 0})

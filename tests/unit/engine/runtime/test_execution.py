"""A step runs with its context and within its timeout, wherever it runs and however it behaves."""

import asyncio
import contextvars
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from flowq.core.errors import FlowqError, LeaseLost, StepCancelled, StepError, StepTimeout
from flowq.core.ids import RunId, StepRunId
from flowq.engine.interrupts import interrupt_in
from flowq.engine.runtime.causes import message_of
from flowq.engine.runtime.context import StepContext, current
from flowq.engine.runtime.execution import Attempt

SOON = timedelta(seconds=0.05)
LONG = timedelta(seconds=300)
#: A step that waits for this long was not interrupted.
AGES = 300.0

Call = Callable[..., Any]
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


def context(key: str = "work") -> StepContext:
    run_id, step_id = RunId(UUID(int=1)), StepRunId(UUID(int=2))
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    return StepContext(run_id, step_id, key, None, 1, "flowq-2", log)


def in_main_thread(function: Call, timeout: timedelta | None = None, *args: Any) -> Any:
    assert threading.current_thread() is threading.main_thread()
    return Attempt().call_sync(function, args, {}, context(), timeout)


def in_pool_thread(function: Call, timeout: timedelta | None = None, *args: Any) -> Any:
    """Run it as a worker with a pool of threads does."""
    here = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(here.run, Attempt().call_sync, function, args, {}, context(), timeout)
        return call.result()


def on_loop(function: Call, timeout: timedelta | None = None, *args: Any) -> Any:
    return Attempt().call_async(function, args, {}, context(), timeout)


@pytest.fixture(params=[in_main_thread, in_pool_thread])
def run(request: pytest.FixtureRequest) -> Call:
    call: Call = request.param
    return call


@pytest.fixture
def quick() -> Iterator[None]:
    """The test is over long before the step would be, had nothing interrupted it."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AGES / 2


def spin(seconds: float) -> None:
    """Compute, without a pause in which anyone could interrupt a coroutine."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


# --- sync steps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, LONG])
def test_value_and_error_are_the_steps_own(run: Call, timeout: timedelta | None) -> None:
    assert run(lambda one, two: one + two, timeout, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0, timeout)


def test_step_that_takes_too_long_is_stopped(run: Call, quick: None) -> None:
    with pytest.raises(StepTimeout, match=r"took longer than its timeout of 0\.05 s"):
        run(time.sleep, SOON, AGES if run is in_main_thread else 0.5)


def test_own_timeout_error_is_not_the_steps_timeout(run: Call) -> None:
    def work() -> None:
        raise TimeoutError("the site did not answer")

    with pytest.raises(TimeoutError, match="the site did not answer") as caught:
        run(work, LONG)

    assert not isinstance(caught.value, StepTimeout)


def test_swallowed_timeout_is_a_timeout_all_the_same(quick: None) -> None:
    def work() -> str:
        try:
            time.sleep(AGES)
        except Exception:  # noqa: BLE001 - careless code is what is tested
            return "never mind"
        return "done"

    with pytest.raises(StepTimeout):
        in_main_thread(work, SOON)


def test_value_that_comes_too_late_counts_for_nothing(run: Call) -> None:
    with pytest.raises(StepTimeout):
        run(lambda: spin(0.2), SOON)


def test_alarm_is_gone_after_the_step(run: Call) -> None:
    before = signal.getsignal(signal.SIGALRM)

    run(lambda: None, LONG)

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_exit_fails_the_step_and_not_the_worker(run: Call) -> None:
    for code in (None, 0, 3, -1, "bye"):
        with pytest.raises(SystemExit) as caught:
            run(_exit, None, code)
        assert interrupt_in(caught.value) is None
        assert f"sys.exit({code!r})" in message_of(caught.value)


def test_exit_by_a_signal_ends_the_worker(run: Call) -> None:
    """Celery's way to say that this process has to go: another worker takes the step."""
    with pytest.raises(SystemExit) as caught:
        run(_exit, LONG, -(256 - signal.SIGTERM))
    assert interrupt_in(caught.value) is caught.value


def _exit(code: Any) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize("timeout", [None, LONG])
def test_step_sees_its_context_and_its_callers_values(run: Call, timeout: timedelta | None) -> None:
    token = tenant.set("acme")
    try:
        assert run(lambda: (current().key, tenant.get()), timeout) == ("work", "acme")
    finally:
        tenant.reset(token)


@pytest.mark.parametrize("timeout", [None, LONG])
def test_what_a_step_sets_stays_with_it(run: Call, timeout: timedelta | None) -> None:
    run(lambda: tenant.set("acme"), timeout)

    assert tenant.get() == "none"
    with pytest.raises(FlowqError, match="outside a step"):
        current()


# --- async steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, LONG])
def test_async_value_and_error_are_the_steps_own(timeout: timedelta | None) -> None:
    async def divide(one: int, two: int) -> float:
        await asyncio.sleep(0)
        return one / two

    assert on_loop(divide, timeout, 1, 2) == 0.5
    with pytest.raises(ZeroDivisionError):
        on_loop(divide, timeout, 1, 0)


def test_async_step_that_takes_too_long_is_cancelled(quick: None) -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(AGES)
        finally:
            ended.set()

    with pytest.raises(StepTimeout, match=r"timeout of 0\.05 s"):
        on_loop(work, SOON)
    assert ended.wait(60)


def test_async_steps_own_timeout_error_is_not_the_steps_timeout() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(AGES)

    with pytest.raises(TimeoutError) as caught:
        on_loop(work, LONG)

    assert not isinstance(caught.value, StepTimeout)


def test_async_step_that_swallows_its_cancellation_has_timed_out(quick: None) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(AGES)
        except asyncio.CancelledError:
            return "never mind"
        return "done"

    with pytest.raises(StepTimeout):
        on_loop(work, SOON)


def test_async_step_that_computes_past_its_timeout_has_timed_out() -> None:
    async def work() -> str:
        spin(0.2)
        return "done"

    with pytest.raises(StepTimeout):
        on_loop(work, SOON)


def test_exit_leaves_the_loop_to_the_other_steps() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def work() -> str:
        await asyncio.sleep(0)
        return "still here"

    with pytest.raises(SystemExit):
        on_loop(leave)
    assert on_loop(work) == "still here"


def test_async_steps_share_a_loop_and_not_their_context() -> None:
    """All of them wait for each other: one after the other they would wait for ever."""
    count = 20
    everybody = asyncio.Barrier(count)

    async def meet() -> str:
        async with everybody:
            return current().key

    def call(index: int) -> Any:
        return Attempt().call_async(meet, (), {}, context(f"meet[{index}]"), LONG)

    with ThreadPoolExecutor(count) as pool:
        keys = list(pool.map(call, range(count)))

    assert keys == [f"meet[{index}]" for index in range(count)]


# --- a lost lease --------------------------------------------------------------------------------


def test_losing_the_lease_cancels_an_async_step(quick: None) -> None:
    attempt, begun = Attempt(), threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(AGES)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(attempt.call_async, work, (), {}, context(), None)
        assert begun.wait(60)
        attempt.lose()

        with pytest.raises(LeaseLost):
            call.result()


def test_lease_that_is_lost_before_the_step_begins_stops_it_too(quick: None) -> None:
    attempt = Attempt()
    attempt.lose()

    async def work() -> None:
        await asyncio.sleep(AGES)

    with pytest.raises(LeaseLost):
        attempt.call_async(work, (), {}, context(), None)


# --- a cancel ------------------------------------------------------------------------------------


def test_step_that_is_cancelled_before_it_begins_does_not_begin() -> None:
    begun = []
    attempt = Attempt()
    attempt.cancel()

    async def work() -> None:
        begun.append("async")

    with pytest.raises(StepCancelled):
        attempt.call_sync(begun.append, ("sync",), {}, context(), None)
    with pytest.raises(StepCancelled):
        attempt.call_async(work, (), {}, context(), None)

    assert begun == []


@pytest.mark.parametrize("timeout", [None, LONG])
def test_value_of_a_step_that_has_seen_its_cancel_counts_for_nothing(
    timeout: timedelta | None,
) -> None:
    attempt = Attempt()

    def work() -> str:
        attempt.cancel()
        return "done"

    with pytest.raises(StepCancelled):
        attempt.call_sync(work, (), {}, context(), timeout)


def test_interrupt_reaches_the_code_of_its_step_and_nothing_after_it() -> None:
    attempt, other = Attempt(), Attempt()

    def work(victim: Attempt) -> str:
        assert victim.interrupt() is (victim is attempt)
        return "went on"

    assert attempt.call_sync(work, (other,), {}, context(), None) == "went on"
    assert not attempt.interrupt(), "its code has ended"
    with pytest.raises(StepError, match="its run was not cancelled"):
        attempt.call_sync(work, (attempt,), {}, context(), None)


def test_async_step_that_swallows_its_cancel_is_cancelled_all_the_same(quick: None) -> None:
    attempt = Attempt()

    async def work() -> str:
        attempt.cancel()
        try:
            await asyncio.sleep(AGES)
        except asyncio.CancelledError:
            return "never mind"
        return "done"

    with pytest.raises(StepCancelled):
        attempt.call_async(work, (), {}, context(), None)

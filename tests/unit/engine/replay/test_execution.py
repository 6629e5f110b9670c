"""What a program may do, and what its host sees of it."""

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, suppress
from datetime import timedelta
from typing import Any

import pytest

from flowq.core.errors import InvalidFlow, StepError, StepFailed
from flowq.core.references import Reference
from flowq.core.results import StepFailure
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.replay import (
    CallEnded,
    ContinueAsNew,
    Continued,
    Execution,
    Raised,
    ReplayOutcome,
    Returned,
    current,
)
from tests.tools.replaying import START, Function, Host, call, done, failed, start


def keys(progress: ReplayOutcome) -> list[str]:
    return [one.key for one in progress.calls]


@pytest.fixture
def opened() -> Iterator[list[Execution]]:
    executions: list[Execution] = []
    yield executions
    for one in executions:
        one.close()


@pytest.fixture
def begin(opened: list[Execution]) -> Any:
    """Start a program that is thrown away at the end of the test."""

    def begin(function: Function, **inputs: Any) -> Execution:
        opened.append(start(function, **inputs))
        return opened[-1]

    return begin


def outcome(function: Function, **inputs: Any) -> Any:
    """Return how a program ends that needs nobody."""
    with closing(start(function, **inputs)) as execution:
        return execution.run().end


def error_of(function: Function, **inputs: Any) -> BaseException:
    end = outcome(function, **inputs)
    assert isinstance(end, Raised)
    return end.error


# --- calls ---------------------------------------------------------------------------------------


def test_call_begins_when_it_is_made(begin: Any) -> None:
    async def program() -> Any:
        first, second = call("a"), call("b")
        return await second, await first

    execution = begin(program)

    assert ["a#1", "b#2"] == keys(execution.run())
    execution.feed([done("a#1", 1), done("b#2", 2)])
    assert Returned((2, 1)) == execution.run().end


def test_inputs_and_results_are_real_values(begin: Any) -> None:
    async def program(n: int) -> Any:
        total = 0
        for index in range(n):
            total += await call("add", index=index)
        return total

    execution = begin(program, n=2)

    assert {"index": 0} == execution.run().calls[0].spec.arguments
    execution.feed([done("add#1", 10)])
    assert {"index": 1} == execution.run().calls[0].spec.arguments
    execution.feed([done("add#2", 20)])
    assert Returned(30) == execution.run().end


def test_tasks_count_their_own_calls(begin: Any) -> None:
    """So a key says nothing about which task was the faster one."""

    async def one(name: str) -> None:
        await call(name)
        await asyncio.gather(call("x"), asyncio.create_task(two()))

    async def two() -> None:
        await call("deep")

    async def program() -> None:
        await asyncio.gather(one("a"), one("b"))

    execution = begin(program)

    assert ["a#t1.1", "b#t2.1"] == keys(execution.run())
    execution.feed([done("b#t2.1")])
    assert ["x#t2.2", "deep#t2.t1.1"] == keys(execution.run())


def test_keys_of_deep_tasks_fit_their_column(begin: Any) -> None:
    async def deeper(level: int) -> None:
        await (asyncio.create_task(deeper(level - 1)) if level else call("x" * 300))

    execution = begin(deeper, level=100)

    (key,) = keys(execution.run())
    assert len(key) <= 200


def test_call_cannot_be_awaited_twice(begin: Any) -> None:
    async def program() -> None:
        one = call("a")
        await one
        await one

    execution = begin(program)
    execution.feed([done("a#1")])

    end = execution.run().end
    assert "cannot reuse already awaited coroutine" in repr(end)


def test_call_that_nobody_awaited_fails_the_program() -> None:
    async def program() -> str:
        call("mail")
        return "done"

    error = error_of(program)

    assert isinstance(error, StepError)
    assert "mail#1 was called and never awaited" in error.message


def test_call_that_an_error_kept_from_being_awaited_is_not_blamed(begin: Any) -> None:
    async def program() -> None:
        first, _second = call("a"), call("b")
        await first

    execution = begin(program)
    execution.run()
    execution.feed([failed("a#1")])

    progress = execution.run()
    assert isinstance(progress.end, Raised)
    assert isinstance(progress.end.error, StepFailed)
    assert ("b#2",) == progress.cancelled


# --- ends ----------------------------------------------------------------------------------------


def test_failure_raises_where_it_is_awaited(begin: Any) -> None:
    async def program() -> Any:
        try:
            await call("a")
        except StepFailed as error:
            return error.step, error.error, error.reason, str(error)

    execution = begin(program)
    execution.feed([failed("a#1", "KeyError", "'x'")])

    expected = ("a#1", "KeyError", "'x'", "a#1 failed: KeyError: 'x'")
    assert Returned(expected) == execution.run().end


def test_failure_that_is_allowed_is_a_value(begin: Any) -> None:
    async def program() -> Any:
        program = current()
        assert program is not None
        key = program.new_key("a")
        return await program.add(StepSpec(key=key, name="a", allow_failure=True))

    execution = begin(program)
    execution.feed([failed("a#1", "KeyError", "x")])

    end = execution.run().end
    assert Returned(StepFailure(step="a#1", error="KeyError", message="x")) == end


def test_step_that_was_cancelled_alone_fails_its_await(begin: Any) -> None:
    async def program() -> None:
        await call("a")

    execution = begin(program)
    execution.feed([CallEnded("a#1", StepState.CANCELLED, START)])

    end = execution.run().end
    assert isinstance(end, Raised)
    assert "a#1 was cancelled" in str(end.error)


def test_value_is_loaded_only_while_it_is_wanted(begin: Any) -> None:
    async def program() -> Any:
        return await asyncio.wait_for(call("slow"), 5)

    def load() -> Any:
        raise AssertionError("nobody wants it")

    execution = begin(program)
    execution.feed([done("timer#2", after=5)])
    execution.feed([CallEnded("slow#1", StepState.COMPLETED, START, load=load)])

    assert isinstance(execution.run().end, Raised)


def test_value_that_cannot_be_loaded_is_no_matter_of_the_program(begin: Any) -> None:
    async def program() -> Any:
        try:
            return await call("a")
        except Exception:  # noqa: BLE001 - what must not happen
            return "swallowed"

    def load() -> Any:
        raise ConnectionError("the store is away")

    execution = begin(program)

    with pytest.raises(ConnectionError, match="the store is away"):
        execution.feed([CallEnded("a#1", StepState.COMPLETED, START, load=load)])


def test_result_that_json_cannot_hold_is_passed_on_by_reference(begin: Any) -> None:
    seen: list[Any] = []

    async def program() -> None:
        data = await call("read")
        program = current()
        assert program is not None
        seen.extend([program.reference_of(data), program.reference_of(b"other")])

    execution = begin(program)
    execution.feed([done("read#1", b"pdf")])

    assert [Reference("read#1"), None] == seen


# --- time ----------------------------------------------------------------------------------------


def test_sleep_is_a_call_and_moves_the_clock(begin: Any) -> None:
    async def program() -> Any:
        execution = current()
        assert execution is not None
        before = execution.now
        await asyncio.sleep(30)
        return execution.now - before, asyncio.get_running_loop().time()

    execution = begin(program)

    (timer,) = execution.run().calls
    assert ("sleep#1", StepKind.TIMER, timedelta(seconds=30)) == (
        timer.key,
        timer.spec.kind,
        timer.delay,
    )
    execution.feed([done("sleep#1", after=31)])
    assert Returned((timedelta(seconds=31), 31.0)) == execution.run().end


def test_clock_never_goes_back(begin: Any) -> None:
    async def program() -> Any:
        await call("a")
        await call("b")
        execution = current()
        return execution.now if execution else None

    execution = begin(program)
    execution.feed([done("a#1", after=9), done("b#2", after=3)])

    assert Returned(START + timedelta(seconds=9)) == execution.run().end


def test_timeout_that_was_not_needed_is_given_up(begin: Any) -> None:
    async def program() -> Any:
        async with asyncio.timeout(60):
            return await call("a")

    execution = begin(program)
    assert {"timer#1", "a#2"} == set(keys(execution.run()))
    execution.feed([done("a#2", "in time")])

    progress = execution.run()
    assert (("timer#1",), Returned("in time")) == (progress.cancelled, progress.end)


def test_step_that_took_too_long_is_given_up(begin: Any) -> None:
    async def program() -> Any:
        try:
            return await asyncio.wait_for(call("a"), 60)
        except TimeoutError:
            return "too late"

    execution = begin(program)
    execution.run()
    execution.feed([done("timer#2", after=60)])

    progress = execution.run()
    assert (("a#1",), Returned("too late")) == (progress.cancelled, progress.end)


def test_call_that_is_given_up_at_once_is_never_returned(begin: Any) -> None:
    async def program() -> Any:
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        asyncio.create_task(call("a")).cancel()
        await asyncio.sleep(0)
        return await call("b")

    progress = begin(program).run()

    assert (["b#3"], ()) == (keys(progress), progress.cancelled)


# --- several at once -----------------------------------------------------------------------------


def test_gather_of_steps_is_one_group(begin: Any) -> None:
    async def program() -> Any:
        single = asyncio.create_task(call("single"))
        results = await asyncio.gather(*(call("one", n=n) for n in range(3)))
        return [*results, await single]

    progress = begin(program).run()

    assert (("one#2", "one#3", "one#4"),) == progress.groups
    assert 4 == len(progress.waiting)


def test_task_group_of_steps_is_one_group(begin: Any) -> None:
    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(call("one"))

    assert (("one#1", "one#2"),) == begin(program).run().groups


@pytest.mark.parametrize("kind", ["wait", "as completed", "coroutines", "watched"])
def test_what_has_to_be_known_one_by_one_is_no_group(begin: Any, kind: str) -> None:
    async def sub() -> None:
        await call("one")
        await call("two")

    async def program() -> None:
        tasks = [asyncio.create_task(call("one")) for _ in range(2)]
        if kind == "wait":
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        elif kind == "as completed":
            for one in asyncio.as_completed(tasks):
                await one
        elif kind == "coroutines":
            await asyncio.gather(sub(), sub())
        for task in tasks:
            task.add_done_callback(print)
        await asyncio.gather(*tasks)

    assert () == begin(program).run().groups


def test_member_that_is_awaited_by_itself_later_leaves_its_group(begin: Any) -> None:
    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(call("one"))
            group.create_task(call("two"))
            await call("three")
            await first
            await call("four")

    execution = begin(program)
    progress = execution.run()
    assert ((("one#1", "two#2"),), ()) == (progress.groups, progress.alone)
    execution.feed([done("three#3")])

    assert ("one#1",) == execution.run().alone
    assert () == execution.run().alone


def test_as_completed_goes_by_the_order_of_observation(begin: Any) -> None:
    async def program() -> Any:
        return [await one for one in asyncio.as_completed([call(name) for name in "abc"])]

    execution = begin(program)
    execution.feed([done("c#3", "c"), done("a#1", "a"), done("b#2", "b")])

    assert Returned(["c", "a", "b"]) == execution.run().end


def test_as_completed_of_coroutines_has_no_order_that_a_replay_could_repeat() -> None:
    async def sub() -> None: ...

    async def program() -> None:
        coroutine = sub()
        try:
            for one in asyncio.as_completed([coroutine]):
                await one
        finally:
            coroutine.close()

    error = error_of(program)
    assert isinstance(error, InvalidFlow)
    assert "create_task" in str(error.hint)


def test_sets_of_tasks_have_the_same_order_in_each_replay() -> None:
    async def program() -> Any:
        tasks = [asyncio.create_task(call(f"s{n}"), name=str(n)) for n in range(40)]
        done, _ = await asyncio.wait(tasks)
        return [task.get_name() for task in done]

    ends = [Host(program).run() for _ in range(3)]

    assert ends[0] == ends[1] == ends[2]


def test_queue_event_and_lock_work(begin: Any) -> None:
    async def program() -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        event, lock, seen = asyncio.Event(), asyncio.Lock(), []

        async def produce() -> None:
            async with lock:
                queue.put_nowait(await call("make"))
            event.set()

        async def consume() -> None:
            await event.wait()
            async with lock:
                seen.append(await queue.get())

        await asyncio.gather(consume(), produce())
        return seen

    execution = begin(program)
    execution.feed([done("make#t2.1", "x")])

    assert Returned(["x"]) == execution.run().end


def test_task_that_is_left_behind_is_cancelled_and_may_end(begin: Any) -> None:
    """As `asyncio.run` does; what it awaits on its way out is still awaited."""

    async def behind() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await call("tidy")

    async def program() -> str:
        task = asyncio.create_task(behind())
        await call("a")
        return "done" if not task.done() else ""

    execution = begin(program)
    execution.feed([done("a#1")])

    progress = execution.run()
    assert ("tidy#t1.2",) == progress.waiting
    assert progress.end is None
    execution.feed([done("tidy#t1.2")])
    assert Returned("done") == execution.run().end


# --- cancellation --------------------------------------------------------------------------------


def test_cancel_reaches_finally_which_may_call_steps(begin: Any) -> None:
    async def program() -> None:
        try:
            await call("charge")
        finally:
            await call("refund")

    execution = begin(program)
    assert not execution.run().calls[0].after_cancel
    execution.cancel("changed my mind")

    progress = execution.run()
    assert (("charge#1",), ["refund#2"]) == (progress.cancelled, keys(progress))
    assert progress.calls[0].after_cancel
    execution.feed([done("refund#2", after=2)])
    end = execution.run().end
    assert isinstance(end, Raised)
    assert isinstance(end.error, asyncio.CancelledError)


def test_cancel_reaches_all_that_is_gathered(begin: Any) -> None:
    async def program() -> None:
        await asyncio.gather(call("a"), call("b"))

    execution = begin(program)
    execution.run()
    execution.cancel("enough")

    progress = execution.run()
    assert ("a#1", "b#2") == progress.cancelled
    assert isinstance(progress.end, Raised)


def test_program_may_swallow_its_cancel(begin: Any) -> None:
    """What that means for the run is its host's business."""

    async def program() -> str:
        with suppress(asyncio.CancelledError):
            await call("a")
        return "never mind"

    execution = begin(program)
    execution.cancel("enough")

    assert Returned("never mind") == execution.run().end


# --- how programs end ----------------------------------------------------------------------------


def test_program_that_waits_for_nothing_fails() -> None:
    async def program() -> None:
        await asyncio.Event().wait()

    assert "can never happen" in str(error_of(program))


def test_program_that_spins_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program() -> None:
        while True:  # noqa: ASYNC110 - the very mistake
            await asyncio.sleep(0)

    monkeypatch.setattr("flowq.engine.replay.loop._MAX_CALLBACKS", 1000)

    assert "the program is in a busy loop" in str(error_of(program))


def test_program_that_exits_fails_and_nothing_else_ends() -> None:
    async def program() -> None:
        raise SystemExit(3)

    assert isinstance(error_of(program), SystemExit)


def test_program_continues_as_a_new_run() -> None:
    async def program() -> None:
        raise ContinueAsNew({"page": 2})

    assert Continued({"page": 2}) == outcome(program)


def test_waiting_program_that_is_dropped_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        await call("a")

    execution = start(program)
    execution.run()
    gc.collect()  # what other tests have left
    caplog.clear()

    del execution
    gc.collect()

    assert [] == caplog.records


def test_exception_of_a_task_that_nobody_awaits_is_logged(
    begin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def lonely() -> None:
        raise ValueError("unheard")

    async def program() -> None:
        asyncio.create_task(lonely())  # noqa: RUF006 - the very mistake
        await call("a")

    execution = begin(program)
    with caplog.at_level(logging.WARNING):
        execution.feed([done("a#1")])
        gc.collect()

    assert "unheard" in caplog.text


def test_program_that_is_put_away_is_left_from_the_inside_out(begin: Any) -> None:
    left: list[str] = []

    async def inner() -> None:
        async with AsyncExitStack() as stack:
            stack.callback(left.append, "inner")
            for _ in range(3):
                stack.push_async_callback(asyncio.sleep, 60)  # waits, on its way out, three times
            await call("a")

    async def program() -> None:
        try:
            await inner()
        finally:
            left.append("outer")

    execution = begin(program)
    execution.run()
    execution.close()

    assert left == ["inner", "outer"]


def test_execution_that_is_closed_lets_finally_wait_for_nothing(begin: Any) -> None:
    log: list[str] = []

    async def program() -> None:
        try:
            await call("a")
        finally:
            log.append("plain Python runs")
            await call("tidy")
            log.append("and this does not")

    execution = begin(program)
    execution.run()
    execution.close()

    assert ["plain Python runs"] == log


# --- what a program cannot do ---------------------------------------------------------------------


async def _connect() -> None:
    await asyncio.open_connection("localhost", 80)


async def _thread() -> None:
    await asyncio.to_thread(print)


async def _process() -> None:
    await asyncio.create_subprocess_exec("true")


async def _reader() -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def _own_thread() -> None:
    program, raised = current(), []
    assert program is not None

    def work() -> None:
        try:
            program.new_key("a")
        except InvalidFlow as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise raised[0]


@pytest.mark.parametrize(
    "program, said",
    [
        (_connect, "the network (create_connection)"),
        (_thread, "a thread (asyncio.to_thread, run_in_executor)"),
        (_process, "another process (create_subprocess_exec)"),
        (_reader, "a file or socket (add_reader)"),
        (_own_thread, "a thread calls something in a program"),
    ],
)
def test_what_touches_the_world_is_refused(program: Function, said: str) -> None:
    error = error_of(program)

    assert isinstance(error, InvalidFlow)
    assert said in error.message
    assert "step" in str(error.hint)


def test_nothing_of_the_thread_is_seen_or_left_behind() -> None:
    """A program runs inside any host: its loop and its context end with it."""

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        end = await asyncio.to_thread(outcome, _nothing)
        return loop is asyncio.get_running_loop(), end, current()

    async def _nothing() -> str:
        return "x"

    assert (True, Returned("x"), None) == asyncio.run(host())


def test_calls_are_counted(begin: Any) -> None:
    async def program() -> None:
        await asyncio.gather(call("a"), call("b"), asyncio.sleep(3))

    execution: Execution = begin(program)
    execution.run()

    assert 3 == execution.calls

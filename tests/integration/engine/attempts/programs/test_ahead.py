"""Programs that see the end of a call before it is recorded, and run ahead."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import flowq
from flowq import flow, step
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.core.errors import DatabaseUnavailable
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.engine import Policies
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runs.signals import send_signal
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

#: What the code of programs has done, once for each time that it ran.
DONE: list[str] = []
#: What a step does to its own run while it runs.
MEANWHILE: list[Callable[[], object]] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> Iterator[None]:
    DONE.clear()
    MEANWHILE.clear()
    yield
    MEANWHILE.clear()


@step
def add(x: int, y: int = 1) -> int:
    return x + y


@step
def told(x: int) -> int:
    for act in MEANWHILE:
        act()
    return x + 1


@step
def echo(what: str) -> str:
    """Take a millisecond at least, which is what databases count."""
    came = time.time_ns() // 1_000_000
    wait_until(lambda: time.time_ns() // 1_000_000 > came, what="the next millisecond")
    return what


@flow
async def shapes(x: int) -> int:
    """After the end of a call: one call, several, a sleep, a call that is not awaited, the end."""
    x = await add(x)
    DONE.append("one")
    x = await add(x)
    DONE.append("several")
    x = sum(await asyncio.gather(add(x), add(x)))
    DONE.append("again one")
    x = await add(x)
    DONE.append("beside")
    other: asyncio.Task[int] = asyncio.create_task(add(x, 10))
    x = await add(x)
    DONE.append("the other")
    x += await other
    DONE.append("a signal")
    x += await flowq.signal("more", int)
    DONE.append("last")
    return await add(x)


@flow
async def two(x: int) -> int:
    first = await told(x)
    DONE.append("second")
    return await add(first)


@flow
async def clocked(n: int) -> list[str]:
    """Each call is given the time at which the one before has ended."""
    return [await echo(flowq.now().isoformat()) for _ in range(n)]


@flow
async def raising(x: int) -> int:
    first = await add(x)
    raise ValueError(f"no {first}")


@flow
async def endless(x: int) -> int:
    while True:
        x = await add(x)


@flow
async def caught(x: int) -> str:
    try:
        first = await told(x)
        await add(first)
    except asyncio.CancelledError:
        DONE.append("cancelled")
        await add(x, 100)
        raise
    return "done"


def test_code_of_a_program_runs_once_in_its_process(stage: Stage) -> None:
    """Whatever follows the end of a call, what was done ahead is kept."""
    run = stage.submit(shapes, {"x": 0})
    stage.dispatcher.run(stage.engine)
    send_signal(stage.engine, run.id, "more", 5)
    stage.dispatcher.run(stage.engine)

    assert run.result() == 31
    assert DONE == ["one", "several", "again one", "beside", "the other", "a signal", "last"]
    assert_invariants(stage.records)


def test_run_is_the_same_without_a_live_program(stage: Stage) -> None:
    ended = stage.play(clocked, n=4)
    run = stage.submit(clocked, {"n": 4})
    while stage.dispatcher.run(stage.engine, limit=1):
        stage.engine.program_cache.clear()

    for one in (ended, run):
        times = one.result()
        assert times == sorted(times)
        assert len(set(times)) == 4


def test_replay_sees_the_times_that_were_seen_ahead(stage: Stage) -> None:
    """The times are arguments of calls: if one differed, the replay would not fit the record."""
    run = stage.submit(clocked, {"n": 5})
    stage.dispatcher.run(stage.engine, limit=4)
    stage.engine.program_cache.clear()

    stage.dispatcher.run(stage.engine)

    times = run.result()
    calls = stage.engine.records.autocommit(lambda tx: tx.steps.called(run.id))
    ends = [one.completed_at.isoformat() for one in calls if one.completed_at]
    assert times[1:] == ends[:-1]


def test_pause_during_a_call_makes_no_next_call(stage: Stage) -> None:
    run = stage.submit(two, {"x": 1})
    MEANWHILE.append(lambda: pause(stage.engine, run.id, "wait", StopKind.USER))
    stage.dispatcher.run(stage.engine)
    assert run.status is RunState.PAUSED
    assert run.step("told#1").status is StepState.COMPLETED
    assert "add#2" not in run.states()

    resume(stage.engine, run.id)
    stage.dispatcher.run(stage.engine)

    assert run.result() == 3
    assert DONE == ["second"]
    assert_invariants(stage.records)


def test_cancel_during_a_call_comes_before_its_end(stage: Stage) -> None:
    run = stage.submit(caught, {"x": 1})
    MEANWHILE.append(lambda: cancel(stage.engine, run.id, "enough"))
    stage.dispatcher.run(stage.engine)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert run.status is RunState.CANCELLED
    assert DONE == ["cancelled"]
    assert_invariants(stage.records)


def test_lost_answer_ends_the_call_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = Policies(outage_wait=timedelta(seconds=30), resend_after=timedelta(0))
    stage = replace(stage, engine=replace(stage.engine, policies=policies))
    run = stage.submit(two, {"x": 1})
    stage.dispatcher.run(stage.engine, limit=1)
    written = FlowStepRunRepo.complete_for_next

    def lose(*given: Any, **options: Any) -> Any:
        monkeypatch.undo()
        lost.append(written(*given, **options))
        raise DatabaseUnavailable("the answer was lost")

    lost: list[Any] = []
    monkeypatch.setattr(FlowStepRunRepo, "complete_for_next", lose)
    stage.dispatcher.run(stage.engine)
    stage.sweep()  # nothing has sent the next call
    stage.dispatcher.run(stage.engine)

    assert len(lost) == 1
    assert run.result() == 3
    assert run.step("told#1").attempts == 1
    assert_invariants(stage.records)


def test_program_that_raises_fails_its_run(stage: Stage) -> None:
    run = stage.play(raising, x=1)

    assert run.status is RunState.FAILED
    assert "no 2" in run.error
    assert run.step("add#1").status is StepState.COMPLETED


def test_length_of_a_program_is_limited(stage: Stage) -> None:
    limited = replace(stage.engine, policies=replace(stage.engine.policies, max_calls=5))
    stage = replace(stage, engine=limited)

    run = stage.play(endless, x=1)

    assert run.status is RunState.FAILED
    assert "more than 5 steps" in run.error

"""Whatever a step raises fails it once, or is retried as any failure; nothing else ends with it."""

import asyncio
import logging
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from flowq import flow, step
from flowq.core.errors import (
    LeaseLost,
    NondeterminismError,
    RetryRequested,
    StepCancelled,
    StepError,
)
from flowq.core.states import RunState, StepState
from tests.tools.playing import Played, Stage
from tests.tools.raising import ERRORS, class_of, raised

calls: list[str] = []


@step
def sync_raise(name: str) -> Any:
    calls.append(name)
    return raised(name)


@step(retries=2, retry_delay=0.0)
def again_and_again(name: str) -> None:
    calls.append(name)
    raised(name)


@step(timeout=30)
def timed_raise(name: str) -> None:
    calls.append(name)
    raised(name)


@step
async def async_raise(name: str) -> None:
    calls.append(name)
    await asyncio.sleep(0)
    raised(name)


@step
async def in_a_task(name: str) -> None:
    """It is raised in a task of the step's own, whose loop is everybody's."""
    calls.append(name)

    async def work() -> None:
        raised(name)

    await asyncio.create_task(work())


@step
async def still_here() -> str:
    await asyncio.sleep(0)
    return "still here"


STEPS: dict[str, Any] = {
    "sync_raise": sync_raise,
    "timed_raise": timed_raise,
    "async_raise": async_raise,
}


@flow
def graph(kind: str, name: str) -> Any:
    return STEPS[kind](name)


@flow
def mapped(names: list[str]) -> Any:
    return async_raise.map(names, tolerate=len(names))


@flow
async def calling(name: str) -> Any:
    return await sync_raise(name)


@flow
async def program(name: str) -> Any:
    calls.append(name)
    raised(name)


@flow
def tasks(name: str) -> Any:
    return in_a_task(name)


@flow
def loop_lives() -> Any:
    return still_here()


@flow
def retried(name: str) -> Any:
    return again_and_again(name)


def assert_failed(played: Played, name: str, key: str, *, in_coroutine: bool = False) -> None:
    failed = played.step(key)
    assert played.status is RunState.FAILED
    assert (failed.status, failed.attempts, failed.recoveries) == (StepState.FAILED, 1, 0)
    assert failed.error_type == class_of(name, in_coroutine=in_coroutine)
    assert failed.error_message
    assert failed.error_message in played.error
    assert calls == [name]


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    """A worker has a handler of its own for the interrupt key."""
    calls.clear()
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt_key_ends_the_process_and_no_step(stage: Stage) -> None:
    """Where Python itself answers it, as in a test or a script."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    played = stage.submit(graph, {"kind": "sync_raise", "name": "KeyboardInterrupt"})

    with pytest.raises(KeyboardInterrupt):
        stage.dispatcher.run(stage.engine)

    assert played.step("sync_raise").status is StepState.RUNNING


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("kind", STEPS)
def test_what_a_step_raises_fails_it_once(stage: Stage, kind: str, name: str) -> None:
    played = stage.play(graph, kind=kind, name=name)

    assert_failed(played, name, kind, in_coroutine=kind == "async_raise")
    assert stage.play(loop_lives).result() == "still here"


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_loop_outlives_what_a_task_of_a_step_raises(stage: Stage, name: str) -> None:
    played = stage.play(tasks, name=name)

    assert_failed(played, name, "in_a_task")
    assert stage.play(loop_lives).result() == "still here"


@pytest.mark.parametrize("name", sorted(set(ERRORS) - {"CancelledError"}))
def test_what_a_program_raises_fails_it_once(stage: Stage, name: str) -> None:
    played = stage.play(program, name=name)

    assert_failed(played, name, "program", in_coroutine=True)


def test_program_that_cancels_itself_fails(stage: Stage) -> None:
    played = stage.play(program, name="CancelledError")

    assert played.status is RunState.FAILED
    assert "cancelled by its own code" in played.error
    assert calls == ["CancelledError"]


@pytest.mark.parametrize("name", ["CancelledError", "PanicException", "Unprintable", "exit -1"])
def test_program_sees_what_its_step_has_raised(stage: Stage, name: str) -> None:
    played = stage.play(calling, name=name)

    assert played.status is RunState.FAILED
    assert class_of(name) in played.error
    assert calls == [name]


def test_item_that_raises_anything_is_one_failed_item(stage: Stage) -> None:
    names = sorted(ERRORS)

    played = stage.play(mapped, names=names)

    assert [item.error for item in played.result()] == [
        class_of(name, in_coroutine=True) for name in names
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_step_raises_is_retried_as_any_failure(stage: Stage, name: str) -> None:
    played = stage.play(retried, name=name)

    assert played.step("again_and_again").attempts == 3
    assert calls == [name] * 3


class WithoutInit(StepError):
    """Its maker calls no `__init__` of flowq's."""

    def __init__(self, code: str) -> None:
        self.code = code


class OddDetails(StepError):
    """Its details are no mapping."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.details = "a text"  # type: ignore[assignment]


class BrokenDetails(StepError):
    """Its details cannot be read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "details":
            raise RuntimeError(name)
        return super().__getattribute__(name)


class NamesOfFlowq(StepError):
    """Its details have the names of what flowq keeps of a failure."""

    def __init__(self, code: str) -> None:
        super().__init__(code, details={"traceback": 5, "causes": "x", "failure": 1, "mine": 2})


OF_FLOWQ = (LeaseLost, NondeterminismError, StepCancelled)
OF_USERS = (WithoutInit, OddDetails, BrokenDetails, NamesOfFlowq)


@step
def own(number: int) -> None:
    calls.append("own")
    raise (*OF_FLOWQ, *OF_USERS)[number]("mine")


@step
async def own_async(number: int) -> None:
    calls.append("own")
    raise (*OF_FLOWQ, *OF_USERS)[number]("mine")


@flow
def owns(number: int) -> None:
    return own(number)


@flow
def owns_async(number: int) -> None:
    own_async(number)


@pytest.mark.parametrize("played", [owns, owns_async])
@pytest.mark.parametrize("number", range(len(OF_FLOWQ) + len(OF_USERS)))
def test_errors_of_flowq_that_a_step_raises_are_its_failure(
    stage: Stage, played: Any, number: int
) -> None:
    calls.clear()
    run = stage.play(played, number=number)

    row = run.step("own" if played is owns else "own_async")
    assert (run.status, row.status, calls) == (RunState.FAILED, StepState.FAILED, ["own"])
    assert "mine" in (row.error_message or "") or number == len(OF_FLOWQ)
    assert isinstance(row.metadata["traceback"], str)
    assert "causes" not in row.metadata or isinstance(row.metadata["causes"], list)


def test_details_keep_their_place_beside_what_flowq_keeps(stage: Stage) -> None:
    row = stage.play(owns, number=len(OF_FLOWQ) + OF_USERS.index(NamesOfFlowq)).step("own")

    kept = {name: value for name, value in row.metadata.items() if name != "traceback"}
    assert kept == {"traceback_": 5, "causes_": "x", "failure_": 1, "mine": 2}


@step
def many_members() -> None:
    raise ExceptionGroup("many", [ValueError(str(number) * 50) for number in range(10_000)])


@flow
def raises_many() -> None:
    return many_members()


def test_log_of_a_failure_is_bounded_and_names_run_and_step(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    run = stage.play(raises_many)

    errors_ = [one for one in caplog.records if one.levelname == "ERROR"]
    [record] = [one for one in errors_ if one.name.startswith("flowq.")]  # not of other tests
    line = logging.Formatter().format(record)
    assert len(line) < 10_000
    assert line.startswith(f"many_members of run {run.id} has failed: ExceptionGroup: many")
    assert "10,000 ----" in line
    assert run.step("many_members").metadata["traceback"].rstrip() in line
    assert (record.action, record.step) == ("fail", "many_members")  # type: ignore[attr-defined]


def test_code_that_asks_for_a_retry_gets_as_many_as_the_policy_allows(stage: Stage) -> None:
    retries: list[int] = []
    needed = 3

    @step(name="asks", retries=2, retry_on=ConnectionError)
    def asks() -> int:
        retries.append(step.context().retries)
        if len(retries) < needed:
            raise RetryRequested("later", timedelta(seconds=0.01)) from KeyError("cause")
        return len(retries)

    @flow(name="asking")
    def asking() -> int:
        return asks()

    played = stage.submit(asking, {})
    stage.dispatcher.run(stage.engine, limit=1)
    waiting = played.step("asks")
    assert [waiting.status, waiting.error_type] == [StepState.RETRYING, "KeyError"]
    stage.dispatcher.run(stage.engine)
    assert played.result() == 3
    assert retries == [0, 1, 2]

    retries.clear()
    needed = 4
    assert "'cause'" in stage.play(asking).error


def test_a_step_error_that_a_step_raises_itself_is_not_retried(stage: Stage) -> None:
    class Busy(StepError):
        """An error of the user's own."""

    attempts: list[type[Exception]] = []

    @step(name="refuses", retries=2, retry_delay=0.0)
    def refuses(kind: str) -> None:
        attempts.append({"bare": StepError, "own": Busy}[kind])
        raise attempts[-1]("no")

    @flow(name="refusing")
    def refusing(kind: str) -> None:
        refuses(kind)

    assert stage.play(refusing, kind="bare").status is RunState.FAILED
    assert attempts == [StepError]
    assert stage.play(refusing, kind="own").status is RunState.FAILED
    assert attempts == [StepError, Busy, Busy, Busy]

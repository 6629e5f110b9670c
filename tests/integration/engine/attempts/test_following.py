"""What an attempt leaves to its own process: programs that are resumed, and local calls."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.core.errors import InvalidFlow, StepFailed
from flowq.core.states import RunState, StepState
from flowq.engine.attempts import following
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

TRIES: list[int] = []


@pytest.fixture(autouse=True)
def _no_tries() -> None:
    TRIES.clear()


@step
def add(x: int, y: int = 1) -> int:
    return x + y


@step(local=True)
def here(x: int) -> int:
    return x + 1


@step(local=True, retries=2, retry_delay=0.001)
def flaky(x: int) -> int:
    TRIES.append(x)
    if len(TRIES) < 3:
        raise ValueError("not yet")
    return x


@step(local=True)
def broken(x: int) -> int:
    raise ValueError(f"no {x}")


@step(local=True, rate="1/minute")
def rare(x: int) -> int:
    return x


@flow
async def row(n: int) -> int:
    value = 0
    for _ in range(n):
        value = await add(value)
    return value


@flow
async def local_row(n: int) -> int:
    value = 0
    for _ in range(n):
        value = await here(value)
    return value


@flow
async def mixed(x: int) -> list[int]:
    first = await here(x)
    several = await asyncio.gather(here(first), add(first, 10), here(first + 5))
    return [*several, await add(sum(several))]


@flow
async def spread(x: int) -> int:
    first = await add(x)
    return sum(await asyncio.gather(add(first), add(first)))


@flow
async def retried(x: int) -> int:
    return await flaky(x)


@flow
async def caught(x: int) -> str:
    try:
        return str(await broken(x))
    except StepFailed as error:
        return str(error)


@flow
async def limited(x: int) -> int:
    return await rare(x) + await rare(x)


def test_who_ends_a_call_continues_the_program(stage: Stage) -> None:
    """A message for the program, and one for each step; nothing wakes the program."""
    run = stage.submit(row, {"n": 5})

    assert stage.dispatcher.run(stage.engine) == 1 + 5
    assert run.result() == 5


def test_program_that_is_not_in_memory_gets_a_message(stage: Stage) -> None:
    run = stage.submit(row, {"n": 5})
    deliveries = 0
    while stage.dispatcher.run(stage.engine, limit=1):
        stage.engine.program_cache.clear()
        deliveries += 1

    assert deliveries == 1 + 5 + 5
    assert run.result() == 5


def test_stopping_process_continues_no_program(stage: Stage) -> None:
    run = stage.submit(row, {"n": 2})
    stage.dispatcher.run(stage.engine, limit=1)
    stage.engine.leases.stopping = True
    (delivery,) = stage.dispatcher.due_now
    assert delivery.message is not None

    stage.dispatcher.run(stage.engine, limit=1)

    stage.engine.leases.stopping = False
    assert [one.message.id for one in stage.dispatcher.due_now if one.message] == [
        delivery.message.id
    ] or run.status is RunState.RUNNING
    stage.dispatcher.run(stage.engine)
    assert run.result() == 2


def test_local_calls_have_no_message(stage: Stage) -> None:
    run = stage.submit(local_row, {"n": 5})

    assert stage.dispatcher.run(stage.engine) == 1
    assert run.result() == 5
    steps = [one for one in run.view.steps if one.key.startswith("here")]
    assert [(one.status, one.attempts) for one in steps] == [(StepState.COMPLETED, 1)] * 5
    assert all(one.started_at and one.completed_at for one in steps)


def test_local_calls_stand_beside_others(stage: Stage) -> None:
    run = stage.submit(mixed, {"x": 1})

    deliveries = stage.dispatcher.run(stage.engine)

    assert run.result() == [3, 12, 8, 24]
    assert deliveries == 1 + 2  # the program, and the two calls of `add`


def test_failed_local_call_is_retried(stage: Stage) -> None:
    run = stage.submit(retried, {"x": 7})

    def has_ended() -> bool:
        stage.dispatcher.run(stage.engine)
        stage.sweep()
        return run.status is not RunState.RUNNING

    wait_until(has_ended, what="the retries are due")
    assert run.result() == 7
    assert TRIES == [7, 7, 7]


def test_program_catches_the_failure_of_a_local_call(stage: Stage) -> None:
    assert "no 3" in stage.play(caught, x=3).result()


def test_local_call_keeps_its_limit(stage: Stage) -> None:
    run = stage.submit(limited, {"x": 1})
    stage.dispatcher.run(stage.engine, limit=1)

    states = [one.status for one in run.view.steps if one.key.startswith("rare")]

    assert run.status is RunState.RUNNING
    assert states[0] is StepState.COMPLETED
    assert states[1] in (StepState.QUEUED, StepState.RETRYING)


@pytest.mark.parametrize("paused", [False, True], ids=["claimed", "queued"])
def test_local_calls_survive_their_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, paused: bool
) -> None:
    """It dies between the commit that makes a call and the call; a paused run claims none."""
    run = stage.submit(local_row, {"n": 3})
    with monkeypatch.context() as dying:

        def dead(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        dying.setattr(following, "run_attempt", dead)
        dying.setattr(following, "run_claimed", dead)
        if paused:
            dying.setattr(FlowStepRunRepo, "suspend_for_next", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            stage.dispatcher.run(stage.engine)
    stage.engine.program_cache.clear()

    assert run.status is RunState.RUNNING
    assert run.step("here#1").status is (StepState.QUEUED if paused else StepState.RUNNING)
    assert stage.dispatcher.due_now == ()
    with stage.records.engine.begin() as connection:
        column = "wake_at" if paused else "lease_expires_at"
        connection.exec_driver_sql(
            f"UPDATE flow_step_runs SET {column} = created_at WHERE step_key = 'here#1'"
        )
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert run.result() == 3


def test_error_of_what_follows_is_not_the_steps(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = stage.submit(spread, {"x": 2})
    stage.dispatcher.run(stage.engine, limit=1)

    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as broken_program:
        broken_program.setattr(following, "run_claimed", fail)
        stage.dispatcher.run(stage.engine, limit=1)

    assert run.step("add#1").status is StepState.COMPLETED
    assert "left to the sweeper" in caplog.text


@pytest.mark.parametrize(
    "options, what",
    [({"queue": "gpu"}, "queue='gpu'"), ({"local": 1}, "local is 1")],
    ids=["queue", "no-bool"],
)
def test_local_is_refused_beside_a_queue(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidFlow, match=what):
        here.options(**options)


def test_local_has_no_meaning_in_a_graph(stage: Stage) -> None:
    @flow(name="tests.following.graph")
    def graph(x: int) -> int:
        return here(x)

    with pytest.raises(InvalidFlow, match=r"local= in a `def` flow"):
        stage.submit(graph, {"x": 1})


def test_local_has_no_meaning_for_a_map(stage: Stage) -> None:
    @flow(name="tests.following.mapped")
    async def mapped(x: int) -> int:
        return sum(await here.map([x]))

    run = stage.play(mapped, x=1)

    assert run.status is RunState.FAILED
    assert "local= and is mapped" in run.error


def test_plain_call_of_a_local_step_runs_it() -> None:
    assert here(1) == 2

"""Executors start recorded runs: a row for each node, wherever they run."""

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

import flowq
from flowq import Run, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import RunCancelled
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Engine
from flowq.pipeline import (
    CeleryExecutor,
    ExecutionContext,
    ExecutionResult,
    Node,
    NodeFailed,
    NodeWorkflow,
    NotExecutable,
    ParallelExecutor,
    SimpleExecutor,
)
from tests.tools.waiting import wait_until

RELEASED, BEGUN = threading.Event(), threading.Event()
TOGETHER = threading.Barrier(2, timeout=60)
HELD: list[UUID] = []
LARGE = "x" * 200_000


def fetch(state: dict[str, Any]) -> dict[str, Any]:
    TOGETHER.wait()
    return {"docs": [1, 2], "last": "fetch"}


async def rank(state: dict[str, Any]) -> dict[str, Any]:
    await asyncio.to_thread(TOGETHER.wait)
    return {"rank": len(state["messages"]), "last": "rank"}


def answer(state: dict[str, Any]) -> dict[str, Any]:
    return {"answer": f"{state['docs']} {state['rank']} {state['last']}"}


def broken(state: dict[str, Any]) -> None:
    raise ValueError("no")


def held(state: dict[str, Any]) -> None:
    HELD.append(step.context().run_id)
    BEGUN.set()
    RELEASED.wait(60)


def large(state: dict[str, Any]) -> dict[str, Any]:
    return {"text": LARGE, "seen": len(state.get("text", "")) + len(state.get("given", ""))}


@step(retries=2, retry_delay=0.01)
def flaky(state: dict[str, Any]) -> dict[str, Any]:
    state["tries"].append(1)
    if step.context().attempt < 3:
        raise ConnectionError("again")
    return {"attempt": step.context().attempt}


CHAT = NodeWorkflow(
    "chat",
    [Node("fetch", fetch), Node("rank", rank), Node("answer", answer, after=("fetch", "rank"))],
)
MESSAGES = {"messages": [{"role": "user", "content": "hi"}]}


def quick(state: dict[str, Any]) -> dict[str, Any]:
    return {"turns": state["turns"]}


QUICK = NodeWorkflow("quick", [Node("quick", quick)])


def context(state: Any = None) -> ExecutionContext:
    return ExecutionContext("chat", "ann", "c7", MESSAGES if state is None else state)


@pytest.mark.parametrize("executor", [ParallelExecutor(max_concurrent=2), CeleryExecutor()])
def test_each_node_has_a_row(engine: Engine, executor: ParallelExecutor) -> None:
    result = asyncio.run(executor.execute(CHAT, context()))

    made = {"docs": [1, 2], "rank": 1, "last": "rank", "answer": "[1, 2] 1 rank"}
    assert (made, {**MESSAGES, **made}) == (result.output, result.state)
    view = Run.get(result.metrics["run_id"]).view()
    rows = {one.key.partition("#")[0]: one for one in view.steps if one.called}
    assert {"fetch", "rank", "answer"} == set(rows)
    assert {StepState.COMPLETED} == {one.status for one in rows.values()}
    assert ("ann", RunState.COMPLETED) == (view.user_id, view.status)
    took = result.metrics.pop("execution_time_ms")
    assert 0 <= took < 60_000
    assert {
        "execution_type": "parallel",
        "nodes_executed": 3,
        "node_groups": 2,
        "max_concurrent": executor.max_concurrent,
        "tokens_used": 0,
        "cost": 0.0,
        "run_id": str(view.id),
    } == result.metrics


def test_what_a_node_raises_here_is_raised(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"^no$"):
        asyncio.run(SimpleExecutor().execute(NodeWorkflow("w", [Node("b", broken)]), context()))


def test_a_failure_on_a_worker_has_the_name_of_its_error(engine: Engine) -> None:
    work = NodeWorkflow("w", [Node("b", broken)])

    with pytest.raises(NodeFailed, match="node 'b' failed: ValueError: no") as failure:
        asyncio.run(CeleryExecutor().execute(work, context()))

    assert ("b", "ValueError", "no") == (
        failure.value.node,
        failure.value.error,
        failure.value.reason,
    )
    assert failure.value.run_id is not None
    assert RunState.FAILED is Run.get(failure.value.run_id).status


def test_a_step_has_its_own_options(engine: Engine) -> None:
    work = NodeWorkflow("w", [Node("f", flaky)])

    result = asyncio.run(SimpleExecutor().execute(work, context({"tries": []})))

    assert {"attempt": 3} == result.output
    assert {"tries": [], "attempt": 3} == result.state


@pytest.mark.parametrize("executor", [SimpleExecutor(), ParallelExecutor()])
def test_large_values_are_passed_on_by_reference(engine: Engine, executor: Any) -> None:
    work = NodeWorkflow("w", [Node("a", large), Node("b", large, ("a",)), Node("c", large, ("b",))])

    result = asyncio.run(executor.execute(work, context({"given": LARGE})))

    assert 2 * len(LARGE) == result.state["seen"]
    view = Run.get(result.metrics["run_id"]).view()
    of_nodes = [one for one in view.steps if one.key.partition("#")[0] in "abc"]
    assert 3 == len(of_nodes)
    assert all(len(str(one.inputs)) < 1_000 for one in of_nodes)


@pytest.mark.parametrize("where", ["here", "workers"])
def test_a_cancelled_caller_cancels_the_run(engine: Engine, where: Any) -> None:
    async def call() -> None:
        BEGUN.clear()
        RELEASED.clear()
        work = NodeWorkflow("w", [Node("h", held)])
        task = asyncio.create_task(SimpleExecutor(where=where).execute(work, context()))
        await asyncio.to_thread(BEGUN.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(call())
    RELEASED.set()

    wait_until(lambda: Run.get(HELD[-1]).status is RunState.CANCELLED, what="it is cancelled")


@pytest.mark.parametrize("where", ["here", "workers"])
@pytest.mark.usefixtures("engine")
def test_a_caller_that_is_cancelled_at_once_leaves_no_run(records: SqlRecords, where: Any) -> None:
    """The run may be recorded at that moment."""

    async def call() -> None:
        for turns in range(1, 20):
            task = asyncio.create_task(
                SimpleExecutor(where=where).execute(QUICK, context({"turns": turns}))
            )
            for _ in range(turns):
                await asyncio.sleep(0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(call())

    def at_rest() -> bool:
        with records.engine.connect() as connection:
            states = connection.execute(text("SELECT status FROM flow_runs")).scalars().all()
        return set(states) <= {"cancelled", "completed"}

    wait_until(at_rest, what="no run is left")


def test_a_cancelled_run_is_an_error(engine: Engine) -> None:
    async def call() -> ExecutionResult:
        BEGUN.clear()
        RELEASED.clear()
        work = NodeWorkflow("w", [Node("h", held)])
        task = asyncio.create_task(SimpleExecutor().execute(work, context()))
        await asyncio.to_thread(BEGUN.wait, 60)
        Run.get(HELD[-1]).cancel("enough")
        RELEASED.set()
        return await task

    with pytest.raises(RunCancelled, match="enough"):
        asyncio.run(call())


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"x", (1,), {"a": "\ud800"}])
def test_a_state_that_is_no_json_is_refused_by_its_key(engine: Engine, value: Any) -> None:
    with pytest.raises(NotExecutable, match=r"cannot be recorded: wrong.inner"):
        asyncio.run(SimpleExecutor().execute(CHAT, context({"fine": 1, "wrong": {"inner": value}})))


def test_in_a_program_the_run_is_a_child(engine: Engine) -> None:
    @flowq.flow(name="tests.pipeline.outer")
    async def outer() -> dict[str, Any]:
        result = await ParallelExecutor().execute(CHAT, context())
        return result.to_dict()

    found = ExecutionResult.from_dict(outer.enqueue().result(60))

    assert "[1, 2] 1 rank" == found.output["answer"]
    child = Run.get(found.metrics["run_id"]).view()
    assert child.parent is not None


def test_a_time_limit_of_a_node(engine: Engine) -> None:
    work = NodeWorkflow("w", [Node("slow", slow, timeout=0.05)])

    with pytest.raises(flowq.errors.StepTimeout):
        asyncio.run(SimpleExecutor().execute(work, context()))


async def slow(state: dict[str, Any]) -> None:
    await asyncio.sleep(60)


def test_it_runs_many_at_once(engine: Engine) -> None:
    async def call() -> list[ExecutionResult]:
        work = NodeWorkflow("w", [Node("a", answer)])
        given = context({"docs": 1, "rank": 2, "last": 3})
        return await asyncio.gather(*[SimpleExecutor().execute(work, given) for _ in range(10)])

    began = time.monotonic()
    assert ["1 2 3"] * 10 == [one.output["answer"] for one in asyncio.run(call())]
    assert time.monotonic() - began < 60

"""The chain: its order, and what middleware may do."""

import asyncio
import logging
from typing import Any

import pytest

from flowq.core.errors import InvalidFlow
from flowq.pipeline import (
    ExecutionContext,
    ExecutionResult,
    Next,
    Node,
    NodeWorkflow,
    NotExecutable,
    ParallelExecutor,
    SimpleExecutor,
    WorkflowPipeline,
)

HERE = SimpleExecutor(recorded=False)


def context(**state: Any) -> ExecutionContext:
    return ExecutionContext("w", "ann", initial_state=state)


class Recording:
    """Writes down when it begins and ends."""

    def __init__(self, name: str, log: list[str], calls: int = 1) -> None:
        self.name, self.log, self.calls = name, log, calls

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        self.log.append(f"{self.name} begins")
        for _ in range(self.calls):
            result = await call_next(workflow, context)
        self.log.append(f"{self.name} ends")
        return result


class Failing:
    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        raise RuntimeError("no")


def test_first_added_is_outermost() -> None:
    log: list[str] = []
    pipeline = WorkflowPipeline(HERE).use(Recording("a", log)).use(Recording("b", log))
    work = NodeWorkflow("w", [Node("n", lambda state: log.append("node"))])

    asyncio.run(pipeline.execute(work, context()))

    assert ["a begins", "b begins", "node", "b ends", "a ends"] == log


def test_a_middleware_may_call_again_change_the_context_or_answer_itself() -> None:
    counted: list[Any] = []
    work = NodeWorkflow("w", [Node("n", lambda state: counted.append(state["x"]))])

    async def changing(workflow: Any, context: ExecutionContext, call: Next) -> ExecutionResult:
        context.initial_state["x"] = 2
        return await call(workflow, context)

    async def answering(workflow: Any, context: ExecutionContext, call: Next) -> ExecutionResult:
        return ExecutionResult({"answered": True})

    asyncio.run(
        WorkflowPipeline(HERE).use(Recording("a", [], 2)).use(changing).execute(work, context(x=1))
    )
    assert [2, 2] == counted

    short = WorkflowPipeline(HERE).use(answering)
    assert {"answered": True} == asyncio.run(short.execute(work, context())).output
    assert [2, 2] == counted


def test_a_failure_is_logged_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError, match=r"^no$"):
        asyncio.run(WorkflowPipeline(Failing()).execute(object(), context()))

    # Tasks of other tests may be collected meanwhile.
    said = [one.getMessage() for one in caplog.records if one.name.startswith("flowq.pipeline")]
    assert ["the execution of workflow w failed: RuntimeError: no"] == said


def test_what_is_neither_executor_nor_middleware_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="is no executor"):
        WorkflowPipeline(object())  # type: ignore[arg-type]
    with pytest.raises(InvalidFlow, match="is no executor"):
        WorkflowPipeline(SimpleExecutor)  # type: ignore[arg-type]
    with pytest.raises(InvalidFlow, match="is no middleware"):
        WorkflowPipeline(HERE).use("x")  # type: ignore[arg-type]
    with pytest.raises(InvalidFlow, match="is no middleware"):
        WorkflowPipeline(HERE).use(Recording)  # type: ignore[arg-type]


def test_a_middleware_without_a_result_is_named() -> None:
    async def forgetful(workflow: Any, context: ExecutionContext, call: Next) -> None:
        await call(workflow, context)

    pipeline = WorkflowPipeline(HERE).use(forgetful)  # type: ignore[arg-type]
    work = NodeWorkflow("w", [Node("n", lambda state: None)])
    with pytest.raises(InvalidFlow, match=r"forgetful.*has returned None"):
        asyncio.run(pipeline.execute(work, context()))


async def _add(state: dict[str, Any]) -> dict[str, Any]:
    return {"sum": state.get("sum", 0) + 1}


def test_simple_merges_one_after_the_other() -> None:
    nodes = [Node("a", _add), Node("b", _add), Node("c", lambda state: 7), Node("d", _add)]

    result = asyncio.run(HERE.execute(NodeWorkflow("w", nodes), context(x=1)))

    assert ({"sum": 3}, {"x": 1, "sum": 3}) == (result.output, result.state)
    assert ("simple_sequential", 4) == (
        result.metrics["execution_type"],
        result.metrics["nodes_executed"],
    )


def test_parallel_gives_each_the_state_before_it_and_the_last_wins() -> None:
    nodes = [Node("a", _add), Node("b", _add), Node("c", _add, ("a", "b"))]
    executor = ParallelExecutor(max_concurrent=2, recorded=False)

    result = asyncio.run(executor.execute(NodeWorkflow("w", nodes), context()))

    assert {"sum": 2} == result.state
    assert (3, 2, 2) == tuple(
        result.metrics[name] for name in ("nodes_executed", "node_groups", "max_concurrent")
    )


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "2", None])
def test_limits_that_are_none_are_refused(most: Any) -> None:
    with pytest.raises(InvalidFlow, match="max_concurrent"):
        ParallelExecutor(max_concurrent=most)


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="where is 'there'"):
        SimpleExecutor(where="there")  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [[1], None, "x"])
def test_a_state_that_is_no_mapping_is_refused(state: Any) -> None:
    given = ExecutionContext("w", "ann", initial_state=state)
    with pytest.raises(NotExecutable, match="not a mapping"):
        asyncio.run(HERE.execute(NodeWorkflow("w", [Node("a", _add)]), given))

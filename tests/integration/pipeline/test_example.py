"""The example of the documentation, and the snippets of the request for it, word for word."""

import asyncio
from typing import Any

from flowq import Run
from flowq.engine.engine import Engine
from flowq.pipeline import (
    CachingMiddleware,
    ExecutionContext,
    ExecutionResult,
    ExecutorType,
    MonitoringMiddleware,
    Node,
    NodeWorkflow,
    RateLimitExceeded,
    RateLimitingMiddleware,
    RetryMiddleware,
    ValidationMiddleware,
    WorkflowPipeline,
    create_executor,
    create_executor_for_workflow,
    get_executor_factory,
)
from tests.tools import servers


def fetch(state: dict[str, Any]) -> dict[str, Any]:
    return {"documents": ["a", "b"]}


async def rank(state: dict[str, Any]) -> dict[str, Any]:
    return {"rank": len(state["messages"])}


def answer(state: dict[str, Any]) -> dict[str, Any]:
    return {"answer": f"{len(state['documents'])} documents, rank {state['rank']}"}


# fmt: off
chat = NodeWorkflow("chat", [Node("fetch", fetch), Node("rank", rank), Node("answer", answer, after=("fetch", "rank"))])  # noqa: E501
pipeline = (WorkflowPipeline(create_executor(ExecutorType.PARALLEL, max_concurrent=5))
    .use(MonitoringMiddleware()).use(CachingMiddleware(ttl_seconds=3600)).use(RetryMiddleware(max_retries=3))
    .use(ValidationMiddleware()).use(RateLimitingMiddleware(max_requests=60)))
context = (ExecutionContext.builder().workflow_id("chat").user_id("ann").with_state({"messages": [{"role": "user", "content": "hi"}]}).build())  # noqa: E501
# fmt: on


def test_the_example(engine: Engine) -> None:
    result = asyncio.run(pipeline.execute(chat, context))

    made = {"documents": ["a", "b"], "rank": 1, "answer": "2 documents, rank 1"}
    assert {"messages": [{"role": "user", "content": "hi"}], **made} == result.state
    took, run_id = result.metrics.pop("execution_time_ms"), result.metrics.pop("run_id")
    assert 0 <= took < 60_000
    assert {
        "execution_type": "parallel",
        "nodes_executed": 3,
        "node_groups": 2,
        "max_concurrent": 5,
        "tokens_used": 0,
        "cost": 0.0,
    } == result.metrics
    assert result.metadata["attempts"] == 1

    again = asyncio.run(pipeline.execute(chat, context))
    assert ("hit", result.output) == (again.metadata["cache"], again.output)
    assert again.metrics["run_id"] == run_id  # no other run

    run = pipeline.enqueue(chat, context)
    from_worker = run.result(60)
    assert isinstance(from_worker, ExecutionResult)
    assert ("hit", result.output) == (from_worker.metadata["cache"], from_worker.output)


def test_the_61st_of_a_minute(engine: Engine) -> None:
    limited = WorkflowPipeline(create_executor("simple", recorded=False)).use(
        RateLimitingMiddleware(max_requests=60, window_seconds=600)
    )

    async def play() -> list[Any]:
        calls = [limited.execute(chat, context) for _ in range(61)]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(play())

    (refused,) = [one for one in results if isinstance(one, Exception)]
    assert isinstance(refused, RateLimitExceeded)
    assert "Rate limit exceeded: 60 requests per 600 seconds" == refused.message


class MyCustomExecutor:
    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        return ExecutionResult({"custom": True})


def test_the_snippets_of_the_request(engine: Engine) -> None:
    servers.require("langgraph")
    from flowq.pipeline import LangGraphExecutor

    # fmt: off
    WorkflowPipeline(LangGraphExecutor()).use(MonitoringMiddleware()).use(CachingMiddleware(ttl_seconds=3600)).use(RetryMiddleware(max_retries=3)).use(ValidationMiddleware()).use(RateLimitingMiddleware(max_requests=60))
    # fmt: on
    create_executor(ExecutorType.PARALLEL, max_concurrent=5)
    executor = create_executor_for_workflow(chat)
    found = asyncio.run(WorkflowPipeline(executor).execute(chat, context))
    assert Run.get(found.metrics["run_id"]).status == "completed"

    factory = get_executor_factory()
    factory.register("custom", MyCustomExecutor)
    custom = WorkflowPipeline(factory.create("custom"))
    assert {"custom": True} == asyncio.run(custom.execute(chat, context)).output

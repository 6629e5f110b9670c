"""Graphs of LangGraph run in one recorded step."""

import asyncio
from importlib import import_module
from typing import Any

import pytest

from flowq import Run
from flowq.engine.engine import Engine
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.pipeline import (
    ExecutionContext,
    LangGraphExecutor,
    Node,
    NodeWorkflow,
    NotExecutable,
    RetryMiddleware,
    SimpleExecutor,
    WorkflowPipeline,
    create_executor_for_workflow,
)
from tests.tools import servers

servers.require("langgraph")
graphs: Any = import_module("tests.integration.pipeline.graphs")


def context(text: str, conversation: str | None = None) -> ExecutionContext:
    state = {"messages": [{"role": "user", "content": text}]}
    return ExecutionContext("triage", "ann", conversation, state)


def execute(graph: Any, given: ExecutionContext, **options: Any) -> Any:
    return asyncio.run(LangGraphExecutor(**options).execute(graph, given))


@pytest.mark.parametrize(
    "graph",
    [graphs.TRIAGE, graphs.triage, "tests.integration.pipeline.graphs:TRIAGE"],
    ids=["compiled", "builder", "name"],
)
def test_a_graph_runs_in_one_step(engine: Engine, graph: Any) -> None:
    result = execute(graph, context("fire!"))

    assert {"response": "at once"} == result.output
    assert ["classify", "hurry", "answer"] == result.state["trail"] == result.metadata["tasks"]
    assert (7, 5, 2, "langgraph", 3) == tuple(
        result.metrics[name]
        for name in (
            *("tokens_used", "prompt_tokens", "completion_tokens"),
            *("execution_type", "nodes_executed"),
        )
    )
    view = Run.get(result.metrics["run_id"]).view()
    assert ["flowq.pipeline.nodes", "flowq.langgraph"] == [one.name for one in view.steps]
    assert ["classify", "answer"] == execute(graph, context("hello")).state["trail"]


def test_without_records(engine: Engine) -> None:
    result = execute(graphs.triage().compile(), context("hello"), recorded=False)

    assert ({"response": "in time"}, None) == (result.output, result.metrics["run_id"])
    assert 7 == result.metrics["tokens_used"]


def test_a_conversation_goes_on_and_pays_for_what_is_new(engine: Engine) -> None:
    for count in (1, 2):
        result = execute(graphs.REMEMBERING, context("hello", f"c {engine.records}"))
        assert count * 2 == len(result.state["messages"])
        assert 7 == result.metrics["tokens_used"]


def test_what_a_graph_raises_is_raised(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no"):
        execute(graphs.failing, context("x"))


def test_what_is_no_graph_is_refused(engine: Engine) -> None:
    with pytest.raises(NotExecutable, match="cannot be found by a worker"):
        execute(graphs.triage().compile(), context("x"))
    with pytest.raises(NotExecutable, match="cannot be imported here"):
        execute("tests.integration.pipeline.graphs:NO", context("x"))
    work = NodeWorkflow("w", [Node("x", graphs.classify)])
    with pytest.raises(NotExecutable, match="has nodes and is no graph"):
        execute(work, context("x"))
    with pytest.raises(NotExecutable, match="is no workflow of nodes"):
        asyncio.run(SimpleExecutor().execute(graphs.TRIAGE, context("x")))
    with pytest.raises(NotExecutable, match="is no graph"):
        execute("tests.integration.pipeline.graphs:__name__", context("x"))


def test_it_is_chosen_and_enqueued(engine: Engine) -> None:
    executor = create_executor_for_workflow(graphs.TRIAGE)
    pipeline = WorkflowPipeline(executor).use(RetryMiddleware())

    result = pipeline.enqueue(graphs.TRIAGE, context("fire!")).result(60)

    assert ({"response": "at once"}, 1) == (result.output, result.metadata["attempts"])
    assert 7 == result.metrics["tokens_used"]


def test_what_its_nodes_ask_of_models_is_paid_by_the_step(
    engine: Engine, fake_llm: FakeLlm
) -> None:
    result = execute(graphs.asking, context("hello"))

    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    view = Run.get(result.metrics["run_id"]).view()
    assert (1, tokens, tokens) == (
        fake_llm.stats.answered,
        result.metrics["tokens_used"],
        view.tokens,
    )
    assert result.metrics["cost"] == float(view.cost) > 0

"""The sample of a pipeline, with the fake model, in this process and on workers."""

import asyncio

import pytest

from examples.chat import chat, context_of, pipeline
from flowq import Run
from flowq.engine.engine import Engine
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.pipeline import ExecutionContext, ValidationError, get_event_bus
from flowq.pipeline.events.types import WorkflowEvent
from tests.integration.pipeline.conftest import engine

__all__ = ["engine"]

QUESTION = "How deep is the sea?"


def test_a_question_is_answered_once_and_paid_once(engine: Engine, fake_llm: FakeLlm) -> None:
    heard: list[WorkflowEvent] = []
    get_event_bus().subscribe(None, heard.append)
    context = context_of(QUESTION, f"ann {engine.records}"[:50])

    first = asyncio.run(pipeline.execute(chat, context))
    second = asyncio.run(pipeline.execute(chat, context))
    get_event_bus().unsubscribe(None, heard.append)

    assert 1 == fake_llm.stats.answered
    assert first.output["answer"].startswith("A fake answer to: Answer the last question")
    assert ["user", "assistant"] == [one["role"] for one in first.state["messages"]]
    assert 2 == len(first.output["notes"])
    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert tokens == first.metrics["tokens_used"]
    assert first.metrics["cost"] > 0
    assert ("hit", first.output) == (second.metadata["cache"], second.output)
    view = Run.get(first.metrics["run_id"]).view()
    assert (tokens, float(view.cost)) == (view.tokens, first.metrics["cost"])
    kinds = [one.event_type for one in heard]
    assert kinds[:4] == ["workflow_started", "llm_loaded", "execution_started", "token_usage"]
    assert [tokens, 0] == [
        one.data["tokens_used"] for one in heard if one.event_type == "token_usage"
    ]


def test_on_workers_each_attempt_is_paid_and_told_once(engine: Engine, fake_llm: FakeLlm) -> None:
    run = pipeline.enqueue(chat, context_of("Is there salt?", f"bob {engine.records}"[:50]))
    last = asyncio.run(get_event_bus().follow(run, timeout=60))
    result = run.result(60)

    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert (1, tokens) == (fake_llm.stats.answered, result.metrics["tokens_used"])
    assert (tokens, result.metrics["cost"]) == (last.data["tokens_used"], last.data["cost"])
    assert 1 == result.metadata["attempts"]


def test_what_is_no_conversation_is_refused(engine: Engine) -> None:
    wrong = ExecutionContext("chat", "ann", initial_state={"messages": "hi"})
    with pytest.raises(ValidationError, match="messages must be a list"):
        asyncio.run(pipeline.execute(chat, wrong))

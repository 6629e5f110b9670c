"""A chat as a pipeline: notes are found and ranked at once, then a model answers.

    flowq fake-llm &                                             # or a key: OPENAI_API_KEY=…
    export FLOWQ_MODEL=openai:fake FLOWQ_OPENAI_BASE_URL=http://127.0.0.1:8399/v1
    celery -A examples.chat worker --pool threads                # a worker, in one terminal
    python -m examples.chat "How deep is the sea?"               # in another one

All five middlewares surround it, the first one outermost. The same question again is answered from
the cache: nothing runs, and nothing is paid or counted.
"""

import asyncio
import sys
from typing import Any

from pydantic import BaseModel

import flowq
from flowq import UnstructuredStep
from flowq.pipeline import (
    CachingMiddleware,
    ExecutionContext,
    ExecutionResult,
    ExecutorType,
    LoggingSubscriber,
    MonitoringMiddleware,
    Node,
    NodeWorkflow,
    RateLimitingMiddleware,
    RetryMiddleware,
    ValidationMiddleware,
    WorkflowPipeline,
    create_executor,
    get_event_bus,
)

app = flowq.celery_app()

NOTES = {
    "sea": "The sea is 3,700 metres deep on average.",
    "deep": "The deepest place is the Challenger Deep: 10,935 metres.",
    "salt": "A litre of it has 35 grams of salt.",
}


class AnswerQuestion(UnstructuredStep):
    """Answers the last question of a conversation."""

    step_name = "examples.answer_question"
    prompt_file = "answer_question.txt"

    class Inputs(BaseModel):
        """What the prompt has."""

        conversation: str
        notes: list[str]
        words: int = 50


# --- nodes: each gets the state, and returns what is merged into it -------------------------------


def find_notes(state: dict[str, Any]) -> dict[str, Any]:
    """Find the notes that have a word of the question."""
    question = state["messages"][-1]["content"].lower()
    return {"notes": [note for word, note in NOTES.items() if word in question]}


def read_conversation(state: dict[str, Any]) -> dict[str, Any]:
    """Write the conversation as one text."""
    lines = [f"{one['role']}: {one['content']}" for one in state["messages"]]
    return {"conversation": "\n".join(lines)}


async def answer(state: dict[str, Any]) -> dict[str, Any]:
    """Ask the model; its tokens and cost are those of this node."""
    inputs = {name: state[name] for name in ("conversation", "notes")}
    said = await AnswerQuestion().execute(inputs)
    reply = {"role": "assistant", "content": said.output_content}
    return {"answer": said.output_content, "messages": [*state["messages"], reply]}


chat = NodeWorkflow(
    "chat",
    [
        Node("find", find_notes),
        Node("read", read_conversation),
        Node("answer", answer, after=("find", "read"), timeout=60),
    ],
)

pipeline = (
    WorkflowPipeline(create_executor(ExecutorType.PARALLEL, max_concurrent=5))
    .use(MonitoringMiddleware())
    .use(CachingMiddleware(ttl_seconds=3600))
    .use(RetryMiddleware(max_retries=3))
    .use(ValidationMiddleware())
    .use(RateLimitingMiddleware(max_requests=60))
)


def context_of(question: str, user: str) -> ExecutionContext:
    """Return the context of a question."""
    return (
        ExecutionContext.builder()
        .workflow_id("chat")
        .user_id(user)
        .with_state({"messages": [{"role": "user", "content": question}]})
        .with_metadata(provider="openai", model="fake")
        .build()
    )


async def main(question: str) -> ExecutionResult:
    """Answer a question in this process, then on a worker; the second answer is cached."""
    get_event_bus().subscribe(None, LoggingSubscriber())
    result = await pipeline.execute(chat, context_of(question, "ann"))
    run = await pipeline.aenqueue(chat, context_of(question, "ann"))
    await get_event_bus().follow(run, timeout=60)
    print(result.output["answer"])
    print(result.metrics)
    print((await run.aresult()).metadata)
    return result


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "How deep is the sea?"))

"""The chain as a durable program: what it records, and what is made of it again."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from flowq import Run, testing
from flowq.core.errors import RunFailed
from flowq.core.states import RunState
from flowq.engine.engine import Engine
from flowq.pipeline import (
    CachingMiddleware,
    ExecutionContext,
    ExecutionResult,
    MemoryCache,
    Middleware,
    MonitoringMiddleware,
    Next,
    Node,
    NodeWorkflow,
    NotExecutable,
    RateLimitingMiddleware,
    RedisCache,
    RetryMiddleware,
    SimpleExecutor,
    ValidationMiddleware,
    WorkflowEvent,
    WorkflowEventBus,
    WorkflowPipeline,
)
from flowq.pipeline.pipeline import chain

ATTEMPTS: list[str] = []
LOCK = threading.Lock()


def first(state: dict[str, Any]) -> dict[str, Any]:
    return {"first": state["value"] + 1}


def flaky(state: dict[str, Any]) -> dict[str, Any]:
    """Fail as often as the state says."""
    with LOCK:
        ATTEMPTS.append(state["name"])
        tries = ATTEMPTS.count(state["name"])
    if tries <= state["failures"]:
        raise ConnectionResetError(f"attempt {tries}")
    return {"tries": tries}


WORK = NodeWorkflow("work", [Node("first", first), Node("flaky", flaky)])


def context(name: str, failures: int = 0, **fields: Any) -> ExecutionContext:
    state = {"name": name, "failures": failures, "value": 1, "messages": [name]}
    return ExecutionContext("work", "ann", "c1", state, **fields)


@dataclass(frozen=True)
class Shouting:
    """A middleware of the application."""

    word: str

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        context.variables["word"] = self.word
        result = await call_next(workflow, context)
        return ExecutionResult({**result.output, "word": self.word}, metadata=result.metadata)


def test_pauses_take_no_worker_and_attempts_are_child_runs() -> None:
    pipeline = (
        WorkflowPipeline(SimpleExecutor())
        .use(MonitoringMiddleware())
        .use(RetryMiddleware(max_retries=3))
        .use(ValidationMiddleware())
    )
    inputs = pipeline._inputs(WORK, context("virtual", 3))

    with testing.start(chain, inputs) as run:
        began = run.now
        result = run.result()
        steps = run.steps
        took = (run.now - began).total_seconds()

    assert 7 <= took < 8
    assert (4, {"first": 2, "tries": 4}) == (result.metadata["attempts"], result.output)
    sleeps = [one for one in steps if one.name == "sleep"]
    children = [one for one in steps if one.name == "flowq.pipeline.nodes"]
    assert (3, 4) == (len(sleeps), len(children))
    assert 4 == len({one.key for one in children})
    assert ["virtual"] * 4 == [one for one in ATTEMPTS if one == "virtual"]


def test_the_whole_chain_is_deterministic() -> None:
    pipeline = WorkflowPipeline(SimpleExecutor()).use(Shouting("hey")).use(RetryMiddleware())
    testing.assert_deterministic(chain, pipeline._inputs(WORK, context("replayed")))


@pytest.mark.parametrize(
    "chosen, tries",
    [
        (RetryMiddleware(max_retries=1, initial_backoff_seconds=0.01), 2),
        (RetryMiddleware(retryable_exceptions=(ValueError,)), 1),
        (RetryMiddleware(max_retries=1, retryable_exceptions=(OSError,)), 2),
    ],
)
def test_an_exhausted_run_fails_with_the_last_error(
    engine: Engine, chosen: RetryMiddleware, tries: int
) -> None:
    name = f"exhausted {engine.records} {chosen}"
    chosen_quick = RetryMiddleware(chosen.max_retries, 0.01, 2.0, chosen.retryable_exceptions)

    run = WorkflowPipeline(SimpleExecutor()).use(chosen_quick).enqueue(WORK, context(name, 9))

    with pytest.raises(RunFailed, match=f"ConnectionResetError: attempt {tries}"):
        run.result(60)
    assert tries == ATTEMPTS.count(name)


def test_results_are_kept_and_turns_are_counted_in_steps(engine: Engine) -> None:
    limited = RateLimitingMiddleware(max_requests=1, window_seconds=600)
    pipeline = (
        WorkflowPipeline(SimpleExecutor())
        .use(CachingMiddleware(RedisCache("tests")))
        .use(RetryMiddleware())
        .use(limited)
    )
    name = f"kept {engine.records}"

    first_run, second = pipeline.enqueue(WORK, context(name)), None
    assert {"attempts": 1} == first_run.result(60).metadata
    second = pipeline.enqueue(WORK, context(name))
    assert {"attempts": 1, "cache": "hit"} == second.result(60).metadata

    names = [one.name for one in first_run.view().steps]
    for wanted in ("recall", "turn", "nodes", "keep"):
        assert f"flowq.pipeline.{wanted}" in names
    assert ["flowq.pipeline", "flowq.pipeline.recall"] == [one.name for one in second.view().steps]
    assert 0 == limited.get_remaining_requests("ann")
    with pytest.raises(RunFailed, match="Rate limit exceeded: 1 requests per 600 seconds"):
        pipeline.enqueue(WORK, context(f"other {name}")).result(60)
    limited.reset_all()


def test_what_is_wrong_is_refused_before_anything_is_recorded(engine: Engine) -> None:
    pipeline = WorkflowPipeline(SimpleExecutor())
    wrong_state = ExecutionContext("w", "ann", initial_state={"x": object()})
    local = NodeWorkflow("w", [Node("a", lambda state: None)])

    for work, given in ((WORK, wrong_state), (local, context("x")), (object(), context("x"))):
        with pytest.raises(NotExecutable):
            pipeline.enqueue(work, given)
    alone: list[tuple[Middleware, str]] = [
        (CachingMiddleware(MemoryCache()), "MemoryCache that cannot be made again"),
        (RateLimitingMiddleware(backend="memory"), "counts in one process only"),
    ]
    for middleware, message in alone:
        with pytest.raises(NotExecutable, match=message):
            WorkflowPipeline(SimpleExecutor()).use(middleware).enqueue(WORK, context("x"))


def test_the_events_of_a_run_come_once(engine: Engine) -> None:
    pipeline = WorkflowPipeline(SimpleExecutor()).use(
        RetryMiddleware(max_retries=1, initial_backoff_seconds=0.01)
    )
    run = pipeline.enqueue(WORK, context(f"followed {engine.records}", 1))
    heard: list[WorkflowEvent] = []
    bus = WorkflowEventBus()
    bus.subscribe(None, heard.append)

    last = asyncio.run(bus.follow(run, timeout=60))

    kinds = [one.event_type for one in heard]
    assert ["workflow_started", "execution_started"] == kinds[:2]
    assert ["token_usage", "execution_completed"] == kinds[-2:]
    nodes = [one.data["node"] for one in heard if one.event_type == "node_executed"]
    assert ["first", "first", "flaky"] == sorted(nodes)
    assert 2 + 3 + 2 == len(heard)
    assert last is heard[-1]
    assert {(str(run.id), "ann", "c1")} == {
        (one.execution_id, one.user_id, one.conversation_id) for one in heard
    }


def test_a_failed_run_is_told_as_one(engine: Engine) -> None:
    run = WorkflowPipeline(SimpleExecutor()).enqueue(WORK, context(f"told {engine.records}", 9))
    last = asyncio.run(WorkflowEventBus().follow(run, timeout=60))

    assert ("execution_failed", "RunFailed") == (last.event_type, last.data["error_type"])
    assert "ConnectionResetError: attempt 1" in last.data["error"]


def test_options_of_the_run(engine: Engine) -> None:
    pipeline = WorkflowPipeline(SimpleExecutor())
    key = f"key {engine.records}"[:60]
    run = pipeline.enqueue(WORK, context(key), idempotency_key=key)

    async def again() -> Run[ExecutionResult]:
        return await pipeline.aenqueue(WORK, context(key), idempotency_key=key)

    assert run == asyncio.run(again())
    assert run.wait(60) is RunState.COMPLETED
    assert "ann" == run.view().user_id

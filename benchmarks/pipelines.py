"""Pipelines beside the same work without them: what a middleware, a run and a graph cost."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, arg-type, assignment"

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import flowq
from benchmarks import servers
from flowq import flow, step
from flowq.pipeline import (
    CachingMiddleware,
    CeleryExecutor,
    ExecutionContext,
    ExecutionResult,
    LangGraphExecutor,
    Next,
    Node,
    NodeWorkflow,
    RateLimitingMiddleware,
    RedisCache,
    WorkflowPipeline,
)

app = flowq.celery_app()
CONTEXT = ExecutionContext("bench", "ann", initial_state={"messages": []})


def nothing(_state: dict[str, Any]) -> dict[str, Any]:
    """Return nothing."""
    return {}


@step
def noop(state: dict[str, Any]) -> Any:
    """Return the state."""
    return state


@flow
async def ten(state: dict[str, Any]) -> dict[str, Any]:
    """Await ten steps at once."""
    for made in await asyncio.gather(*(noop(state) for _ in range(10))):
        state = {**state, **made}
    return state


WORK = NodeWorkflow("ten", [Node(f"n{number}", nothing) for number in range(10)])


def graph() -> Any:
    """Return a graph of five nodes that do nothing."""
    from langgraph.graph import StateGraph

    builder: Any = StateGraph(dict)
    names = [f"n{number}" for number in range(5)]
    for name in names:
        builder.add_node(name, nothing)
    builder.set_entry_point(names[0])
    for one, other in pairwise(names):
        builder.add_edge(one, other)
    return builder.compile()


@dataclass(frozen=True)
class Passing:
    """A middleware that passes on."""

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Pass on."""
        return await call_next(workflow, context)


class Immediate:
    """An executor that does nothing."""

    async def execute(self, _workflow: Any, context: ExecutionContext) -> ExecutionResult:
        """Return a result."""
        return ExecutionResult({"a": 1}, context.initial_state)


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the rows of the table."""
    yield from asyncio.run(_chains())
    with servers.worker("benchmarks.pipelines", "prefork", 2):
        yield asyncio.run(_ten_nodes())
    if find_spec("langgraph") is not None:
        yield asyncio.run(_graph())


async def _best(work: Callable[[], Awaitable[Any]], rounds: int) -> float:
    """Return the median of some rounds, in ms: the machine is shared."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return sorted(times)[rounds // 2] * 1000


async def _chains() -> list[tuple[str, str, str, str, str]]:
    def timed(*middleware: Any) -> Callable[[], Awaitable[Any]]:
        pipeline = WorkflowPipeline(Immediate())
        for one in middleware:
            pipeline.use(one)
        return lambda: pipeline.execute(WORK, CONTEXT)

    alone = await _best(timed(), 2_000)
    ten_more = await _best(timed(*[Passing()] * 10), 2_000)
    one = (ten_more - alone) / 10 * 1000
    cached = timed(CachingMiddleware(RedisCache("bench")))
    await cached()
    hit = await _best(cached, 500)
    turn = await _best(timed(RateLimitingMiddleware(max_requests=1_000_000)), 500)
    return [
        ("one middleware without I/O", "", f"{one:.1f} us", "", "<= 20 us"),
        ("a hit of the cache in Redis", "", f"{hit:.2f} ms", "", "<= 3 ms"),
        ("a turn of the rate limit in Redis", "", f"{turn:.2f} ms", "", "<= 2 ms"),
    ]


async def _ten_nodes() -> tuple[str, str, str, str, str]:
    pipeline = WorkflowPipeline(CeleryExecutor())

    async def awaited() -> None:
        run = await ten.aenqueue(state={"messages": []})
        await run.aresult()

    for work in (awaited, lambda: pipeline.execute(WORK, CONTEXT)):
        await work()
    theirs = await _best(awaited, 40)
    ours = await _best(lambda: pipeline.execute(WORK, CONTEXT), 40)
    times = f"{theirs:.0f} ms", f"{ours:.0f} ms", f"{ours / theirs:.2f}x"
    return ("10 nodes at once, against a program of 10", *times, "<= 1.15x")


async def _graph() -> tuple[str, str, str, str, str]:
    executor, compiled = LangGraphExecutor(), graph()

    async def alone() -> None:
        await compiled.ainvoke({"messages": []})

    async def recorded() -> None:
        await executor.execute(graph, CONTEXT)

    for work in (alone, recorded):
        await work()
    theirs, ours = await _best(alone, 40), await _best(recorded, 40)
    times = f"{theirs:.1f} ms", f"{ours:.1f} ms", f"{ours / theirs:.2f}x"
    return ("a graph of 5 nodes, against ainvoke", *times, "<= 1.3x + 20 ms")

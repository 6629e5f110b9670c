"""Random programs, in random orders of ends, cut at every place and replayed: always the same."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowq.core.errors import StepFailed
from flowq.engine.replay import Execution, ProgramCall, current
from tests.tools.replaying import Host, as_text, call, start

NAMES = st.sampled_from(["fetch", "parse", "write"])
SECONDS = st.sampled_from([0.05, 0.25, 1, 3600])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("in turn"), some),
        st.tuples(st.just("gather"), some),
        st.tuples(st.just("gather all the same"), some),
        st.tuples(st.just("group"), some),
        st.tuples(st.just("first"), some),
        st.tuples(st.just("as completed"), some),
        st.tuples(st.just("queue"), some),
        st.tuples(st.just("lock"), some),
        st.tuples(st.just("shield"), inner),
        st.tuples(st.just("background"), inner, inner),
        st.tuples(st.just("caught"), inner, inner),
        st.tuples(st.just("finally"), inner, inner),
        st.tuples(st.just("within"), SECONDS, inner),
        st.tuples(st.just("wait for"), SECONDS, inner),
    )


LEAVES = st.one_of(
    st.tuples(st.just("call"), NAMES),
    st.tuples(st.just("gather calls"), st.lists(NAMES, min_size=1, max_size=3)),
    st.tuples(st.just("sleep"), SECONDS),
    st.just(("draw",)),
)
PROGRAMS = st.recursive(LEAVES, _nested, max_leaves=12)


async def _in_turn(nodes: list[Any]) -> list[Any]:
    return [await play(node) for node in nodes]


async def _group(nodes: list[Any]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(play(node)) for node in nodes]
    return [task.result() for task in tasks]


async def _first(nodes: list[Any]) -> Any:
    tasks = [asyncio.create_task(play(node)) for node in nodes]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return [tasks.index(one) for one in tasks if one in done]


async def _as_completed(nodes: list[Any]) -> list[Any]:
    results = []
    for one in asyncio.as_completed([asyncio.create_task(play(node)) for node in nodes]):
        try:
            results.append(await one)
        except (StepFailed, TimeoutError, ExceptionGroup) as error:
            results.append(repr(error))
    return results


async def _queue(nodes: list[Any]) -> list[Any]:
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)

    async def produce(node: Any) -> None:
        try:
            await queue.put(await play(node))
        except (StepFailed, TimeoutError, ExceptionGroup) as error:
            await queue.put(repr(error))

    tasks = [asyncio.create_task(produce(node)) for node in nodes]
    results = [await queue.get() for _ in nodes]
    await asyncio.gather(*tasks)
    return results


async def _lock(nodes: list[Any]) -> list[Any]:
    lock, order = asyncio.Lock(), []

    async def one(index: int, node: Any) -> Any:
        async with lock:
            order.append(index)
            return await play(node)

    return [await asyncio.gather(*(one(*pair) for pair in enumerate(nodes))), order]


async def _background(first: Any, second: Any) -> Any:
    task = asyncio.create_task(play(first))
    result = await play(second)
    return [result, await task]


async def _caught(first: Any, second: Any) -> Any:
    try:
        return await play(first)
    except (StepFailed, TimeoutError, ExceptionGroup) as error:
        return [repr(error), await play(second)]


async def _finally(first: Any, second: Any) -> Any:
    try:
        return await play(first)
    finally:
        await play(second)


async def _within(seconds: float, node: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await play(node)


def _draw() -> Any:
    program = current()
    assert program is not None
    return program.draw().hex(), program.now.isoformat()


async def _leaf(kind: str, given: Any) -> Any:
    match kind:
        case "call":
            return await call(given)
        case "gather calls":
            return await asyncio.gather(*(call(name) for name in given))
        case "sleep":
            return await asyncio.sleep(given)
    return _draw()


async def play(node: Any) -> Any:
    """Run a random program."""
    kind, *given = node
    branches: dict[str, Any] = {
        "in turn": _in_turn,
        "group": _group,
        "first": _first,
        "as completed": _as_completed,
        "queue": _queue,
        "lock": _lock,
        "background": _background,
        "caught": _caught,
        "finally": _finally,
        "within": _within,
        "gather": lambda nodes: asyncio.gather(*map(play, nodes)),
        "gather all the same": lambda nodes: asyncio.gather(
            *map(play, nodes), return_exceptions=True
        ),
        "shield": lambda inner: asyncio.shield(play(inner)),
        "wait for": lambda seconds, inner: asyncio.wait_for(play(inner), seconds),
    }
    if kind in branches:
        result = await branches[kind](*given)
        return repr(result) if kind == "gather all the same" else result
    return await _leaf(kind, given[0] if given else None)


def _keys(calls: list[ProgramCall]) -> list[str]:
    return [one.key for one in calls]


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    tree = draw(PROGRAMS)
    numbers = draw(st.randoms(use_true_random=False))
    failing = draw(st.sampled_from([0, 0, 0.3]))
    cancel_at = draw(st.sampled_from([None, None, 0, 1, 3]))

    def program() -> Coroutine[Any, Any, Any]:
        return play(tree)

    return Host(
        program,
        pick=numbers.randrange,
        fails=lambda _: numbers.random() < failing,
        cancel_at=cancel_at,
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(hosts())
def test_replay_from_every_cut_reaches_the_same_calls_and_the_same_end(host: Host) -> None:
    end = as_text(host.run())

    for cut in range(len(host.history) + 1):
        recorded = host.calls[: host.cuts[cut]]
        calls = list(recorded)
        with closing(start(host.function, recorded)) as execution:
            execution.replay(host.history[:cut])
            progress = execution.run()
            assert () == progress.calls, "all of it is recorded"
            for observation in host.history[cut:]:
                execution.feed([observation])
                progress = execution.run()
                calls += progress.calls
        assert _keys(host.calls) == _keys(calls)
        assert end == as_text(progress.end)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(hosts(), st.integers(1, 5))
def test_ends_that_are_observed_together_lead_to_the_same_end(host: Host, size: int) -> None:
    end = as_text(host.run())

    with closing(start(host.function)) as execution:
        for place in range(0, len(host.history), size):
            execution.feed(host.history[place : place + size])
            execution.run()
        assert end == as_text(execution.run().end)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(hosts())
def test_program_thrown_away_anywhere_leaves_nothing_behind(host: Host) -> None:
    """Neither an exception, nor a warning of the garbage collector, which would fail this test."""
    host.run()

    for cut in range(len(host.history) + 1):
        execution: Execution = start(host.function, host.calls[: host.cuts[cut]])
        execution.replay(host.history[:cut])
        execution.close()

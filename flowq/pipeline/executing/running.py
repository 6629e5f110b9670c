"""Runs the nodes of a plan, one after the other or as many at once as they and a limit allow.

The same code runs in a durable program, where a call is a step, and in a test, where it is the
function itself. So it reads no clock and depends on nothing but what calls return. A node gets the
initial state and, merged into it in the order of the plan, what the nodes before it have returned:
those that it waits for, or one after the other all. What other nodes return at the same time it
never sees, so that a result does not depend on which of them is faster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from flowq.pipeline.nodes import Node, Plan

#: Calls a node with the parts of its state, which are merged in this order.
Call: TypeAlias = Callable[[Node, Sequence[Any]], Awaitable[Any]]


def merged(parts: Iterable[Any]) -> dict[str, Any]:
    """Merge mappings into one; of two values under one key the last is kept."""
    state: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Mapping):
            state.update(part)
    return state


async def run_plan(plan: Plan, state: Any, call: Call, most: int | None) -> list[Any]:
    """Run all nodes; return what they have returned, in the order of the plan.

    Args:
        plan: The nodes.
        state: The initial state.
        call: Calls a node.
        most: How many nodes may run at once; None: one, in the order of the plan.

    Raises:
        Exception: that of the first node that failed; nodes that still ran are cancelled.
    """
    if most is None:
        parts = [state]
        for node in plan.nodes:
            parts.append(await call(node, tuple(parts)))
        return parts[1:]
    slots, before = asyncio.Semaphore(most), plan.before()
    ended = {node.name: asyncio.Event() for node in plan.nodes}
    results: dict[str, Any] = {}

    async def run(node: Node) -> None:
        for name in node.after:
            await ended[name].wait()
        async with slots:
            parts = (state, *(results[name] for name in before[node.name]))
            results[node.name] = await call(node, parts)
        ended[node.name].set()

    try:
        async with asyncio.TaskGroup() as group:
            for node in plan.nodes:
                group.create_task(run(node))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [results[node.name] for node in plan.nodes]

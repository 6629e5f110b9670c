"""The durable program that executors start: each node is a step, with a row of its own.

`flowq.pipeline.nodes` gets a workflow as JSON, with functions by name, and a state. A node that is
a flowq step is called as such, with its own options; any other function is run by the step
`flowq.pipeline.node`. Large results are passed on by reference, and so is a large initial state.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowq.authoring.definitions.flows import flow
from flowq.authoring.definitions.steps import Step, step
from flowq.engine.replay.execution import current
from flowq.engine.replay.values import LAZY_BYTES, LazyResult
from flowq.pipeline.executing.graph_step import run_graph
from flowq.pipeline.executing.running import merged, run_plan
from flowq.pipeline.importing import find_own
from flowq.pipeline.nodes import Node, Plan

NAME: Final = "flowq.pipeline.nodes"


@step(name="flowq.pipeline.node")
def run_function(function: str, parts: list[Any]) -> Any:
    """Run the function of a node; what it returns may be awaitable.

    Args:
        function: Its name.
        parts: The parts of its state.
    """
    return find_own(function)(merged(parts))


@step(name="flowq.pipeline.state")
def keep_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return a large state, which is passed on by reference from here."""
    return state


@flow(name=NAME)
async def nodes(
    workflow: dict[str, Any], state: dict[str, Any], max_concurrent: int | None = None
) -> dict[str, Any]:
    """Run the nodes of a workflow, or a graph of LangGraph as one node.

    Args:
        workflow: Its plan, as JSON; or the `graph`, with `thread` and `checkpointer`.
        state: The initial state.
        max_concurrent: How many nodes may run at once; None: one, in their order.

    Returns:
        `output`, what the nodes have returned, merged; `state`, with the initial state; `run_id`.
        Of a graph: what the step `flowq.langgraph` has returned, and `run_id`.

    Raises:
        StepFailed: a node has failed.
    """
    program = current()
    run_id = None if program is None else str(program.run_id)
    if "graph" in workflow:
        step = run_graph.options(key="graph")
        named = (workflow[name] for name in ("thread", "checkpointer"))
        awaitable: Any = step(workflow["graph"], state, *named)
        return {**await awaitable, "run_id": run_id}
    functions = {one["name"]: one for one in workflow["nodes"]}

    async def call(node: Node, parts: Sequence[Any]) -> Any:
        return await _call(functions[node.name], parts)

    given: Any = state
    if len(json.dumps(state)) > LAZY_BYTES:
        kept: Any = keep_state.options(key="state", lazy=True)(state)
        given = await kept
    returned = await run_plan(Plan.from_json(workflow), given, call, max_concurrent)
    output = merged(map(_loaded, returned))
    return {"output": output, "state": {**state, **output}, "run_id": run_id}


async def _call(node: Mapping[str, Any], parts: Sequence[Any]) -> Any:
    options: dict[str, Any] = {"key": node["name"], "lazy": True}
    if node["timeout"] is not None:
        options["timeout"] = node["timeout"]
    if node["is_step"]:
        called: Step[..., Any] = find_own(node["function"])
        return await called.options(**options)(merged(map(_loaded, parts)))
    awaitable: Any = run_function.options(**options)(node["function"], list(parts))
    return await awaitable


def _loaded(value: Any) -> Any:
    return value.load() if isinstance(value, LazyResult) else value

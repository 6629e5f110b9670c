"""The step `flowq.langgraph`: one attempt runs a whole graph, on the event loop.

The library is imported by the module of the user that has the graph, so only where it runs. The
checkpoints of an attempt have the id of its step in their metadata: an attempt that finds them
unfinished goes on there, and does not give the input a second time.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic_core import to_jsonable_python

from flowq.authoring.definitions.steps import step
from flowq.engine.runtime.context import current
from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.importing import find_own

_STEP: Final = "flowq_step"


@step(name="flowq.langgraph")
async def run_graph(
    graph: str, state: dict[str, Any], thread: str | None, checkpointer: str | None
) -> dict[str, Any]:
    """Run a graph.

    Args:
        graph: Its name.
        state: Its input.
        thread: The thread of its checkpoints; None: one of this step.
        checkpointer: The name of a function that returns a checkpointer.

    Returns:
        The last `state`, the `tasks` that ran, and the messages that were there `earlier`.
    """
    step_id = str(current().step_id)
    async with _checkpointer(checkpointer) as saver:
        found = compiled(find_own(graph), saver)
        config = {**config_of(thread or step_id), "metadata": {_STEP: step_id}}
        earlier: list[Any] = []
        given: Any = state
        if getattr(found, "checkpointer", None):
            before = await found.aget_state(config)
            if before.next and (before.metadata or {}).get(_STEP) == step_id:
                given = None
            else:
                earlier = list((before.values or {}).get("messages") or ())
        tasks, last = await tasks_and_state(found, given, config)
    plain = to_jsonable_python({"state": last, "earlier": earlier}, fallback=str)
    return {**plain, "tasks": tasks}


def compiled(graph: Any, checkpointer: Any) -> Any:
    """Return a compiled graph.

    Args:
        graph: One, or a `StateGraph`, or a function that returns either.
        checkpointer: Its checkpointer; None leaves it as it is.

    Raises:
        NotExecutable: it is none of these.
    """
    if not hasattr(graph, "ainvoke") and not hasattr(graph, "compile") and callable(graph):
        graph = graph()
    if not hasattr(graph, "ainvoke") and hasattr(graph, "compile"):
        return graph.compile(checkpointer=checkpointer)
    if not hasattr(graph, "ainvoke"):
        raise NotExecutable(
            f"{graph!r} is no graph: it has neither ainvoke nor compile",
            hint="give a compiled graph, a StateGraph, or a function that returns one",
        )
    if checkpointer is None:
        return graph
    return graph.copy(update={"checkpointer": checkpointer})


def config_of(thread: str) -> dict[str, Any]:
    """Return the configuration of an execution."""
    return {"configurable": {"thread_id": thread}}


async def tasks_and_state(
    graph: Any, state: Any, config: Mapping[str, Any]
) -> tuple[list[str], Mapping[str, Any]]:
    """Run a graph; return the names of the tasks that ended, in that order, and the last state."""
    if not hasattr(graph, "astream"):
        return [], await graph.ainvoke(state, config)
    tasks: list[str] = []
    last: Mapping[str, Any] = {}
    # A checkpoint is written before the next task begins, so that a crash repeats one task.
    durable = {"durability": "sync"} if getattr(graph, "checkpointer", None) else {}
    modes = ["tasks", "values"]
    async for kind, data in graph.astream(state, config, stream_mode=modes, **durable):
        if kind == "values":
            last = data
        elif "result" in data or "error" in data:
            tasks.append(data["name"])
    return tasks, last


@asynccontextmanager
async def _checkpointer(name: str | None) -> AsyncIterator[Any]:
    made: Any = find_own(name)() if name is not None else None
    if hasattr(made, "__aenter__"):
        async with made as saver:
            yield saver
    else:
        yield made

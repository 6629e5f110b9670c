"""Executes graphs of LangGraph: each execution is a recorded run with one step, `flowq.langgraph`.

What happens inside of the graph is LangGraph's: its nodes are no steps. With a checkpointer an
attempt after a crash goes on where the one before broke; without one it begins again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.executing.executors import SimpleExecutor, now, state_of
from flowq.pipeline.executing.graph_step import compiled, config_of, tasks_and_state
from flowq.pipeline.executing.program import nodes as program
from flowq.pipeline.executing.recording import Ended, run_recorded
from flowq.pipeline.importing import find, name_of
from flowq.pipeline.nodes import NodeWorkflow
from flowq.pipeline.result import ExecutionResult


@dataclass(frozen=True, kw_only=True)
class LangGraphExecutor(SimpleExecutor):
    """Executes a compiled graph, a `StateGraph`, or a function that returns one.

    Attributes:
        checkpointer: Returns a checkpointer, or an async context manager of one; a function at the
            top of a module. None: the one with which the graph was compiled, if any.

    Raises:
        ImportError: LangGraph is not installed.
    """

    checkpointer: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("langgraph") is None:
            raise ImportError("LangGraph is not installed; pip install 'flowq[langgraph]'")

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        """Execute a graph.

        Raises:
            NotExecutable: it is not a graph, or a worker could not find it; or the state is not a
                mapping.
            Exception: what the graph has raised.
        """
        if isinstance(workflow, NodeWorkflow):
            raise NotExecutable(
                f"workflow {workflow.name!r} has nodes and is no graph of LangGraph",
                hint="SimpleExecutor() and ParallelExecutor() execute nodes",
            )
        state = state_of(context, as_json=self.recorded)
        began = now()
        if self.recorded:
            ended = await self._recorded(workflow, state, context)
        else:
            config = config_of(context.conversation_id or context.workflow_id)
            graph = compiled(find(workflow) if isinstance(workflow, str) else workflow, None)
            tasks, last = await tasks_and_state(graph, state, config)
            ended = Ended({"state": last, "tasks": tasks})
        return _result(ended, state, began)

    async def _recorded(self, workflow: Any, state: Any, context: ExecutionContext) -> Ended:
        graph = _name(workflow, "the graph")
        described = {
            "name": context.workflow_id,
            "graph": graph,
            "thread": context.conversation_id,
            "checkpointer": self.checkpointer and _name(self.checkpointer, "the checkpointer"),
        }
        inputs = {"workflow": described, "state": state}
        return await run_recorded(program, inputs, context, self.where)


def is_graph(workflow: Any) -> bool:
    """Return whether a workflow is a graph of LangGraph."""
    named = "Graph" in type(workflow).__name__
    return named and (hasattr(workflow, "ainvoke") or hasattr(workflow, "compile"))


def _name(value: Any, what: str) -> str:
    name = value if isinstance(value, str) else name_of(value)
    if name is None:
        raise NotExecutable(
            f"{what} {value!r} cannot be found by a worker",
            hint="make it at the top of a module, or give its name: 'module:attribute'",
        )
    find(name)
    return name


def _result(ended: Ended, given: Any, began: float) -> ExecutionResult:
    value = ended.value
    earlier = [*(given.get("messages") or ()), *value.get("earlier", ())]
    result = ExecutionResult.from_langgraph(value["state"], earlier=earlier)
    tokens = max(result.metrics["tokens_used"], ended.tokens)
    result.metrics |= {
        "execution_type": "langgraph",
        "nodes_executed": len(value["tasks"]),
        "tokens_used": tokens,
        "cost": ended.cost,
        "execution_time_ms": round((now() - began) * 1000),
        "run_id": value.get("run_id"),
    }
    result.metadata["tasks"] = value["tasks"]
    return result

"""Executors of workflows of nodes: each execution is one recorded run, with a row for each node.

`recorded=False` calls the functions in this process and records nothing, for tests. In an
`async def` flow, and so in `pipeline.enqueue`, the run is a child run of it.
"""

import asyncio
import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowq.authoring import durable
from flowq.authoring.calls.tracing import active
from flowq.core.errors import InvalidFlow
from flowq.core.text.json_values import MAX_DEPTH, JsonPath, flaw
from flowq.engine.results.codecs.annotations import as_path
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.executing.program import nodes as program
from flowq.pipeline.executing.recording import PLACES, Ended, Place, run_recorded
from flowq.pipeline.executing.running import merged, run_plan
from flowq.pipeline.nodes import Node, Plan
from flowq.pipeline.result import ExecutionResult


@dataclass(frozen=True, kw_only=True)
class SimpleExecutor:
    """Runs nodes one after the other; each gets what all before it have returned.

    Attributes:
        where: `here`, in threads of this process, or `workers`.
        recorded: Whether there is a run; without one, functions need not be importable.
    """

    where: Place = "here"
    recorded: bool = True
    kind: ClassVar[str] = "simple_sequential"

    def __post_init__(self) -> None:
        if self.where not in PLACES:
            raise InvalidFlow(f"where is {self.where!r}", hint=f"one of: {', '.join(PLACES)}")

    @property
    def most(self) -> int | None:
        """How many nodes run at once; None: one, in their order."""
        return None

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        """Execute a workflow of nodes.

        Raises:
            NotExecutable: it has no nodes, or one that cannot run, or its state is not a mapping.
            NodeFailed: a node has failed elsewhere.
            Exception: what a node has raised here.
        """
        plan = Plan.of(workflow)
        state = state_of(context, as_json=self.recorded)
        began = now()
        if self.recorded:
            inputs = {"workflow": plan.to_json(), "state": state, "max_concurrent": self.most}
            ended = await run_recorded(program, inputs, context, self.where)
        else:
            returned = await run_plan(plan, state, _call, self.most)
            output = merged(returned)
            ended = Ended({"output": output, "state": {**state, **output}})
        metrics = {"execution_type": self.kind, "nodes_executed": len(plan.nodes)}
        return result_of(ended, {**metrics, **self._metrics(plan)}, began)

    def _metrics(self, _plan: Plan) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class ParallelExecutor(SimpleExecutor):
    """Starts each node when those that it comes after are finished.

    Attributes:
        max_concurrent: How many nodes may run at once.
    """

    max_concurrent: int = 10
    kind: ClassVar[str] = "parallel"

    def __post_init__(self) -> None:
        super().__post_init__()
        most: Any = self.max_concurrent
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise InvalidFlow(f"max_concurrent is {most!r}", hint="give a number from 1")

    @property
    def most(self) -> int | None:
        """How many nodes run at once."""
        return self.max_concurrent

    def _metrics(self, plan: Plan) -> Mapping[str, Any]:
        return {"node_groups": plan.groups, "max_concurrent": self.max_concurrent}


@dataclass(frozen=True, kw_only=True)
class CeleryExecutor(ParallelExecutor):
    """A `ParallelExecutor` whose nodes run on workers."""

    where: Place = "workers"


def state_of(context: ExecutionContext, *, as_json: bool) -> dict[str, Any]:
    """Return the initial state of a context.

    Args:
        context: The context.
        as_json: Whether it must be JSON data.

    Raises:
        NotExecutable: it is no mapping, or a value is no JSON data; names the key.
    """
    given: Any = context.initial_state
    if not isinstance(given, Mapping):
        raise NotExecutable(
            f"the initial state is {type(given).__name__}, not a mapping",
            hint='e.g. with_state({"messages": […]})',
        )
    found = _flaw(dict(given)) if as_json else None
    if found is not None:
        place, why = found
        raise NotExecutable(
            f"the initial state cannot be recorded: {as_path(place)}: it {why}",
            hint="give JSON data: text, numbers, lists and mappings with text as keys",
        )
    return dict(given)


def _flaw(value: Any, place: JsonPath = ()) -> tuple[JsonPath, str] | None:
    """Return the first part of a value that would not come back from JSON as it is."""
    if isinstance(value, dict | list) and len(place) < MAX_DEPTH:
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            if isinstance(value, dict) and not isinstance(key, str):
                return (*place, str(key)), f"has a key of type {type(key).__name__}, not text"
            if (found := _flaw(part, (*place, key))) is not None:
                return found
        return None
    if value is None or type(value) in (bool, int, float, str, dict, list):
        return flaw(value, place)
    return place, f"is of type {type(value).__name__}"


def result_of(ended: Ended, metrics: Mapping[str, Any], began: float) -> ExecutionResult:
    """Return the result of a run of nodes."""
    value = ended.value
    measured = {
        **metrics,
        "tokens_used": ended.tokens,
        "cost": ended.cost,
        "execution_time_ms": round((now() - began) * 1000),
        "run_id": value.get("run_id"),
    }
    return ExecutionResult(value["output"], value["state"], measured)


def now() -> float:
    """Return a time in seconds, for differences; in a program it is the same in each replay."""
    return time.monotonic() if active() is None else durable.now().timestamp()


async def _call(node: Node, parts: Sequence[Any]) -> Any:
    """Call a function in this process, as one of a thread if it is not async."""
    assert node.func is not None
    if inspect.iscoroutinefunction(node.func):
        return await node.func(merged(parts))
    value = await asyncio.to_thread(node.func, merged(parts))
    return await value if inspect.isawaitable(value) else value

"""A pipeline: an executor with middleware around it, as one chain of async calls.

    pipeline = WorkflowPipeline(SimpleExecutor()).use(MonitoringMiddleware()).use(RetryMiddleware())
    result = await pipeline.execute(workflow, context)

The first middleware that was added is the outermost. `pipeline.enqueue(workflow, context)` runs the
same chain as a durable program, `flowq.pipeline`, in which each attempt of the executor is a child
run. Middleware of a pipeline surrounds a whole
workflow; that of `flowq.use` surrounds each attempt of a step (`flowq docs middleware`).
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Self, Unpack

from flowq.authoring.definitions.flows import flow
from flowq.client import Run
from flowq.client.submitting import asubmit, submit
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.engine.replay.execution import current
from flowq.engine.runs.options import SubmitOptions
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.executing.executors import state_of
from flowq.pipeline.executing.recording import options_of
from flowq.pipeline.importing import find, name_of
from flowq.pipeline.nodes import Node, NodeWorkflow, Plan
from flowq.pipeline.protocols import Executor, Middleware, Next
from flowq.pipeline.result import ExecutionResult
from flowq.pipeline.specs import object_of, spec_of

logger = logging.getLogger(__name__)

NAME: Final = "flowq.pipeline"


class WorkflowPipeline:
    """An executor with middleware around it.

    Args:
        executor: What executes workflows.

    Raises:
        InvalidFlow: it has no method `execute`.
    """

    def __init__(self, executor: Executor) -> None:
        if isinstance(executor, type) or not isinstance(executor, Executor):
            raise InvalidFlow(
                f"{executor!r} is no executor: it has no method `execute`",
                hint="give an object, e.g. SimpleExecutor() or create_executor(ExecutorType.AUTO)",
            )
        self.executor = executor
        self.middleware: tuple[Middleware, ...] = ()

    def use(self, middleware: Middleware) -> Self:
        """Add middleware inside of what is there already; returns this pipeline.

        Raises:
            InvalidFlow: it cannot be called.
        """
        if isinstance(middleware, type) or not callable(middleware):
            raise InvalidFlow(
                f"{middleware!r} is no middleware: it cannot be called",
                hint="give an object whose `async def __call__(self, workflow, context, call_next)`"
                " returns an ExecutionResult",
            )
        self.middleware += (middleware,)
        return self

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        """Execute a workflow, and return its result.

        In an `async def` flow this is durable: nodes are steps, and waits are recorded.

        Raises:
            NotExecutable: the workflow or its state cannot be executed.
            InvalidFlow: a middleware has returned no result.
            Exception: what a node, the executor or a middleware has raised; it is logged.
        """
        call: Next = self.executor.execute
        for one in reversed(self.middleware):
            call = partial(_around, one, call)
        try:
            return await call(workflow, context)
        except Exception as error:
            if current() is None:  # a program would log it again in each replay
                logger.error(  # noqa: TRY400 - who catches it shows the traceback
                    "the execution of workflow %s failed: %s: %s",
                    context.workflow_id,
                    type(error).__name__,
                    error,
                    extra={"action": "pipeline"},
                )
            raise

    def enqueue(
        self, workflow: Any, context: ExecutionContext, **options: Unpack[SubmitOptions]
    ) -> Run[ExecutionResult]:
        """Start a durable execution on workers, and return its run.

        The middleware runs there too: attempts, pauses, cached results and turns of a rate limit
        are recorded, so that they survive whatever happens to a worker.

        Args:
            workflow: A `NodeWorkflow`, or another one that can be imported, or its name.
            context: The context; JSON data.
            options: Options of the run: `idempotency_key`, `deadline`, `budget`, …

        Raises:
            NotExecutable: something of it cannot be made again on a worker; nothing was recorded.
            Unavailable: the database cannot be used now.
        """
        inputs = self._inputs(workflow, context)
        try:
            return submit(chain.type, inputs, **_options(context, options))
        except InvalidInput as error:
            raise NotExecutable(error.message, hint=error.hint) from error

    async def aenqueue(
        self, workflow: Any, context: ExecutionContext, **options: Unpack[SubmitOptions]
    ) -> Run[ExecutionResult]:
        """As `enqueue`, without blocking the event loop; `session` is an `AsyncSession`."""
        inputs = self._inputs(workflow, context)
        try:
            return await asubmit(chain.type, inputs, **_options(context, options))
        except InvalidInput as error:
            raise NotExecutable(error.message, hint=error.hint) from error

    def _inputs(self, workflow: Any, context: ExecutionContext) -> dict[str, Any]:
        state_of(context, as_json=True)
        return {
            "pipeline": {
                "executor": spec_of(self.executor, "the executor"),
                "middleware": [spec_of(one, "the middleware") for one in self.middleware],
            },
            "workflow": _as_json(workflow),
            "context": context.to_dict(),
        }


async def _around(
    middleware: Middleware, call_next: Next, workflow: Any, context: ExecutionContext
) -> ExecutionResult:
    result = await middleware(workflow, context, call_next)
    if not isinstance(result, ExecutionResult):
        raise InvalidFlow(
            f"the middleware {middleware!r} has returned {result!r}, which is no ExecutionResult",
            hint="return what `await call_next(workflow, context)` returns",
        )
    return result


# --- on workers ----------------------------------------------------------------------------------


@flow(name=NAME)
async def chain(
    pipeline: dict[str, Any], workflow: dict[str, Any], context: dict[str, Any]
) -> ExecutionResult:
    """Execute a workflow with a pipeline.

    Args:
        pipeline: The `executor`, and the list `middleware`, as specs.
        workflow: `nodes`, or the `name` under which it is imported.
        context: The fields of the context.

    Raises:
        Exception: what the pipeline raises.
    """
    made = WorkflowPipeline(object_of(pipeline["executor"]))
    for spec in pipeline["middleware"]:
        made.use(object_of(spec))
    return await made.execute(_workflow(workflow), ExecutionContext(**context))


def _options(context: ExecutionContext, given: SubmitOptions) -> SubmitOptions:
    own = options_of(context)
    metadata = {**(own.get("metadata") or {}), **(given.get("metadata") or {})}
    return {**own, **given, "metadata": metadata}


def _as_json(workflow: Any) -> dict[str, Any]:
    """Return a workflow as JSON: its nodes, or where it is imported from."""
    if isinstance(workflow, NodeWorkflow):
        return Plan.of(workflow).to_json()
    name = workflow if isinstance(workflow, str) else name_of(workflow)
    if name is None:
        raise NotExecutable(
            f"the workflow {workflow!r} cannot be found by a worker",
            hint="make it at the top of a module, or give its name: 'module:attribute'",
        )
    find(name)
    return {"name": name}


def _workflow(data: Mapping[str, Any]) -> Any:
    if "nodes" not in data:
        return find(data["name"])
    nodes = [
        Node(one["name"], find(one["function"]), tuple(one["after"]), one["timeout"])
        for one in data["nodes"]
    ]
    return NodeWorkflow(data["name"], nodes)

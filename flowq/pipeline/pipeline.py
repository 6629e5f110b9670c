"""A pipeline: an executor with middleware around it, as one chain of async calls.

    pipeline = WorkflowPipeline(SimpleExecutor()).use(MonitoringMiddleware()).use(RetryMiddleware())
    result = await pipeline.execute(workflow, context)

The first middleware that was added is the outermost. Middleware of a pipeline surrounds a whole
workflow; that of `flowq.use` surrounds each attempt of a step (docs/middleware.md).
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from flowq.core.errors import InvalidFlow
from flowq.engine.replay.execution import current
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.result import ExecutionResult

logger = logging.getLogger(__name__)

#: Calls the next middleware, and after the last one the executor.
Next: TypeAlias = Callable[[Any, ExecutionContext], Awaitable[ExecutionResult]]


@runtime_checkable
class Middleware(Protocol):
    """What surrounds the execution of a workflow."""

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next, /
    ) -> ExecutionResult:
        """Return the result of `await call_next(workflow, context)`, or another.

        It may change the context, call nothing further, call it again, and handle its errors.
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """What executes a workflow."""

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        """Execute a workflow once."""
        ...


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
            InvalidWorkflow: the workflow or its state cannot be executed.
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

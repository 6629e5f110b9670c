"""What executors and middleware have to be, for applications that write their own."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.result import ExecutionResult

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

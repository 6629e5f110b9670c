"""Middleware: code of the application around the function of a step, inside each attempt.

    async def timing(step: StepCall, context: StepContext, call_next: Next) -> Any:
        began = time.monotonic()
        try:
            return await call_next()
        finally:
            logger.info("%s took %.3f s", step.name, time.monotonic() - began)

It runs where the function runs: in the same task of the event loop, or for a step that is not async
in the same thread. So the function sees the context variables that a middleware has set. A thread
has no event loop: there a middleware runs without one, and may await `call_next()` only.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from flowq.core.errors import StepError
from flowq.engine.runtime.context import StepContext

#: Calls the next middleware, and after the last one the function; returns its result.
Next: TypeAlias = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class StepCall:
    """The call of a step, as a middleware sees it.

    Attributes:
        name: The name of the step type.
        arguments: Its arguments, by parameter, validated; not to be changed.
    """

    name: str
    arguments: Mapping[str, Any]


class Middleware(Protocol):
    """A coroutine function, or an object whose `__call__` is one."""

    def __call__(
        self,
        step: StepCall,
        context: StepContext,
        call_call_next: Next,
        /,
    ) -> Coroutine[Any, Any, Any]:
        """Return the result of the step: that of `call_next()`, or another."""
        ...


def wrapped_async(
    function: Callable[..., Awaitable[Any]],
    chain: Sequence[Middleware],
    call: StepCall,
    context: StepContext,
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return an async function with middleware around it, the first one outermost."""

    async def run(*args: Any, **kwargs: Any) -> Any:
        async def last() -> Any:
            return await function(*args, **kwargs)

        return await _around(chain, call, context, last)

    return run


def wrapped_sync(
    function: Callable[..., Any],
    chain: Sequence[Middleware],
    call: StepCall,
    context: StepContext,
    *,
    wait_for: Callable[[Awaitable[Any]], Any],
) -> Callable[..., Any]:
    """Return a function with middleware around it, the first one outermost.

    Args:
        wait_for: Waits for the result of a function that is async without appearing to be.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        async def last() -> Any:
            value = function(*args, **kwargs)
            return wait_for(value) if inspect.isawaitable(value) else value

        return _run_without_loop(_around(chain, call, context, last), call.name)

    return run


def _run_without_loop(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise StepError(
        f"a middleware of step {name!r} awaits something else than call_next(), "
        "and the step is not async: no event loop runs there",
        hint="make the step `async def`, or let the middleware do that without await",
    )


async def _around(
    chain: Sequence[Middleware], call: StepCall, context: StepContext, last: Next
) -> Any:
    if not chain:
        return await last()
    return await chain[0](call, context, lambda: _around(chain[1:], call, context, last))

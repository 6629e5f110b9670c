"""Which middleware runs around steps: around all of them, or around those of one type."""

import inspect
from collections.abc import Iterable
from typing import Any

from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow
from flowq.engine.registry.registry import registry
from flowq.engine.runtime.middleware import Middleware


def use(*middleware: Middleware) -> None:
    """Run middleware around every step that this process runs.

    The first one that was given is the outermost; middleware of a step type runs inside of these.
    The same object again is ignored. Call it where steps are defined, so that each worker does.

    Args:
        middleware: Coroutine functions `(step, context, call_next)`, see `flowq docs middleware`.

    Raises:
        InvalidFlow: one is not a coroutine function.
    """
    for one in middleware_of(middleware, "flowq.use"):
        registry.use(one)


def middleware_of(value: Iterable[Middleware], where: str) -> tuple[Middleware, ...]:
    """Return checked middleware.

    Args:
        value: The middleware, the outermost first.
        where: Whose it is, for the message.

    Raises:
        InvalidFlow: it is no list, or one is no coroutine function.
    """
    if callable(value) or not isinstance(value, Iterable):
        raise InvalidFlow(
            f"the middleware of {where} is {value!r} ({caller()})", hint="give a list"
        )
    found = tuple(value)
    for one in found:
        if isinstance(one, type) or not _is_coroutine_function(one):
            raise InvalidFlow(
                f"the middleware {one!r} of {where} is no coroutine function ({caller()})",
                hint="write `async def name(step, context, call_next)`, or give an object whose "
                "`__call__` is one",
            )
    return found


def _is_coroutine_function(value: Any) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 - which function it is, not whether it is one
    )

"""Checks which callables can be a step or a flow, when they are defined.

A worker finds it by its name and calls it with arguments only: so it needs a readable signature, no
missing `self`, and a result that can be stored.
"""

import inspect
from types import GenericAlias
from typing import Any

from flowq.authoring.calls.tracing import caller
from flowq.core.errors import InvalidFlow
from flowq.engine.registry.callables import code_of, is_generator

_KINDS = (
    (classmethod, "a classmethod", "a worker has no class to pass as cls: make it a function"),
    (property, "a property", "make it a function"),
    (type, "a class", "write a function that makes an instance"),
)


def checked(function: Any, what: str) -> Any:
    """Return a callable that can be a step or a flow; of a staticmethod, its function.

    Args:
        function: The argument of the decorator.
        what: `step` or `flow`.

    Raises:
        InvalidFlow: it cannot be one.
    """
    for kind, is_a, hint in _KINDS:
        if isinstance(function, kind):
            raise _refused(function, what, f"{is_a}, which is not a function", hint)
    if isinstance(function, staticmethod):
        function = function.__func__
    if not callable(function) or isinstance(function, GenericAlias):
        hint = f"put @{what} above a `def` or `async def`, once"
        raise _refused(function, what, "which is not a function", hint)
    label = getattr(function, "__qualname__", None) or repr(function)
    if is_generator(function):
        raise InvalidFlow(
            f"{what} {label!r} is a generator, whose result cannot be stored ({caller()})",
            hint="return a list or another value instead of yielding",
        )
    if getattr(function, "__isabstractmethod__", False):
        raise InvalidFlow(
            f"{what} {label!r} is abstract: there is nothing to run ({caller()})",
            hint="put the decorator on the class or function that does the work",
        )
    if _is_unbound_method(function):
        raise InvalidFlow(
            f"{what} {label!r} is a method: a worker has no object to pass as {_first(function)} "
            f"({caller()})",
            hint=f"move it out of the class, or put @staticmethod above @{what} and take what it "
            "needs as parameters",
        )
    return function


def _refused(function: Any, what: str, problem: str, hint: str) -> InvalidFlow:
    return InvalidFlow(f"@{what} is given {function!r}, {problem} ({caller()})", hint=hint)


def _is_unbound_method(function: Any) -> bool:
    """Return whether a function is defined in a class and takes the instance, or the class."""
    inner = inspect.unwrap(function)
    if not inspect.isfunction(inner):
        return False
    around = inner.__qualname__.rpartition(".")[0]
    in_class = bool(around) and not around.endswith("<locals>")
    return in_class and _first(inner) in ("self", "cls", "mcs")


def _first(function: Any) -> str:
    return next(iter(inspect.signature(inspect.unwrap(code_of(function))).parameters), "")

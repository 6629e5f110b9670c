"""Inspects a callable before its first call: parameters, annotations, its kind.

A step may be a function, a `functools.partial`, a bound method or an object with `__call__`; Python
keeps this information in another place for each. Annotations that are text (PEP 563, forward
references) are looked up where the callable is defined: in its module, and in the functions and
classes around it. Names of those are gone after they have ended, so they are saved while it is
defined.
"""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, MethodType
from typing import Any, get_type_hints

from flowq.core.errors import InvalidFlow

_NAME = re.compile(r"[^\W\d]\w*")


@contextmanager
def late_names() -> Iterator[None]:
    """Allow annotations with names that are not defined yet; they are checked again later."""
    try:
        yield
    except InvalidFlow as error:
        if not isinstance(error.__cause__, NameError | AttributeError):
            raise


def code_of(function: Any) -> Any:
    """Return the function that has the code of a partial, a method or an object."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType | staticmethod):
            function = function.__func__
        elif inspect.isroutine(function) or isinstance(function, type):
            return function
        else:
            # An object; one that a decorator made may have `__wrapped__`, like that of `lru_cache`.
            under = getattr(function, "__wrapped__", None)
            function = type(function).__call__ if under is None else under


def is_async(function: Any) -> bool:
    """Return whether a call returns a coroutine, as far as that is visible."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(code_of(function))


def is_generator(function: Any) -> bool:
    """Return whether a call returns a generator."""
    code = code_of(function)
    return inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)


def signature_of(function: Callable[..., Any], what: str) -> inspect.Signature:
    """Return the parameters of a callable.

    Raises:
        InvalidFlow: it has no signature, like some callables that are written in C.
    """
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise InvalidFlow(
            f"the parameters of {what} cannot be read: {error}",
            hint="write a `def` with named parameters that calls it",
        ) from error


def annotations_of(
    function: Callable[..., Any], names: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """Return the evaluated annotations of a callable, by parameter and `return`.

    Args:
        names: The names that `names_around` has saved.
        what: Names it, for the error.

    Raises:
        InvalidFlow: one cannot be evaluated, or uses an undefined name: see `late_names`.
    """
    subject = function
    while isinstance(subject, functools.partial):
        subject = subject.func
    if not (inspect.isroutine(subject) or isinstance(subject, type)):
        subject = subject if hasattr(subject, "__annotations__") else type(subject).__call__
    try:
        return get_type_hints(subject, localns=dict(names) or None, include_extras=True)
    except (NameError, AttributeError) as error:
        raise InvalidFlow(
            f"an annotation of {what} cannot be read: {error}",
            hint="define or import that name at run time, not only under TYPE_CHECKING",
        ) from error
    except Exception as error:
        raise InvalidFlow(
            f"an annotation of {what} cannot be read: {type(error).__name__}: {error}",
            hint="annotate with types; put other text into the docstring",
        ) from error


def names_around(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that text annotations may use from the functions and classes around them.

    To be called while the callable is being defined.
    """
    inner = inspect.unwrap(code_of(function))
    notes = getattr(inner, "__annotations__", {}).values()
    wanted = {name for note in notes if isinstance(note, str) for name in _NAME.findall(note)}
    if not wanted or "." not in getattr(inner, "__qualname__", ""):
        return {}
    file = inner.__code__.co_filename
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the stack has no other door
    while frame is not None and wanted:
        # Only the functions around it, not their callers: these are in one file.
        if frame.f_code.co_filename == file and frame.f_locals is not frame.f_globals:
            variables = frame.f_locals  # no dict since Python 3.13
            here = {name: variables[name] for name in wanted if name in variables}
            found |= here
            wanted -= here.keys()
        frame = frame.f_back
    return found

"""Validates values by annotations, on both sides of a result.

The producer's side: a returned value must be of its return annotation, or be convertible to it
without loss (`check_output`). The consumer's side gets plain data and converts it by the annotation
of its parameter (`coerce`): in pydantic's JSON mode when the data is JSON, so that strict models,
base64 bytes and types with their own JSON form come back unchanged; in Python mode when it has
instances (tables, paths, `StepFailure`s).

Field names are written, never aliases, because `page.output.title` in a flow uses them. Both are
read.

Validators are cached by the identity of their annotation, not by equality: `int | str` equals
`str | int`, yet they validate differently, and some annotations cannot be hashed at all.
"""

import json
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from reprlib import Repr
from types import NoneType
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from flowq.core.errors import InvalidFlow, InvalidOutput, StepError
from flowq.core.results import StepFailure

#: Problems of one value that an error lists, at most.
_LISTED: Final = 10
#: Cached annotations; a process has as many as its steps have parameters.
_KEPT: Final = 4096
#: Schemas for which Python mode gives the same as JSON mode, without writing JSON first.
_SAME_IN_PYTHON: Final = frozenset({"any", "str", "int", "float", "bool", "bytes", "none"})

#: Types whose values errors show; of others, the type.
_SHOWN: Final = (
    *(str, bytes, int, float, bool, NoneType, list, tuple, dict, set, frozenset),
    *(date, time, timedelta, Decimal, UUID, PurePath, Enum, BaseModel),
)

_adapters: dict[int, tuple[Any, TypeAdapter[Any]]] = {}

_repr = Repr()
_repr.maxstring = _repr.maxother = 80


def adapter_for(annotation: Any) -> TypeAdapter[Any]:
    """Return the validator of an annotation; classes unknown to pydantic are checked by isinstance.

    Raises:
        InvalidFlow: pydantic does not support the annotation.
    """
    known = _adapters.get(id(annotation))
    if known is not None:
        return known[1]
    adapter = _new_adapter(annotation)
    if len(_adapters) >= _KEPT:
        _adapters.clear()
    # The annotation is kept too, so that its id is not reused.
    _adapters[id(annotation)] = (annotation, adapter)
    return adapter


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        adapter = _with_config(annotation)
    except (PydanticUserError, NameError, TypeError) as error:
        raise _cannot_check(annotation, str(error).partition("\n")[0]) from error
    if not adapter.pydantic_complete:
        raise _cannot_check(annotation, "a name in it is not defined")
    return adapter


def _with_config(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        # Models, dataclasses and typed dicts have their own config and refuse a second one.
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)


def _cannot_check(annotation: Any, why: str) -> InvalidFlow:
    return InvalidFlow(
        f"the annotation {annotation!r} cannot be checked: {why}",
        hint="annotate with a class, a pydantic model or a standard type",
    )


def check_output(value: Any, annotation: Any, *, where: str) -> Any:
    """Return the value of a step converted by its annotation.

    Args:
        value: What the step returned.
        annotation: Its return annotation; `Any` accepts everything.
        where: Name of the step, for the error.

    Raises:
        InvalidOutput: the annotation forbids the value.
    """
    try:
        checked = adapter_for(annotation).validate_python(value, by_alias=True, by_name=True)
        # For `Iterable[X]` pydantic checks only what is read, and lets it be read only once.
        return list(checked) if isinstance(checked, Iterator) else checked
    except ValidationError as error:
        raise invalid_output(error, where) from error


def invalid_output(error: ValidationError, where: str) -> InvalidOutput:
    """Return the error for a value that the step's annotation forbids."""
    return InvalidOutput(
        f"{where} returned a value that does not match its annotation: {problems(error)}",
        hint="change what the step returns, or its return annotation",
    )


def coerce(value: Any, adapter: TypeAdapter[Any] | None, *, where: str) -> Any:
    """Return decoded data converted by a parameter's annotation.

    Args:
        value: Plain data, or instances that a codec or the engine made (tables, `StepFailure`).
        adapter: The parameter's validator; None when it has no annotation.
        where: Names the parameter, e.g. `facts of report`, for the error.

    Raises:
        StepError: the value does not fit. It is not retried: the value would be the same.
    """
    if adapter is None:
        return value
    try:
        return read(value, adapter)
    except ValidationError as error:
        message = f"{where} does not match its annotation: {problems(error)}"
        raise StepError(message, hint=_failure_hint(value, error)) from error


def read(value: Any, adapter: TypeAdapter[Any]) -> Any:
    """Like `coerce`, without its error text.

    Raises:
        ValidationError: the value does not fit.
    """
    if adapter.core_schema["type"] not in _SAME_IN_PYTHON:
        text = _as_json(value)
        if text is not None:
            return adapter.validate_json(text, by_alias=True, by_name=True)
    # `strict=False`: data from JSON has lost its types, also for a strict model.
    return adapter.validate_python(value, strict=False, by_alias=True, by_name=True)


def _as_json(value: Any) -> str | None:
    """Return data as JSON, including NaN and infinities; None when it has other instances."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None


def _failure_hint(value: Any, error: ValidationError) -> str | None:
    if isinstance(value, StepFailure):
        return "the step that it comes from may fail: annotate the parameter `X | StepFailure`"
    if any(isinstance(problem["input"], StepFailure) for problem in error.errors()):
        return "some items may fail: annotate the parameter `list[X | StepFailure]`"
    return None


def problems(error: ValidationError, *, got: Callable[[Any], str] | None = None) -> str:
    """Return every problem as `field: expected …, got …`, joined by semicolons.

    Args:
        error: What pydantic found.
        got: Shows a wrong value; by default its shortened repr.
    """
    found = error.errors(include_url=False, include_context=False)
    listed = [_problem(each, got or shown) for each in found[:_LISTED]]
    if len(found) > _LISTED:
        listed.append(f"and {len(found) - _LISTED} more")
    return "; ".join(listed)


def _problem(problem: Any, got: Callable[[Any], str]) -> str:
    place = as_path(problem["loc"])
    text = _expectation(problem["type"], problem["msg"], lambda: got(problem["input"]))
    kind = type(problem["input"])
    if problem["type"] == "is_instance_of" and problem["msg"].endswith(f" {kind.__name__}"):
        text += f" of {kind.__module__.partition('.')[0]}"  # pandas and polars have a DataFrame
    return f"{place}: {text}" if place else text


def _expectation(kind: str, message: str, got: Callable[[], str]) -> str:
    if kind == "missing":
        return "expected a value, got none"
    if kind == "extra_forbidden":
        return f"unexpected field, got {got()}"
    if message.startswith("Input should be "):
        expected = message.removeprefix("Input should be ").removeprefix("a valid ")
        # `…, unable to parse string as an integer` repeats what the value shows.
        return f"expected {expected.partition(', ')[0]}, got {got()}"
    return f"{message.removeprefix('Value error, ')}, got {got()}"


def as_path(parts: tuple[int | str, ...]) -> str:
    """Return a place inside a value as it is written in Python, e.g. `items[3].lines`."""
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts
    ).removeprefix(".")


def shown(value: Any) -> str:
    """Return a shortened value for an error message; never raises."""
    if isinstance(value, StepFailure):
        return f"the failure of {value}"
    if not isinstance(value, _SHOWN):  # Its repr may be long, or run user code.
        return f"a {type(value).__qualname__}"
    try:
        return " ".join(_repr.repr(value).split())
    except (ValueError, RecursionError):  # an integer of thousands of digits, a recursive list
        return f"a {type(value).__qualname__}"

"""Middleware and executors as JSON, so that a durable program makes them again on a worker.

Dataclasses at the top of a module are written with their fields. What has a method `to_json` says
itself with which arguments it is made again. Functions and classes are written by their names.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.importing import find, find_own, name_of

_NAME: Final = "$name"
_MADE: Final = "$made"
_TUPLE: Final = "$tuple"


def spec_of(value: Any, what: str) -> Any:
    """Return JSON data from which `object_of` makes an equal value.

    Args:
        value: The value.
        what: What it is, for messages.

    Raises:
        NotExecutable: there is no such data.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [spec_of(one, what) for one in value]
    if isinstance(value, tuple):
        return {_TUPLE: spec_of(list(value), what)}
    if isinstance(value, Mapping):
        return {str(name): spec_of(one, what) for name, one in value.items()}
    is_type = isinstance(value, type)
    made = None if is_type else name_of(type(value))
    write = getattr(value, "to_json", None)
    if made is not None and callable(write):
        arguments = write()
    elif made is not None and is_dataclass(value):
        arguments = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
    elif (name := name_of(value)) is not None:
        return {_NAME: name}
    else:
        raise NotExecutable(
            f"{what} has a {type(value).__qualname__} that cannot be made again on a worker",
            hint="make it an object at the top of a module, a dataclass, or give its class a "
            "method to_json() that returns the arguments",
        )
    return {_MADE: made, "arguments": spec_of(arguments, what)}


def object_of(spec: Any) -> Any:
    """Return what a spec was made from.

    Raises:
        NotExecutable: a name cannot be imported here, or `spec_of` would not have written it.
    """
    if isinstance(spec, list):
        return [object_of(one) for one in spec]
    if not isinstance(spec, dict):
        return spec
    if _TUPLE in spec:
        return tuple(object_of(spec[_TUPLE]))
    if _NAME in spec:
        return _named(spec[_NAME])
    if _MADE in spec:
        return _class(spec[_MADE])(**object_of(spec["arguments"]))
    return {name: object_of(one) for name, one in spec.items()}


def _named(name: str) -> Any:
    value = find(name)
    is_error = isinstance(value, type) and issubclass(value, BaseException)
    return value if is_error else find_own(name)


def _class(name: str) -> Any:
    value = find_own(name)
    if isinstance(value, type) and (is_dataclass(value) or hasattr(value, "to_json")):
        return value
    raise NotExecutable(f"{name!r} is no class that can take part in a pipeline")

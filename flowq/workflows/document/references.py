"""What a data parameter refers to: a step before it, an input of the workflow, a stored value.

"split"  "split.field.0"  {"step": "split", "path": ["field", 0]}     the result of a step
"input:text"                                                          an input
"flowq://01a1…/value"  "memory://…"                                   a stored value
{"literal": 5}                                                        a value as it is
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.references import PathPart

INPUT: Final = "input:"
SCHEME: Final = "flowq://"
MEMORY: Final = "memory://"
_STORED: Final = (SCHEME, MEMORY)
#: What ids of steps may not begin with or contain: it means something else.
RESERVED: Final = (INPUT, *_STORED)
INNER: Final = "::"


@dataclass(frozen=True, slots=True)
class OfStep:
    """The result of a step, or a part of it."""

    step: str
    path: tuple[PathPart, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfInput:
    """An input of the workflow."""

    name: str


@dataclass(frozen=True, slots=True)
class OfStore:
    """A stored value, by its reference."""

    reference: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is in the document itself."""

    value: Any


Source = OfStep | OfInput | OfStore | Literal


def is_stored(value: Any) -> bool:
    """Return whether a value is a reference to a stored one."""
    return isinstance(value, str) and value.startswith(_STORED)


def source_of(value: Any, before: Container[str]) -> Source:
    """Return what a data parameter refers to.

    Args:
        value: As in `inputs` of a step.
        before: The ids of the steps before it.

    Raises:
        ValueError: it refers to no step before it, or has no form of a reference.
    """
    if isinstance(value, str):
        return _of_text(value, before)
    if isinstance(value, Mapping) and "literal" in value and len(value) == 1:
        return Literal(value["literal"])
    if isinstance(value, Mapping) and isinstance(value.get("step"), str):
        path = value.get("path", [])
        columns = path[-1] if isinstance(path, list) and path and _are_columns(path[-1]) else []
        path = path[:-1] if columns else path
        if not isinstance(path, list) or not all(_is_part(one) for one in path):
            raise ValueError(f"its path is {path!r}, not a list of names and indices")
        if value["step"] not in before:
            raise ValueError(f"no step {value['step']!r} before it")
        return OfStep(value["step"], tuple(path), tuple(columns))
    raise ValueError(
        f'it is {value!r}; give the id of a step, "id.field", "input:name", or '
        '{"step": "id", "path": […]}'
    )


def _of_text(text: str, before: Container[str]) -> Source:
    if is_stored(text):
        return OfStore(text)
    if text.startswith(INPUT):
        return OfInput(text.removeprefix(INPUT))
    # An id may have dots: the longest one is meant.
    parts = text.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in before:
            return OfStep(name, tuple(map(_part, parts[count:])))
    raise ValueError(f"no step {parts[0]!r} before it")


def _part(text: str) -> PathPart:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _is_part(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _are_columns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)

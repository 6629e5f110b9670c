"""Values that a template reads and that are made when they are needed.

A template asks a view for a part by its name, and gets a value or another view. As a whole value a
view passes through `{{ … }}` as it is: so a large value can be passed on and is never loaded.
Everything else that a template does with it (compare, count, iterate) works on its plain value.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable


class _Missing:
    """The type of `MISSING`."""

    def __reduce__(self) -> str:
        return "MISSING"  # a copy of it is itself


#: What a view returns for a part that is not there.
MISSING: Final = _Missing()


@runtime_checkable
class View(Protocol):
    """A value that is loaded when it is needed."""

    def __flowq_get__(self, name: str | int) -> Any:
        """Return a part of the value, a view of it, or `MISSING`."""

    def __flowq_value__(self) -> Any:
        """Return the plain value."""


def is_view(value: Any) -> bool:
    """Return whether a value is a view."""
    return hasattr(type(value), "__flowq_value__")


def plain(value: Any) -> Any:
    """Return the plain value of a view; anything else as it is."""
    return value.__flowq_value__() if is_view(value) else value


def deeply_plain(value: Any) -> Any:
    """Return a value without any view in it."""
    if is_view(value):
        return deeply_plain(plain(value))
    if isinstance(value, Mapping):
        return {key: deeply_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [deeply_plain(item) for item in value]
    return value

"""Values that a template reads and that are made when they are needed.

A template asks a view for a part by its name, and gets a value or another view. As a whole value a
view passes through `{{ … }}` as it is: so a large value can be passed on and is never loaded.
Everything else that a template does with it (compare, count, iterate) works on its plain value.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final


class _Missing:
    """The type of `MISSING`."""


#: What a view returns for a part that is not there.
MISSING: Final = _Missing()


class View(ABC):
    """A value that is loaded when it is needed."""

    @abstractmethod
    def __flowq_get__(self, name: str | int) -> Any:
        """Return a part of the value, a view of it, or `MISSING`."""

    @abstractmethod
    def __flowq_value__(self) -> Any:
        """Return the plain value."""

    def __eq__(self, other: object) -> bool:
        return bool(self.__flowq_value__() == plain(other))

    __hash__ = None  # type: ignore[assignment]  # as of a list or a mapping

    def __lt__(self, other: object) -> bool:
        return bool(self.__flowq_value__() < plain(other))

    def __le__(self, other: object) -> bool:
        return bool(self.__flowq_value__() <= plain(other))

    def __gt__(self, other: object) -> bool:
        return bool(self.__flowq_value__() > plain(other))

    def __ge__(self, other: object) -> bool:
        return bool(self.__flowq_value__() >= plain(other))

    def __contains__(self, item: object) -> bool:
        return plain(item) in self.__flowq_value__()

    def __len__(self) -> int:
        return len(self.__flowq_value__())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__flowq_value__())

    def __bool__(self) -> bool:
        return bool(self.__flowq_value__())

    def __str__(self) -> str:
        return str(self.__flowq_value__())


def plain(value: Any) -> Any:
    """Return the plain value of a view; anything else as it is."""
    return value.__flowq_value__() if isinstance(value, View) else value


def deeply_plain(value: Any) -> Any:
    """Return a value without any view in it."""
    if isinstance(value, View):
        return deeply_plain(value.__flowq_value__())
    if isinstance(value, dict):
        return {key: deeply_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [deeply_plain(item) for item in value]
    return value

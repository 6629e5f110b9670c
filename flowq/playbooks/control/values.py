"""Results as templates see them, and lists that grow; large ones are not loaded to be passed on.

    Shown(value)          a plain result: an HTTP envelope falls through to its body, `.data` of a
                          value without that key is the value itself
    Lazy(result, path)    the same of a result, or of a part of it, that is loaded when it is read
    Collected             the list that `collect` makes, which remembers its parts

`argument` turns each into what a command carries: JSON, a `Reference`, or a `Concat`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from flowq.core.references import Concat, PathPart, Reference
from flowq.core.text.json_values import MAX_DEPTH, TOO_DEEP
from flowq.playbooks.control.commands import Deferred
from flowq.playbooks.document.models import Json
from flowq.tools.text import MISSING, TemplateFailed, View

#: What a result of the tool `http` has beside its body.
ENVELOPE: Final = ("status", "status_code", "headers", "url", "elapsed_ms", "data")


@runtime_checkable
class LazyResult(Protocol):
    """A result of the engine that is loaded when it is asked for."""

    @property
    def key(self) -> str:
        """The key of the call that it is of."""

    def load(self) -> Any:
        """Return the value."""


class Loads:
    """Keeps a lazy result that was loaded until the event is handled, so it is loaded once."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def value(self, result: LazyResult) -> Any:
        """Return the value of a result."""
        if result.key not in self._values:
            self._values[result.key] = result.load()
        return self._values[result.key]

    def forget(self) -> None:
        """Keep nothing any more."""
        self._values.clear()


class Standing(View):
    """Stands for a result, or for a part of one."""

    def __flowq_get__(self, name: str | int) -> Any:
        """Return a part by its key or index, or `MISSING`."""
        return part(self.__flowq_value__(), name)

    def as_argument(self) -> Json:
        """Return what a command carries in place of this."""
        return argument(self.__flowq_value__())


class Shown(Standing):
    """A plain result."""

    def __init__(self, value: Json) -> None:
        self.value = value

    def __flowq_value__(self) -> Any:
        return value_of(self.value)

    def as_argument(self) -> Json:
        """Return the value; its parts may be lazy."""
        return argument(self.value)

    def __flowq_get__(self, name: str | int) -> Any:
        found = part(self.value, name)
        if found is not MISSING:
            return found
        if is_envelope(self.value):
            return part(self.value["data"], name)
        if name == "data":
            is_loop = isinstance(self.value, Mapping) and {"results", "stats"} == set(self.value)
            return self.value["results"] if is_loop else self.value
        return MISSING


class Lazy(Standing):
    """A large result, or the part of one at a path.

    Attributes:
        is_envelope: Whether the whole result is one of the tool `http`; then its shape is known.
    """

    def __init__(
        self,
        result: LazyResult,
        loads: Loads,
        path: tuple[PathPart, ...] = (),
        *,
        is_envelope: bool = False,
    ) -> None:
        self.result = result
        self.loads = loads
        self.path = path
        self.is_envelope = is_envelope

    def __flowq_value__(self) -> Any:
        value = self.loads.value(self.result)
        for name in self.path:
            value = part(value, name)
        return value

    def __flowq_get__(self, name: str | int) -> Any:
        return Shown(self.__flowq_value__()).__flowq_get__(name)

    def child(self, name: PathPart) -> "Lazy":
        """Return the part of a name, which need not be there; loads only when it must."""
        path = (*self.path, name)
        if self.is_envelope and not self.path:
            path = path if name in ENVELOPE else ("data", name)
        elif name == "data":
            path = path if part(self.__flowq_value__(), name) is not MISSING else self.path
        return Lazy(self.result, self.loads, path, is_envelope=self.is_envelope)

    def as_argument(self) -> Json:
        """Return the reference to it."""
        return Reference(self.result.key, self.path)


class Collected(Standing):
    """A list that grows. Parts that are not loaded stay references."""

    def __init__(self, start: object = MISSING) -> None:
        self.parts: list[list[Json] | Lazy] = []
        if start is not MISSING:
            self.extend(start)

    def append(self, value: object) -> None:
        """Add one element."""
        if not self.parts or isinstance(self.parts[-1], Lazy):
            self.parts.append([])
        last = self.parts[-1]
        assert isinstance(last, list)
        last.append(value)

    def extend(self, value: object) -> None:
        """Add the elements of a list; anything else is one element."""
        if isinstance(value, Collected):
            for one in value.parts:
                self.extend(one)
        elif isinstance(value_of(value), list | tuple):
            self.parts.append(value if isinstance(value, Lazy) else list(value_of(value)))
            self._join_plain()
        else:
            self.append(value)

    def _join_plain(self) -> None:
        if len(self.parts) > 1 and isinstance(self.parts[-2], list):
            last = self.parts[-1]
            if isinstance(last, list):
                self.parts[-2].extend(last)
                self.parts.pop()

    def _elements(self) -> Iterator[Json]:
        for one in self.parts:
            yield from value_of(one)

    def __flowq_value__(self) -> Any:
        return list(map(value_of, self._elements()))

    def as_argument(self) -> Json:
        """Return the list, or its parts when some are references."""
        if not any(isinstance(one, Lazy) for one in self.parts):
            return [argument(item) for one in self.parts for item in value_of(one)]
        return Concat(tuple(map(argument, self.parts)))


def is_envelope(value: object) -> bool:
    """Return whether a value is a result of the tool `http`."""
    return isinstance(value, Mapping) and "data" in value and "status_code" in value


def shown(value: object) -> object:
    """Return a result as templates see it."""
    return value if isinstance(value, Standing) else Shown(value)


def value_of(value: object) -> Any:
    """Return the plain value of what may stand for one, at its top level."""
    return value.__flowq_value__() if isinstance(value, Standing) else value


def part(value: object, name: str | int) -> Any:
    """Return the key or index `name` of a value, or `MISSING`."""
    if isinstance(value, Standing):
        return value.child(name) if isinstance(value, Lazy) else value.__flowq_get__(name)
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, list | tuple) and isinstance(name, int):
        return value[name] if -len(value) <= name < len(value) else MISSING
    return MISSING


def body_of(value: object) -> object:
    """Return what a response has brought: the body of an HTTP response, else the value."""
    if isinstance(value, Lazy):
        return value.child("data") if value.is_envelope and not value.path else value
    return value["data"] if isinstance(value, Mapping) and is_envelope(value) else value


def fields_of(result: object) -> dict[str, Any] | None:
    """Return the keys of a mapping, lazy ones of one that is not loaded; None of anything else."""
    if isinstance(result, Lazy) and result.is_envelope and not result.path:
        return {name: result.child(name) for name in ENVELOPE}
    value = value_of(result)
    if not isinstance(value, Mapping):
        return None
    return {name: result.child(name) for name in value} if isinstance(result, Lazy) else dict(value)


def follow(value: object, path: str) -> Any:
    """Return the part of a value at a dotted path, or `MISSING`."""
    for name in filter(None, path.replace("[", ".").replace("]", "").split(".")):
        value = part(value, int(name) if name.lstrip("-").isdecimal() else name.strip("'\""))
        if value is MISSING:
            return MISSING
    return value


def argument(value: Json) -> Json:
    """Return what a command carries: JSON, where what stands for a value is a reference."""
    if isinstance(value, Standing):
        return value.as_argument()
    if isinstance(value, Deferred):
        return value
    if isinstance(value, Mapping):
        return {key: argument(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [argument(item) for item in value]
    return value


def snapshot(value: Json, depth: int = 0) -> Json:
    """Return a copy that does not grow or change with the variables that it was read from.

    Raises:
        TemplateFailed: it is nested too deeply, as a variable that always takes in itself.
    """
    if isinstance(value, Collected):
        return Collected(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        raise TemplateFailed(f"the value {TOO_DEEP}")
    if isinstance(value, Mapping):
        return {key: snapshot(item, depth + 1) for key, item in value.items()}
    return [snapshot(item, depth + 1) for item in value]

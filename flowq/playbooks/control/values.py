"""Results as templates see them, and lists that grow; they are passed on without being copied.

    Shown(value)          a plain result: an HTTP envelope falls through to its body, `.data` of a
                          value without that key is the value itself
    Lazy(result, path)    the same of the result of a call, or of a part of it, which can be named
    Made(value)           data that the document makes, with such results in it
    Collected             the list that `collect` makes, which remembers its parts

A part of a result that a template only passes on is a `Lazy`, however it was found. What a template
compares, counts or changes is a plain value. `carrying` makes of each what a command carries.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol, runtime_checkable

from flowq.core.references import PathPart, Reference
from flowq.core.text.json_values import MAX_DEPTH, TOO_DEEP
from flowq.playbooks.control.commands import Deferred
from flowq.playbooks.control.events import Failure
from flowq.playbooks.document.models import Json
from flowq.tools.text import MISSING, TemplateFailed, View, deeply_plain, refuse_undefined_part

#: What a result of the tool `http` has beside its body.
ENVELOPE: Final = ("status", "status_code", "headers", "url", "elapsed_ms", "data")
#: Values with no more characters as JSON are not longer than what would name them.
_TINY: Final = 128


@runtime_checkable
class LazyResult(Protocol):
    """A result of the engine that is loaded when it is asked for."""

    @property
    def key(self) -> str:
        """The key of the call that it is of."""

    @property
    def path(self) -> tuple[PathPart, ...]:
        """Which part of it this is."""

    @property
    def is_loaded(self) -> bool:
        """Whether `load` costs nothing."""

    def load(self) -> Any:
        """Return the value."""


class Loads:
    """Keeps a lazy result that was loaded until the event is handled, so it is loaded once."""

    def __init__(self) -> None:
        self._values: dict[LazyResult, Any] = {}

    def value(self, result: LazyResult) -> Any:
        """Return the value of a result."""
        if result not in self._values:
            self._values[result] = result.load()
        return self._values[result]

    def forget(self) -> None:
        """Keep nothing any more."""
        self._values.clear()


class Standing(View):
    """Stands for a value, or for a part of one."""

    def __flowq_get__(self, name: str | int) -> Any:
        """Return a part by its key or index, or `MISSING`."""
        return part(self.__flowq_value__(), name)

    def elements(self) -> list[Json]:
        """Return the elements of a list; each may be a `Lazy`."""
        return list(self.__flowq_value__())


class Shown(Standing):
    """A plain result."""

    def __init__(self, value: Json) -> None:
        self.value = value

    def __flowq_value__(self) -> Any:
        return deeply_plain(self.value)

    def __flowq_get__(self, name: str | int) -> Any:
        return made(_found(self.value, name)[0])

    def elements(self) -> list[Json]:
        """Return the elements of a list; each may be a `Lazy`."""
        return elements(self.value)


class Made(Shown):
    """Data that a document makes; parts of it may be results."""

    def __flowq_get__(self, name: str | int) -> Any:
        return made(part(self.value, name))


class Given(Standing):
    """Data that came with the document or its start: no results are in it."""

    def __init__(self, value: Json) -> None:
        self.value = value

    def __flowq_value__(self) -> Any:
        return self.value


class Lazy(Standing):
    """The result of a call, or the part of one at a path.

    Attributes:
        value: The value, if it is in memory; else it is loaded when it is needed.
        is_result: Whether it is a whole result, whose envelope falls through to its body.
        is_envelope: Whether it is, or is of, a result of the tool `http`, whose shape is known.
        failures: Of a map: the items that have failed, by index.
    """

    def __init__(
        self,
        result: LazyResult,
        loads: Loads,
        path: tuple[PathPart, ...] = (),
        value: Json | object = MISSING,
        *,
        is_result: bool = False,
        is_envelope: bool = False,
        failures: Mapping[int, Failure] | None = None,
    ) -> None:
        self.result = result
        self.loads = loads
        self.path = path
        self.value = value
        self.is_result = is_result
        self.is_envelope = is_envelope
        self.failures = failures or {}

    @property
    def is_loaded(self) -> bool:
        """Whether the value is in memory."""
        return self.value is not MISSING

    def find(self) -> Any:
        """Return the value, or `MISSING` if an HTTP response has no such part."""
        if self.is_loaded:
            return self.value
        value = self.loads.value(self.result)
        for name in self.path:
            value = part(value, name)
        return value

    def __flowq_value__(self) -> Any:
        value = self.find()
        if value is MISSING:
            raise TemplateFailed(f"{self.reference} does not exist in the response")
        return value

    def __flowq_get__(self, name: str | int) -> Any:
        value = self.__flowq_value__()
        found, steps = _found(value, name) if self.is_result else (part(value, name), (name,))
        return self._part(steps, found, is_kept=self.is_loaded)

    def child(self, name: PathPart) -> Any:
        """Return the part of a name; of an HTTP response it need not be there: none is loaded."""
        if self.is_loaded or not self.is_envelope:
            return self.__flowq_get__(name)
        is_of_body = self.is_result and name not in ENVELOPE
        path = (*self.path, "data", name) if is_of_body else (*self.path, name)
        return Lazy(self.result, self.loads, path, is_envelope=True)

    def elements(self) -> list[Json]:
        """Return the elements of a list: they are kept, since a loop uses them one by one."""
        return [
            self._part((index,), one, is_kept=True)
            for index, one in enumerate(self.__flowq_value__())
        ]

    @property
    def reference(self) -> Reference:
        """What names it."""
        return Reference(self.result.key, (*self.result.path, *self.path))

    def bare(self) -> "Lazy":
        """Return it as an element of a list, where no envelope falls through."""
        return Lazy(self.result, self.loads, self.path, self.value)

    def _part(self, steps: tuple[PathPart, ...], found: Any, *, is_kept: bool) -> Any:
        if found is MISSING:
            return MISSING
        if not steps:
            return self.bare()
        if size_within(found, _TINY) is not None:
            return found
        value = found if is_kept else MISSING
        return Lazy(self.result, self.loads, (*self.path, *steps), value)


class Collected(Standing):
    """A list that grows. Parts that are results stay such."""

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
        last.append(bare(value))

    def extend(self, value: object) -> None:
        """Add the elements of a list; anything else is one element."""
        if isinstance(value, Collected):
            for one in value.parts:
                if isinstance(one, Lazy):
                    self.parts.append(one)  # it is known to be a list: it need not be loaded
                else:
                    self.extend(one)
        elif isinstance(value, Lazy) and isinstance(value_of(value), list):
            self.parts.append(value.bare())
        elif isinstance(bare(value), list | tuple):
            for one in elements(value):
                self.append(one)
        else:
            self.append(value)

    def elements(self) -> list[Json]:
        """Return the elements; each may be a `Lazy`."""
        return [one for some in self.parts for one in elements(some)]

    def __flowq_get__(self, name: str | int) -> Any:
        return made(part(self.elements(), name))

    def __flowq_value__(self) -> Any:
        found: list[Json] = []
        for one in self.parts:
            found.extend(value_of(one) if isinstance(one, Lazy) else deeply_plain(one))
        return found


def size_within(value: Json, most: int) -> int | None:
    """Return how many characters a value has as JSON, about; None when they are more than `most`.

    It stops counting there, so a large value costs no more than one of that size.
    """
    left = most
    waiting: list[Any] = [value]
    while waiting and left >= 0:
        one = waiting.pop()
        if isinstance(one, str):
            left -= len(one) + 2
        elif isinstance(one, Mapping):
            left -= sum(len(key) + 4 for key in one) + 2
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            left -= len(one) + 2
            waiting.extend(one)
        else:
            left -= len(str(one)) if isinstance(one, int | float) else 4
    return most - left if left >= 0 else None


def _found(value: object, name: str | int) -> tuple[Any, tuple[PathPart, ...]]:
    """Return a part of a whole result, and where it is; the part may be the value itself."""
    found = part(value, name)
    if found is not MISSING:
        return found, (name,)
    if is_envelope(value):
        return part(part(value, "data"), name), ("data", name)
    if name == "data":
        is_loop = isinstance(value, Mapping) and {"results", "stats"} == set(value)
        return (part(value, "results"), ("results",)) if is_loop else (value, ())
    return MISSING, ()


def is_envelope(value: object) -> bool:
    """Return whether a value is a result of the tool `http`."""
    return isinstance(value, Mapping) and "data" in value and "status_code" in value


def shown(value: object) -> object:
    """Return a result as templates see it."""
    return value if isinstance(value, Standing) else Shown(value)


def is_result(value: object) -> bool:
    """Return whether a value is a whole result as templates see it."""
    return value.is_result if isinstance(value, Lazy) else type(value) is Shown


def made(value: Any) -> Any:
    """Return data as templates see it: there may be results in lists and mappings."""
    return Made(value) if isinstance(value, Mapping | list | tuple) else value


def bare(value: object) -> Any:
    """Return a value as an element of a list, where no envelope falls through."""
    if isinstance(value, Shown | Given):
        return value.value
    return value.bare() if isinstance(value, Lazy) else value


def value_of(value: object) -> Any:
    """Return the plain value of what may stand for one, at its top level."""
    return value.__flowq_value__() if isinstance(value, Standing) else value


def elements(value: object) -> list[Json]:
    """Return the elements of a list, or of what stands for one; each may be a `Lazy`."""
    if isinstance(value, Standing):
        return value.elements()
    assert isinstance(value, list | tuple)
    return list(value)


def fields_of(value: object) -> dict[str, Any] | None:
    """Return the keys of a mapping with their values, each may be a `Lazy`; None of all else."""
    if isinstance(value, Lazy) and value.is_result and value.is_envelope and not value.is_loaded:
        return {name: value.child(name) for name in ENVELOPE}
    known = bare(value)
    names = known.find() if isinstance(known, Lazy) else value_of(known)
    if not isinstance(names, Mapping):
        return None
    return {name: part(known, name) for name in names}


def part(value: object, name: str | int) -> Any:
    """Return the key or index `name` of a value, or `MISSING`."""
    if isinstance(value, Standing):
        return value.child(name) if isinstance(value, Lazy) else value.__flowq_get__(name)
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, list | tuple) and isinstance(name, int):
        return value[name] if -len(value) <= name < len(value) else MISSING
    return MISSING


def existing(value: Any) -> Any:
    """Return a value, or `MISSING` if it is a part that an HTTP response does not have."""
    if isinstance(value, Lazy) and value.is_envelope and len(value.path) > 1:
        return MISSING if value.find() is MISSING else value
    return value


def body_of(value: object) -> object:
    """Return what a response has brought: the body of an HTTP response, else the value."""
    if isinstance(value, Lazy):
        is_known = is_envelope(value.value) if value.is_loaded else value.is_envelope
        return value.child("data") if value.is_result and is_known else value
    return value["data"] if isinstance(value, Mapping) and is_envelope(value) else value


def follow(value: object, path: str) -> Any:
    """Return the part of a value at a dotted path, or `MISSING`."""
    for name in filter(None, path.replace("[", ".").replace("]", "").split(".")):
        value = part(value, int(name) if name.lstrip("-").isdecimal() else name.strip("'\""))
        if value is MISSING:
            return MISSING
    return value


def snapshot(value: Json, depth: int = 0) -> Json:
    """Return a copy that does not grow or change with the variables that it was read from.

    Raises:
        TemplateFailed: it is nested too deeply, as a variable that always takes in itself, or a
            part of it is undefined.
    """
    if isinstance(value, Collected):
        return Collected(value)
    if isinstance(value, Made | Given):
        value = value.value
    if isinstance(value, Deferred):
        return replace(value, names=snapshot(value.names, depth + 1))
    if not isinstance(value, Mapping | list | tuple):
        refuse_undefined_part(value)
        return value
    if depth >= MAX_DEPTH:
        raise TemplateFailed(f"the value {TOO_DEEP}")
    if isinstance(value, Mapping):
        return {key: snapshot(item, depth + 1) for key, item in value.items()}
    return [snapshot(item, depth + 1) for item in value]

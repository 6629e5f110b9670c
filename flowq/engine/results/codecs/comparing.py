"""Compares a value that was read back with the one that was written.

`==` is not enough: a model that equals another may be of a smaller class, NaN equals nothing, an
aware time equals one in another zone, and many classes compare by identity. So both values are
compared part by part: the same types, the same parts, the same scalars.

Two losses are accepted. A subclass of a scalar (numpy's float64, a str with methods) comes back as
the scalar. And without a type (`Any`, no annotation) a reader gets the JSON form of a value: then
(`form`) it is enough that the value's own type makes the same value of that form. A type without
equality is reported (`Comparison.open`) for the caller to decide.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import to_jsonable_python

from flowq.core.text.json_values import JsonPath
from flowq.engine.results.codecs.annotations import problems

_SCALARS: Final = frozenset(
    (str, int, float, bool, bytes, type(None), date, datetime, time, timedelta, Decimal, UUID)
)
#: For two lists of only one of these types, `==` is enough.
_EXACT: Final = frozenset((str, int, bool, type(None)))


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where a value would come back changed.

    Attributes:
        place: Keys, indices and names of fields that lead there.
        why: What would happen, e.g. `is a CardPayment and would be read back as a Payment`.
        hint: What to do about it.
    """

    place: JsonPath
    why: str
    hint: str = "pass values that JSON can represent; for a list type: flowq docs values"


class Comparison:
    """Compares values with what was read back.

    Args:
        form: Whether a JSON form may replace a value without a known type.
        own: Reads a JSON form as the type of a value; may raise anything.
    """

    def __init__(self, *, form: bool, own: Callable[[Any, type], Any]) -> None:
        self._form = form
        self._own = own
        self.open = False  #: Whether a part has no equality.

    def difference(self, given: Any, back: Any, place: JsonPath = ()) -> Difference | None:
        """Return the first difference, or None."""
        if given is back:
            return None
        kind, other = type(given), type(back)
        if kind is other or _generic(kind) is other:
            return self._same_kind(given, back, place)
        if other in _SCALARS and isinstance(given, other) and not isinstance(given, Enum):
            return _scalar(given, back, place)
        if isinstance(back, Iterator) and isinstance(given, list):
            return self._items(given, back, place)  # pydantic reads an `Iterable` once, and late
        if self._form:
            return self._as_form(given, back, place)
        return _other(given, back, place)

    def _same_kind(self, given: Any, back: Any, place: JsonPath) -> Difference | None:
        if isinstance(given, BaseModel):
            return self._model(given, back, place)
        if is_dataclass(given) and not isinstance(given, type):
            names = [field.name for field in fields(given)]
            return self._parts(given, back, names, place)
        compare: Callable[[Any, Any, JsonPath], Difference | None] = self._whole
        if type(given) in _SCALARS:
            compare = _scalar
        elif isinstance(given, list | tuple | deque):
            compare = self._items
        elif isinstance(given, Mapping):
            compare = self._entries
        return compare(given, back, place)

    def _items(
        self, given: Iterable[Any], back: Iterable[Any], place: JsonPath
    ) -> Difference | None:
        one, other = list(given), list(back)
        if len(one) != len(other):
            return Difference(place, f"would be read back with {len(other)} items, not {len(one)}")
        if isinstance(given, deque) and given.maxlen != getattr(back, "maxlen", None):
            return Difference(place, "is bounded, and its maxlen would be lost")
        kinds = set(map(type, one))
        if len(kinds) == 1 and kinds <= _EXACT and kinds == set(map(type, other)) and one == other:
            return None
        found = (
            self.difference(*pair, (*place, index))
            for index, pair in enumerate(zip(one, other, strict=True))
        )
        return next((one for one in found if one), None)

    def _entries(
        self, given: Mapping[Any, Any], back: Mapping[Any, Any], place: JsonPath
    ) -> Difference | None:
        if len(given) != len(back):
            return Difference(place, f"would be read back with {len(back)} keys, not {len(given)}")
        # Both are in the order in which they were written.
        for (key, item), (name, part) in zip(given.items(), back.items(), strict=True):
            if self.difference(key, name, place):
                return Difference(place, f"has the key {key!r}, which would come back as {name!r}")
            found = self.difference(item, part, (*place, str(key)))
            if found:
                return found
        return None

    def _model(self, given: BaseModel, back: BaseModel, place: JsonPath) -> Difference | None:
        found = self._parts(given, back, list(type(given).model_fields), place)
        if found:
            excluded = type(given).model_fields[str(found.place[len(place)])].exclude
            return (
                Difference(found.place, "is excluded, so it would be lost") if excluded else found
            )
        extra = self._entries(given.model_extra or {}, back.model_extra or {}, place)
        return extra or self._private(given, back, place)

    def _private(self, given: BaseModel, back: BaseModel, place: JsonPath) -> Difference | None:
        """Compare private attributes; locks, clients and similar objects only by their types."""
        one, other = given.__pydantic_private__ or {}, back.__pydantic_private__ or {}
        for name in one:
            kind = type(one[name])
            if _by_identity(kind) and kind is type(other.get(name)):
                continue
            if name not in other or self.difference(one[name], other[name]):
                return Difference((*place, name), "is private, so it would be lost")
        return None

    def _parts(
        self, given: Any, back: Any, names: Iterable[str], place: JsonPath
    ) -> Difference | None:
        nothing = object()
        found = (
            self.difference(
                getattr(given, name, nothing), getattr(back, name, nothing), (*place, name)
            )
            for name in names
        )
        return next((one for one in found if one), None)

    def _whole(self, given: Any, back: Any, place: JsonPath) -> Difference | None:
        if _by_identity(type(given)):
            self.open = True
            return None
        try:
            same = bool(given == back)
        except Exception:  # noqa: BLE001 - of arrays and the like `==` is no bool
            self.open = True
            return None
        if same:
            return None
        return _other(given, back, place)

    def _set_as_form(
        self, given: AbstractSet[Any], back: list[Any], place: JsonPath
    ) -> Difference | None:
        """Compare a set with a list of the forms of its items, in any order."""
        items = list(given)
        forms = to_jsonable_python(items, by_alias=False, round_trip=True)
        if sorted(map(repr, forms)) != sorted(map(repr, back)):
            return Difference(place, "would be read back with other items")
        return self._items(items, forms, place)

    def _as_form(self, given: Any, back: Any, place: JsonPath) -> Difference | None:
        """Compare a value with the JSON form of it."""
        if isinstance(given, tuple | deque) and isinstance(back, list):
            return self._items(given, back, place)
        if isinstance(given, AbstractSet) and isinstance(back, list):
            return self._set_as_form(given, back, place)
        if isinstance(given, Mapping) and isinstance(back, dict):
            return self._entries(given, back, place)
        own: Any = None
        if isinstance(given, PurePath):
            own = type(given)(back) if isinstance(back, str) else None
        elif type(given).__module__ == "numpy" and getattr(given, "shape", None) == ():
            given, own = given.item(), back
        elif isinstance(back, str | int | float | bool | list | dict | None):
            try:
                own = self._own(back, type(given))
            except Exception as error:  # noqa: BLE001 - validators are the user's code
                return Difference(place, f"is a {_name(given)}, which {unreadable(error)}")
        same = type(own) is type(given)
        return self._same_kind(given, own, place) if same else _other(given, back, place)


def _scalar(given: Any, back: Any, place: JsonPath) -> Difference | None:
    """Compare scalars; `given` may be of a subclass."""
    if isinstance(given, float):
        same = given == back and math.copysign(1, given) == math.copysign(1, back)
        same = same or (math.isnan(given) and math.isnan(back))
    elif isinstance(given, datetime):
        # A zone comes back as its offset; without one the fold cannot be known.
        same = given.replace(tzinfo=None) == back.replace(tzinfo=None)
        same = same and given.utcoffset() == back.utcoffset()
        same = same and (given.utcoffset() is not None or given.fold == back.fold)
    elif isinstance(given, time):
        same = given.replace(tzinfo=None) == back.replace(tzinfo=None)
        same = same and given.utcoffset() == back.utcoffset() and given.fold == back.fold
        same = same and (given.tzinfo is None) == (back.tzinfo is None)
    elif isinstance(given, Decimal):
        same = str(given) == str(back)  # 1.10 is not 1.1, and signalling NaNs do not compare
    else:
        same = bool(given == back)
    return None if same else _other(given, back, place)


def _by_identity(kind: Any) -> bool:
    return kind.__eq__ is object.__eq__


def _generic(kind: type) -> type:
    """Return the class that a parametrised model comes from: `Page` of `Page[int]`."""
    known: Mapping[str, Any] = getattr(kind, "__pydantic_generic_metadata__", None) or {}
    return known.get("origin") or kind


_OF_SECRETS: Final = "pass the name of the secret, and read the secret in the step that needs it"
_OF_CLASSES: Final = "annotate with the class of the value, or a union of such classes"
_OF_VALIDATORS: Final = (
    "it is validated again when it is read: validators and serializers must not change their "
    "own output; type: flowq docs values"
)


def _other(given: Any, back: Any, place: JsonPath) -> Difference:
    name = _name(given)
    if isinstance(given, SecretStr | SecretBytes):
        return Difference(place, f"is a {name}, which flowq never stores", _OF_SECRETS)
    if type(given) is not type(back):
        return Difference(
            place, f"is a {name} and would be read back as a {_name(back)}", _OF_CLASSES
        )
    if type(given) in _SCALARS:
        return Difference(
            place, f"is {_short(given)} and would be read back as {_short(back)}", _OF_VALIDATORS
        )
    return Difference(place, f"is a {name} and would be read back as another one", _OF_VALIDATORS)


def _name(value: Any) -> str:
    return type(value).__qualname__


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def unreadable(error: Exception) -> str:
    """Return the text for data that could not be read."""
    if isinstance(error, ValidationError):
        return f"cannot be read back: {problems(error)}"
    text = str(error).partition("\n")[0]
    return f"cannot be read back: {type(error).__name__}: {text}"

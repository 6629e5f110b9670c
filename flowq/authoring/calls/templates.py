"""Converts the arguments of a step to templates: JSON with references.

First a value becomes plain JSON data in which each Ref is a `Reference`. The path to every part is
tracked, so that a part that is no JSON is named exactly (`options['client'][2]`). Then references
become their markers, and user data that only looks like a marker is wrapped as a literal.

Constants are written as pydantic writes them (dates, paths, UUIDs, models by alias, dataclasses),
and the step's annotations read them back on the worker. The same is done here: a constant that
would change for the parameter is refused (see `engine.results.codecs.read_back`). Bytes are
accepted only where an annotation makes bytes of them again; elsewhere they would silently become
text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass, replace
from types import CodeType
from typing import Any, Final, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from flowq.authoring.calls.refs import Condition, Ref, operation, owner, reference
from flowq.authoring.calls.tracing import caller, source
from flowq.core.errors import InvalidFlow
from flowq.core.references import (
    CONCAT,
    FAILURE,
    LITERAL,
    MARKS,
    OP,
    Concat,
    Reference,
    Template,
)
from flowq.core.results import StepFailure
from flowq.core.text.json_values import (
    MAX_DEPTH,
    TOO_DEEP,
    flaw,
    flaw_of_text,
    is_too_long,
    mark_of,
)
from flowq.engine.replay.values import LazyResult
from flowq.engine.results.codecs.comparing import unreadable
from flowq.engine.results.codecs.read_back import (
    describe_difference,
    difference_of_argument,
    difference_of_form,
    has_any,
    is_plain,
)

_KEYS: Final = "use strings as keys"
_MAKE: Final = (
    "make it inside the step, from plain values (text, numbers, lists, dicts, pydantic models)"
)


class Owner(Protocol):
    """The trace, or the program, for which a template is made."""

    flow: str

    def reference_of(self, value: object, /) -> Reference | None:
        """Return the reference that replaces a value, if it has one."""
        ...


@dataclass(frozen=True, slots=True)
class ValueLocation:
    """The place of a value, for messages."""

    trace: Owner
    subject: str  #: e.g. `argument 'options' of step 'fetch'`.
    path: str = ""  #: Within the value, e.g. `['client'][2]`.
    code: CodeType | None = None  #: The function it is in; None: that of the author's call.
    depth: int = 0  #: The number of lists and dicts around it.
    typed: bool = False  #: Whether an annotation says the type of every part.

    def inside(self, part: object) -> "ValueLocation":
        """Return the place of one part of the list or dict here."""
        path, depth = f"{self.path}[{part!r}]", self.depth + 1
        return ValueLocation(self.trace, self.subject, path, self.code, depth, self.typed)

    def as_typed(self, typed: bool) -> "ValueLocation":  # noqa: FBT001 - it is the only argument
        """Return this place, of a value whose annotation says the type of every part, or not."""
        if typed is self.typed:
            return self
        return ValueLocation(self.trace, self.subject, self.path, self.code, self.depth, typed)

    def refuse_deep(self) -> None:
        """Refuse a list or dict that is nested too deeply.

        Raises:
            InvalidFlow: it is.
        """
        if self.depth >= MAX_DEPTH:
            raise replace(self, path="").error(f"contains itself, or {TOO_DEEP}")

    def error(self, problem: str, hint: str | None = None) -> InvalidFlow:
        """Return an error for this place."""
        inside = f", at {self.path}," if self.path else ""
        where = caller() if self.code is None else source(self.code)
        return InvalidFlow(
            f"flow {self.trace.flow!r}: {self.subject}{inside} {problem} ({where})",
            hint=hint,
        )


def to_template(
    value: Any, place: ValueLocation, reader: TypeAdapter[Any] | None = None
) -> Template:
    """Return the template of a value that may contain Refs.

    Args:
        value: The value.
        place: Its place.
        reader: The annotation of its parameter, which reads it on the worker.

    Raises:
        InvalidFlow: a part has no JSON form, would come back changed, or is a Ref of another flow's
            trace.
    """
    return _marked(_checked(value, place, reader), place)


def to_templates(
    values: Sequence[Any], place: ValueLocation, reader: TypeAdapter[Any] | None = None
) -> list[Template]:
    """Return the templates of the items of a list, each read alone; raises as `to_template`."""
    plain = reader is None or is_plain(reader)
    return [
        value
        if plain and _is_own_template(value, place.trace)
        else to_template(value, place.inside(i), reader)
        for i, value in enumerate(values)
    ]


def _is_own_template(value: Any, trace: Owner) -> bool:
    """Return whether `to_template` would return this very value; most items of long lists are so.

    It does not make the place of the value, which takes longer than all else.
    """
    kind = type(value)
    if kind is int:
        return not is_too_long(value)
    if kind is str:
        return value.isascii() and trace.reference_of(value) is None
    if kind is float:
        return math.isfinite(value) and trace.reference_of(value) is None
    return value is None or kind is bool


def _checked(value: Any, place: ValueLocation, reader: TypeAdapter[Any] | None) -> Any:
    """Return the data of a value, if its reader restores the same value."""
    typed = reader is not None and not has_any(reader)
    data = _data(value, place.as_typed(typed))
    if reader is None or data is None or is_plain(reader):
        return data
    if _holds_reference(data) or _holds_lazy(value):
        return _data(value, place)  # only the worker can read all of it
    try:
        found = difference_of_argument(value, data, reader)
    except ValidationError as error:
        raise place.error(unreadable(error), _MAKE) from error
    if found:
        raise place.error(
            f"would change when it is stored: {describe_difference(found)}", found.hint
        )
    return data


def to_condition(value: Any, place: ValueLocation) -> Template:
    """Return the template of a condition: of a Condition, a Ref, or the truth of a constant.

    Raises:
        InvalidFlow: as `to_template`.
    """
    if isinstance(value, Ref | Condition):
        return _expression(value, place)
    return bool(value)


def to_reference(value: Ref, place: ValueLocation) -> Reference:
    """Return the reference of a Ref.

    Raises:
        InvalidFlow: it belongs to another trace.
    """
    _check_owner(value, place)
    return reference(value)


def _expression(value: Any, place: ValueLocation) -> Template:
    if not isinstance(value, Condition):
        return to_template(value, place)
    _check_owner(value, place)
    name, operands = operation(value)
    return {OP: name, "args": [_expression(operand, place) for operand in operands]}


def _check_owner(value: Ref | Condition, place: ValueLocation) -> None:
    if owner(value) is not place.trace:
        raise place.error(
            f"is {value!r}, which belongs to another flow: "
            "a flow can use only the results of its own steps",
            "call the step inside this flow's function, or pass a value in as an input",
        )


def _data(value: Any, place: ValueLocation) -> Any:
    """Return JSON data with `Reference`s in it."""
    if value is None or type(value) in {bool, int}:
        return _scalar(value, place)
    known = _reference(value, place)
    if known is not None:
        return known
    if type(value) is str or isinstance(value, float):
        return _scalar(value, place)
    if isinstance(value, Mapping):
        return _mapping(value, place)
    if isinstance(value, list | tuple | AbstractSet):
        return _items(value, place)
    return _object(value, place)


def _reference(value: Any, place: ValueLocation) -> Reference | Concat | None:
    """Return what names results instead of holding them, if a value does."""
    if isinstance(value, Ref):
        return to_reference(value, place)
    if isinstance(value, Concat):
        return Concat(tuple(_items(value.parts, place)))
    return value if isinstance(value, Reference) else place.trace.reference_of(value)


def _items(value: Iterable[Any], place: ValueLocation) -> list[Any]:
    place.refuse_deep()
    data = [_data(item, place.inside(index)) for index, item in enumerate(value)]
    # The order of a set differs between processes, and a record must be the same in all.
    return sorted(data, key=repr) if isinstance(value, AbstractSet) else data


def _scalar(value: Any, place: ValueLocation) -> Any:
    if isinstance(value, str):
        return _text(value, place)
    if type(value) is int and is_too_long(value):
        raise place.error("is an integer with too many digits", "pass it as text")
    return float(value) if isinstance(value, float) else value  # numpy's float64 is a float too


def _text(value: str, place: ValueLocation) -> str:
    # A file name that is no valid UTF-8 has lone surrogates in Python, which no database stores.
    why = flaw_of_text(value)
    if why:
        raise place.error(f"{why}: {value!r}")
    return value


def _mapping(value: Mapping[Any, Any], place: ValueLocation) -> dict[str, Any]:
    place.refuse_deep()
    data: dict[str, Any] = {}
    for key, item in value.items():
        inner = place.inside(key)
        if type(key) is str:
            name = _text(key, inner)
        elif key is None or isinstance(key, Ref | Condition | tuple | bytes):
            raise place.error(f"has the key {key!r}, which JSON cannot represent", _KEYS)
        else:
            (name,) = _jsonable({key: None}, place)
            found = difference_of_form(key, name)
            if found:
                raise place.error(
                    f"has a key that would change when it is stored: {describe_difference(found)}",
                    _KEYS,
                )
        if name in data:
            raise place.error(f"has two keys that both become {name!r} in JSON", _KEYS)
        data[name] = _data(item, inner)
    return data


def _object(value: Any, place: ValueLocation) -> Any:
    """Return the data of a value that is no JSON, like a model, a dataclass or a date."""
    if isinstance(value, Condition):
        raise place.error(
            "is a condition, which flowq evaluates only in `when=`",
            "pass the compared values, and compare them in the step",
        )
    if isinstance(value, bytes | bytearray | memoryview) and not place.typed:
        raise place.error(
            f"holds {type(value).__name__}, which JSON cannot represent",
            "annotate the parameter, `list[bytes]`, or pass a path to a file, or base64 text",
        )
    if callable(value) and not isinstance(value, BaseModel):
        raise place.error(
            f"is {value!r}, which is code, not data",
            "import it in the step's module instead",
        )
    if isinstance(value, StepFailure):
        return value  # it is kept, so that its reader recognises it
    if isinstance(value, LazyResult):
        return _data(value.load(), place)  # it is so short that it is copied
    unknown: list[Any] = []
    data = _jsonable(value, place, unknown)
    if not unknown:
        found = None if isinstance(value, bytes) else difference_of_form(value, data)
        if found:
            raise place.error(
                f"would change when it is stored: {describe_difference(found)}", found.hint
            )
        return _data(data, place)
    if isinstance(value, BaseModel):
        # It contains something unknown to pydantic: a Ref, or a part that the error has to name.
        return _data({name: getattr(value, name) for name in _fields(value)}, place)
    if is_dataclass(value):
        return _data({item.name: getattr(value, item.name) for item in fields(value)}, place)
    raise _not_json(unknown[0], place)


def _fields(model: BaseModel) -> Mapping[str, Any]:
    return type(model).model_fields


def _jsonable(value: Any, place: ValueLocation, unknown: list[Any] | None = None) -> Any:
    """Return pydantic's data of a value; unknown parts are added to `unknown`."""
    found: list[Any] = [] if unknown is None else unknown
    try:
        data = to_jsonable_python(value, by_alias=False, round_trip=True, fallback=found.append)
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's and Python's own
        raise _not_json(value, place, str(error)) from error
    if found and unknown is None:
        raise _not_json(found[0], place)
    return data


def _not_json(value: Any, place: ValueLocation, why: str = "") -> InvalidFlow:
    kind = type(value)
    because = f": {why}" if why else ""
    return place.error(
        f"holds a {kind.__module__}.{kind.__qualname__}, which JSON cannot represent{because}",
        _MAKE,
    )


def _marked(data: Any, place: ValueLocation) -> Template:
    """Return data with markers for references, and literals for data that looks like a marker."""
    if isinstance(data, dict):
        return _marked_dict(data, place)
    if isinstance(data, list):
        return [_marked(item, place) for item in data]
    if isinstance(data, Reference):
        return data.to_json()
    if isinstance(data, Concat):
        return {CONCAT: [_marked(part, place) for part in data.parts]}
    if isinstance(data, StepFailure):
        return {FAILURE: _whole(data.model_dump(mode="json"), FAILURE, place)}
    return mark_of(data) if isinstance(data, float) and not math.isfinite(data) else data


def _marked_dict(data: Mapping[str, Any], place: ValueLocation) -> Template:
    key = next((key for key in data if key in MARKS), None)
    if key is None:
        return {name: _marked(item, place) for name, item in data.items()}
    if _holds_reference(data):
        raise place.error(
            f"holds a Ref beside the key {key!r}, which flowq reserves for itself",
            "pass the Ref as a separate argument",
        )
    return {LITERAL: _whole(data, key, place)}


def _whole(data: Any, key: str, place: ValueLocation) -> Any:
    """Return data that is stored without markers."""
    found = flaw(data)
    if found:
        raise place.error(f"{found[1]}, beside the key {key!r}, which flowq reserves for itself")
    return data


def _holds_reference(data: Any) -> bool:
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, list):
        return any(_holds_reference(item) for item in data)
    return isinstance(data, Reference | Concat)


def _holds_lazy(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_lazy, value.values()))
    if isinstance(value, list | tuple | AbstractSet):
        return any(map(_holds_lazy, value))
    return isinstance(value, LazyResult)

"""Values as JSON text, through their annotation.

Two things that JSON lacks are dealt with here. NaN and the infinities: pydantic writes them as
null, and a database's JSON column takes no bare `NaN`. A value that holds one is written by a
codec of its own, `json-floats`, with `{"$float": "nan"}` in its place, so that every reader gets
the float back, annotated or not; all others cost nothing but a search for the word `null`. And
values with no JSON form at all: the error names the place inside the value, found only once it is
known that there is one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json, to_json
from pydantic_core.core_schema import CoreConfig

from flowq.core.errors import NotSerializable
from flowq.engine.codecs.annotations import adapter_for, as_path, invalid_output

JSON: Final = "json"
JSON_FLOATS: Final = "json-floats"
MEDIA_TYPE: Final = "application/json"

_FLOAT: Final = "$float"
#: A value may nest this deep before it is taken for one that contains itself.
_DEEP: Final = 64


def dump(value: Any, annotation: Any, *, where: str) -> tuple[str, bytes]:
    """Return the codec and the JSON text of a value that its annotation has accepted.

    Raises:
        InvalidOutput: an instance was changed after its creation to what its class forbids.
        NotSerializable: the value, or a part of it, has no JSON form.
    """
    # Of a model that nothing announces, its class is the better annotation.
    known = type(value) if annotation is Any and isinstance(value, BaseModel) else annotation
    adapter = adapter_for(known)
    try:
        data = _dump(value, adapter)
        if not (b"null" in data or b"NaN" in data or b"Infinity" in data):
            return JSON, data
        plain = _with_floats(adapter).to_python(
            value, mode="json", by_alias=False, round_trip=True, warnings=False, fallback=_plain
        )
        if to_json(plain, inf_nan_mode="null") == to_json(plain, inf_nan_mode="constants"):
            return JSON, data
        return JSON_FLOATS, to_json(_mark(plain))
    except ValidationError as error:
        raise invalid_output(error, where) from error
    except (PydanticSerializationError, UnicodeEncodeError, RecursionError) as error:
        raise _not_serializable(value, error, where) from error


def load(codec: str, data: bytes) -> Any:
    """Return the plain data of JSON text written by `dump`."""
    value = from_json(data)
    return _unmark(value) if codec == JSON_FLOATS else value


def _dump(value: Any, adapter: TypeAdapter[Any]) -> bytes:
    try:
        return adapter.dump_json(
            value, by_alias=False, round_trip=True, warnings="error", fallback=_plain
        )
    except PydanticSerializationError as error:
        if "PydanticSerializationUnexpectedValue" not in str(error):
            raise
    # An instance does not look like its class says. Pydantic is wrong about some unions, so what
    # counts is whether the text can be read again.
    data = adapter.dump_json(
        value, by_alias=False, round_trip=True, warnings=False, fallback=_plain
    )
    adapter.validate_json(data, by_alias=True, by_name=True)
    return data


@lru_cache(maxsize=1024)
def _with_floats(adapter: TypeAdapter[Any]) -> SchemaSerializer:
    """Return a serializer that leaves NaN and infinities in place, whatever the models' config."""
    return SchemaSerializer(adapter.core_schema, CoreConfig(ser_json_inf_nan="constants"))


def _plain(value: Any) -> Any:
    """Return a numpy scalar as a Python number; pydantic knows all other types that have a form."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        item = value.item()
        if type(item) is not type(value):
            return item
    raise TypeError(f"no JSON form of {type(value).__qualname__}")


# --- floats that JSON lacks ----------------------------------------------------------------------


def _mark(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: float.__repr__(value)}
    if isinstance(value, dict):
        marked = {key: _mark(item) for key, item in value.items()}
        return {_FLOAT: marked} if _FLOAT in value else marked
    if isinstance(value, list):
        return [_mark(item) for item in value]
    return value


def _unmark(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and _FLOAT in value:
            inner = value[_FLOAT]
            return float(inner) if isinstance(inner, str) else _unmark_items(inner)
        return _unmark_items(value)
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    return value


def _unmark_items(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _unmark(item) for key, item in value.items()}


# --- values that have no JSON form ---------------------------------------------------------------


def _not_serializable(value: Any, error: Exception, where: str) -> NotSerializable:
    path, culprit = _culprit(value)
    place = f" at {as_path(path)}" if path else ""
    reason = "contains itself, or nests too deep" if len(path) >= _DEEP else _reason(error)
    return NotSerializable(
        f"{where} returned a value that cannot be stored: "
        f"{type(culprit).__module__}.{type(culprit).__qualname__}{place}: {reason}",
        hint="return JSON-like data, a pydantic model, bytes, a file's Path, a table or an array",
    )


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0].removeprefix("Error serializing to JSON: ")
    return text.removeprefix("TypeError: ")


def _culprit(value: Any) -> tuple[tuple[int | str, ...], Any]:
    """Return the deepest part that has no JSON form, and its place."""
    path: tuple[int | str, ...] = ()
    while len(path) < _DEEP:
        for part, item in _parts(value):
            if not _has_json(item):
                path, value = (*path, part), item
                break
        else:
            break
    return path, value


def _parts(value: Any) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, BaseModel):
        yield from value
    elif isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name, None)) for field in fields(value))


def _has_json(value: Any) -> bool:
    try:
        to_json(value, fallback=_plain)
    except (PydanticSerializationError, UnicodeEncodeError, RecursionError, ValueError):
        return False
    return True

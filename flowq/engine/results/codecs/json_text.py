"""Values as JSON text, through their annotation.

JSON has no NaN and no infinities: pydantic writes them as null, and a database's JSON column
refuses a bare `NaN`. A value with one is written by its own codec, `json-floats`, with `{"$float":
"nan"}` in its place, so that every reader gets the float back, annotated or not; for all other
values the only cost is a search for the word `null`. For values without a JSON form the error names
the place inside the value. All JSON is read back and compared, see `read_back`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json, to_json
from pydantic_core.core_schema import CoreConfig

from flowq.core.errors import NotSerializable
from flowq.core.text.json_values import MAX_DEPTH, TOO_DEEP, is_too_deep, marked, unmarked
from flowq.engine.results.codecs.annotations import adapter_for, as_path
from flowq.engine.results.codecs.read_back import check_result, is_plain

JSON: Final = "json"
JSON_FLOATS: Final = "json-floats"
MEDIA_TYPE: Final = "application/json"

#: JSON of fewer bytes has no number that is too long for readers.
_SHORT: Final = 4000


def dump(value: Any, annotation: Any, *, where: str) -> tuple[str, bytes]:
    """Return the codec and the JSON text of a value that its annotation has accepted.

    Raises:
        InvalidOutput: its annotation would make another value of the text, or none.
        NotSerializable: the value, or a part of it, has no JSON form that can be read.
    """
    # For a model without an annotation, its class is the better annotation.
    known = type(value) if annotation is Any and isinstance(value, BaseModel) else annotation
    adapter = adapter_for(known)
    try:
        codec, data = _dump(value, adapter)
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's and Python's own
        raise _not_serializable(value, error, where) from error
    # Short data of plain types needs no check.
    if not is_plain(adapter) or len(data) > _SHORT:
        check_result(value, _load_checked(codec, data, where), adapter, where=where)
    return codec, data


def load(codec: str, data: bytes) -> Any:
    """Return the plain data of JSON text written by `dump`."""
    value = from_json(data)
    return unmarked(value) if codec == JSON_FLOATS else value


def _dump(value: Any, adapter: TypeAdapter[Any]) -> tuple[str, bytes]:
    # pydantic's warnings are ignored, since some about unions are wrong; reading back checks it.
    data = adapter.dump_json(
        value, by_alias=False, round_trip=True, warnings=False, fallback=_plain
    )
    if not (b"null" in data or b"NaN" in data or b"Infinity" in data):
        return JSON, data
    plain = _with_floats(adapter).to_python(
        value, mode="json", by_alias=False, round_trip=True, warnings=False, fallback=_plain
    )
    if to_json(plain, inf_nan_mode="null") == to_json(plain, inf_nan_mode="constants"):
        return JSON, data
    return JSON_FLOATS, to_json(marked(plain))


def _load_checked(codec: str, data: bytes, where: str) -> Any:
    """Return the plain data of JSON text, if it can be read."""
    try:
        plain = load(codec, data)
    except ValueError as error:  # the parser's limits are integers of 4,300 digits and 200 levels
        what = "number" in str(error)
        raise _beyond(
            where, "contains an integer with too many digits" if what else TOO_DEEP
        ) from error
    # Data with few brackets cannot be deeply nested, and most data has few.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_too_deep(plain):
        raise _beyond(where, TOO_DEEP)
    return plain


def _beyond(where: str, why: str) -> NotSerializable:
    return NotSerializable(
        f"{where} returned a value that cannot be stored: it {why}",
        hint="return it as text, or use a flatter form: a list of nodes that name their parents",
    )


@lru_cache(maxsize=1024)
def _with_floats(adapter: TypeAdapter[Any]) -> SchemaSerializer:
    """Return a serializer that keeps NaN and infinities, whatever the models' config."""
    return SchemaSerializer(adapter.core_schema, CoreConfig(ser_json_inf_nan="constants"))


def _plain(value: Any) -> Any:
    """Return a numpy scalar as a Python number; pydantic handles all other types."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        item = value.item()
        if type(item) is not type(value):
            return item
    raise TypeError(f"no JSON representation of {type(value).__qualname__}")


# --- values that have no JSON form ---------------------------------------------------------------


def _not_serializable(value: Any, error: Exception, where: str) -> NotSerializable:
    path, culprit = _culprit(value)
    if len(path) > MAX_DEPTH:
        return _beyond(where, f"contains itself, or {TOO_DEEP}")
    place = f" at {as_path(path)}" if path else ""
    return NotSerializable(
        f"{where} returned a value that cannot be stored: "
        f"{type(culprit).__module__}.{type(culprit).__qualname__}{place}: {_reason(error)}",
        hint="return JSON-like data, a pydantic model, bytes, a file's Path, a table or an array",
    )


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0].removeprefix("Error serializing to JSON: ")
    return text.removeprefix("TypeError: ")


def _culprit(value: Any) -> tuple[tuple[int | str, ...], Any]:
    """Return the deepest part that has no JSON form, and its place."""
    path: tuple[int | str, ...] = ()
    while len(path) <= MAX_DEPTH:
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

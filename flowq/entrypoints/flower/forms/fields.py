"""From a JSON schema to the fields of a form.

A flat pydantic model becomes one field for each property; a model in it becomes the fields of its
own properties, one level deep. Everything else (lists, unions, deeper models) is a field that takes
JSON. Nothing here knows HTML.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

#: The value of a field that is left out.
ABSENT: Final = object()
#: A schema with more fields is one field that takes JSON.
MAX_FIELDS: Final = 100
_REFS: Final = "#/$defs/"
#: A text with a smaller limit is one line.
_LINE: Final = 200
_BOUNDS: Final = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "{} or less",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
}
_MAX_REFS: Final = 10


class Kind(StrEnum):
    """How a value is typed."""

    CHOICE = "choice"  #: One of `Field.choices`: also true or false.
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"  #: A number that JSON has as text.
    TEXT = "text"
    HIDDEN = "hidden"
    DATE = "date"
    DATETIME = "datetime"  #: In UTC.
    JSON = "json"


_FORMATS: Final = {
    "date": Kind.DATE,
    "date-time": Kind.DATETIME,
    "password": Kind.HIDDEN,
    "binary": Kind.JSON,
    "base64": Kind.JSON,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form.

    Attributes:
        path: Its place in the value; empty: it is the whole value.
        kind: How it is typed.
        schema: The schema of its value, without null.
        is_required: Whether a value has to be given.
        is_nullable: Whether nothing means null.
        default: The JSON value that is used otherwise; `ABSENT` if the schema does not say it.
        form: The name of its form.
    """

    path: tuple[str, ...]
    kind: Kind
    schema: Mapping[str, Any] = field(default_factory=dict)
    is_required: bool = False
    is_nullable: bool = False
    default: Any = ABSENT
    form: str = "value"

    @property
    def name(self) -> str:
        """The name of its input."""
        escaped = (part.replace("~", "~0").replace("/", "~1") for part in self.path)
        return "/".join((self.form, *escaped))  # as in a JSON pointer

    @property
    def label(self) -> str:
        """Its place, for people."""
        return ".".join(self.path) or "value"

    @property
    def help(self) -> str:
        """The description of the schema, and its bounds."""
        schema = self.schema["anyOf"][0] | self.schema if self.kind is Kind.DECIMAL else self.schema
        bounds = ", ".join(
            say.format(plain(schema[name])) for name, say in _BOUNDS.items() if name in schema
        )
        zone = "UTC" if self.kind is Kind.DATETIME else ""
        about = str(schema.get("description", "")).strip(".")
        return "; ".join(part for part in (about, bounds, zone) if part)

    @property
    def is_line(self) -> bool:
        """Whether a text has no line breaks."""
        short = self.schema.get("maxLength", _LINE + 1) <= _LINE or "pattern" in self.schema
        has_breaks = isinstance(self.default, str) and "\n" in self.default
        return (short or "format" in self.schema) and not has_breaks

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The JSON text of each possible value, with its words."""
        return [(json.dumps(one), _words(one)) for one in _allowed(self.schema)]

    @property
    def has_no_default(self) -> bool:
        """Whether the schema does not say what is used if the field is empty."""
        return self.default is ABSENT

    @property
    def must_be_filled(self) -> bool:
        """Whether an empty input is a mistake."""
        return self.is_required and not self.is_nullable


def fields_of(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the fields of a value of this schema."""
    root, known = _resolved(schema, schema), schema
    if root.get("properties") == {} and root.get("additionalProperties") is False:
        return ()
    if not _is_object(root):
        return (_field((), schema, known, is_required=True),)
    found = [
        one for name, part in _properties(root) for one in _of_property(root, name, part, known)
    ]
    if len(found) > MAX_FIELDS:
        return (Field((), Kind.JSON, root, is_required=True),)
    return tuple(found)


def _of_property(
    parent: Mapping[str, Any], name: str, part: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[Field]:
    """Yield the field of a property, or those of the properties of a model."""
    is_required = name in parent.get("required", ())
    inner = _resolved(part, known)
    default = part.get("default", ABSENT)
    if not _is_object(inner) or not (is_required or isinstance(default, Mapping)):
        yield _field((name,), part, known, is_required=is_required)
        return
    given = default if isinstance(default, Mapping) else {}
    for own, schema in _properties(inner):
        stated = {**schema, "default": given[own]} if own in given else schema
        yield _field((name, own), stated, known, is_required=own in inner.get("required", ()))


def _field(
    path: tuple[str, ...], part: Mapping[str, Any], known: Mapping[str, Any], *, is_required: bool
) -> Field:
    schema, is_nullable = _without_null(_resolved(part, known), known)
    default = part.get("default", ABSENT)
    is_required = is_required and default is ABSENT
    is_nullable = is_nullable or not schema or None in schema.get("enum", ())
    return Field(path, _kind(schema), schema, is_required, is_nullable, default)


def _kind(schema: Mapping[str, Any]) -> Kind:
    if _allowed(schema):
        return Kind.CHOICE
    if _is_decimal(schema):
        return Kind.DECIMAL
    if "anyOf" in schema or "oneOf" in schema:
        return Kind.JSON
    if schema.get("type") == "string":
        return _FORMATS.get(schema.get("format", ""), Kind.TEXT)
    return {"integer": Kind.INTEGER, "number": Kind.NUMBER}.get(str(schema.get("type")), Kind.JSON)


def plain(bound: Any) -> str:
    """Return a bound for people: `1,000` and not `1000.0`."""
    if isinstance(bound, float) and bound.is_integer():
        bound = int(bound)
    return f"{bound:,}" if isinstance(bound, int | float) else str(bound)


def text_of(one: Field, value: Any) -> str:
    """Return what is in the input of a field that has a value."""
    if value is ABSENT or value is None:
        return ""
    if one.kind is Kind.JSON:
        return json.dumps(value, indent=2, ensure_ascii=False)
    if one.kind is Kind.DATETIME and isinstance(value, str):
        return _local(value)
    is_text = isinstance(value, str) and one.kind not in (Kind.CHOICE, Kind.INTEGER, Kind.NUMBER)
    return value if is_text else json.dumps(value)


def _local(text: str) -> str:
    """Return a time in UTC as inputs of browsers have it; empty if they cannot hold it."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if then.tzinfo is None or then.microsecond % 1000:
        return ""
    exact = "milliseconds" if then.microsecond else "seconds"
    return then.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=exact)


def _resolved(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references; what stands beside one is kept."""
    for _ in range(_MAX_REFS):
        if len(schema.get("allOf", ())) == 1:
            beside = {name: part for name, part in schema.items() if name != "allOf"}
            schema = {**_mapping(schema["allOf"][0]), **beside}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith(_REFS):
            break
        found = known.get("$defs", {}).get(reference.removeprefix(_REFS))
        beside = {name: part for name, part in schema.items() if name != "$ref"}
        schema = {**_mapping(found), **beside}
    return schema


def _without_null(
    schema: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[Mapping[str, Any], bool]:
    """Return the schema of a value that is not null, and whether it may be."""
    parts = schema.get("anyOf", ())
    if {"type": "null"} not in parts:
        return schema, False
    rest = [part for part in parts if part != {"type": "null"}]
    beside = {name: part for name, part in schema.items() if name != "anyOf"}
    if len(rest) != 1:
        return {**beside, "anyOf": rest}, True
    return {**_resolved(_mapping(rest[0]), known), **beside}, True


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" and bool(schema.get("properties"))


def _properties(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, _mapping(part)) for name, part in schema["properties"].items()]


def _mapping(schema: Any) -> Mapping[str, Any]:
    """Return a schema; one of any value for `true`, which is a schema, too."""
    return schema if isinstance(schema, Mapping) else {}


def _is_decimal(schema: Mapping[str, Any]) -> bool:
    """Return whether it is what pydantic says of a Decimal: a number, or text."""
    parts = schema.get("anyOf")
    types = [_mapping(part).get("type") for part in parts or ()]
    return types == ["number", "string"] and "format" not in schema


def _allowed(schema: Mapping[str, Any]) -> list[Any]:
    """Return the few values that a schema allows; empty if it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    if isinstance(schema.get("enum"), list):
        return [one for one in schema["enum"] if one is not None]
    return [True, False] if schema.get("type") == "boolean" else []


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)

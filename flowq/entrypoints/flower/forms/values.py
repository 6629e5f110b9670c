"""From what is typed into a form to the JSON value, and from problems of the value to its fields.

An empty input means null where that is allowed, else that the value is left out, so that its
default is used; of a text with a default it means empty text. What is typed as JSON for the whole
value replaces all fields.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from math import isfinite
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from referencing.exceptions import Unresolvable

from flowq.core.text.json_reading import loads
from flowq.core.text.json_values import flaw
from flowq.entrypoints.flower.forms.fields import ABSENT, Field, Kind, fields_of, plain, text_of

_INTEGER: Final = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_MAX_PROBLEMS: Final = 20
_MISSING: Final = "is missing"
_TYPES: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a JSON object: {…}",
    "array": "a JSON list: […]",
    "null": "nothing",
}
_WORDS: Final = {
    "minimum": "has to be {} or more",
    "maximum": "has to be {} or less",
    "exclusiveMinimum": "has to be more than {}",
    "exclusiveMaximum": "has to be less than {}",
    "multipleOf": "has to be a multiple of {}",
    "minLength": "has to have at least {} characters",
    "maxLength": "can have at most {} characters",
    "pattern": "has to match the pattern {}",
    "minItems": "has to have at least {} entries",
    "maxItems": "can have at most {} entries",
    "const": "has to be {}",
}


class FormInvalid(Exception):
    """What was typed is no value that the schema allows.

    Attributes:
        problems: By the name of an input; "" for those of no input.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


@dataclass(frozen=True)
class Form:
    """A form for a value of a schema.

    Attributes:
        schema: A JSON schema; anything else, as in a damaged row, is taken for one of any value.
        name: Begins the names of its inputs, so that a page can have two forms.
        fields: Its fields.
    """

    schema: Mapping[str, Any]
    name: str = "value"
    fields: tuple[Field, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not _is_schema(self.schema):
            object.__setattr__(self, "schema", {})
        fields = map(_that_holds_its_default, fields_of(self.schema))
        named = tuple(replace(one, form=self.name) for one in fields)
        object.__setattr__(self, "fields", named)

    @property
    def whole(self) -> str:
        """The name of the input for the whole value as JSON."""
        return f"{self.name}:json"

    @property
    def is_plain(self) -> bool:
        """Whether its only field is the whole value as JSON, so that a second one is needless."""
        return [(one.path, one.kind) for one in self.fields] == [((), Kind.JSON)]

    def received(self, arguments: Mapping[str, str]) -> dict[str, str]:
        """Return those of the arguments of a request that are inputs of the form."""
        names = [self.whole, *(one.name for one in self.fields)]
        return {name: arguments[name] for name in names if name in arguments}

    def typed(self, value: Any = ABSENT) -> dict[str, str]:
        """Return what is in each input at first, or for a value."""
        return {one.name: text_of(one, _at(value, one)) for one in self.fields}

    def value(self, typed: Mapping[str, str]) -> Any:
        """Return the JSON value of what was typed.

        Args:
            typed: By the names of the inputs; missing ones are empty.

        Raises:
            FormInvalid: names the problem of each field.
        """
        whole = typed.get(self.whole, "").strip()
        made, problems = (_read_json(whole), {}) if whole else self._of_fields(typed)
        if isinstance(made, _Bad):
            raise FormInvalid({self.whole: made.why})
        if not problems:
            problems = self._problems(made)
        if whole and problems:
            problems = {self.whole: "; ".join(self.sentences(problems))}
        if problems:
            raise FormInvalid(problems)
        return made

    def place_of(self, path: tuple[str, ...]) -> str:
        """Return the name of the input for a place in the value; "" if there is none."""
        fits = [one for one in self.fields if path[: len(one.path)] == one.path]
        return max(fits, key=lambda one: len(one.path)).name if fits else ""

    def problems_of(self, message: str) -> dict[str, str]:
        """Return the problems that an error of the engine lists, each with its input.

        Args:
            message: Its first line, and `field: problem` in each further one.
        """
        first, *lines = message.splitlines()
        found: dict[str, str] = {}
        for label, colon, why in (line.strip().partition(": ") for line in lines):
            name = self.place_of(tuple(label.split("."))) if colon else ""
            said = why if name else f"{label}{colon}{why}"
            found[name] = f"{found[name]}; {said}" if name in found else said
        return found or {"": first}

    def expectations_of(self, message: str) -> dict[str, str]:
        """Return what the fields that an error of the engine names expect; no value is quoted.

        Args:
            message: As for `problems_of`.
        """
        found: dict[str, str] = {}
        for line in message.splitlines()[1:]:
            label, _, why = line.strip().partition(": ")
            name = self.place_of(tuple(label.split(".")))
            if name and why.startswith("expected "):
                found.setdefault(name, why.partition(", got ")[0])
        return found or {"": "the flow refuses these inputs; FLOWQ_SHOW_CONTENT=1 shows why"}

    def sentences(self, problems: Mapping[str, str]) -> list[str]:
        """Return problems with the labels of their fields."""
        labels = {one.name: one.label for one in self.fields}
        return [f"{labels[one]} {why}" if one in labels else why for one, why in problems.items()]

    def _of_fields(self, typed: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
        made: Any = {}
        problems: dict[str, str] = {}
        for one in self.fields:
            if len(one.path) > 1:
                made.setdefault(one.path[0], {})
            value = _read(one, typed.get(one.name, ""))
            if isinstance(value, _Bad):
                problems[one.name] = value.why
            elif not one.path:
                made = value
            elif value is not ABSENT:
                (made if len(one.path) == 1 else made[one.path[0]])[one.path[-1]] = value
        return made, problems

    def _problems(self, value: Any) -> dict[str, str]:
        if found := flaw(value):
            return {self.place_of(tuple(map(str, found[0]))): found[1]}
        problems: dict[str, str] = {}
        for path, text in _refused(self.schema, value):
            problems.setdefault(self.place_of(path), text)
        return problems


@dataclass(frozen=True, slots=True)
class _Bad:
    """Text that is no value of its field."""

    why: str


def _read(one: Field, text: str) -> Any:
    """Return the value of a text; `ABSENT` if it is left out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # browsers change them, too
    is_text = one.kind in (Kind.TEXT, Kind.HIDDEN)
    if not (text if is_text else text.strip()):
        if one.is_nullable:
            return None
        if one.must_be_filled:
            return _Bad(_MISSING)
        return "" if is_text and one.default is not ABSENT else ABSENT
    return text if is_text else _READERS[one.kind](one, text.strip())


def _that_holds_its_default(one: Field) -> Field:
    """Return a field; one that takes JSON, if its input could not give its default back."""
    default = one.default
    if default is ABSENT or default is None or one.kind is Kind.JSON:
        return one
    again = _read(one, text_of(one, default))
    if one.kind is Kind.DATETIME and isinstance(again, str) and isinstance(default, str):
        again, default = datetime.fromisoformat(again), datetime.fromisoformat(default)
    elif one.kind is Kind.DECIMAL and isinstance(again, str):
        again, default = Decimal(again), Decimal(str(default))
    same = type(again) is type(default) and again == default
    return one if same else replace(one, kind=Kind.JSON)


def _choice(one: Field, text: str) -> Any:
    if text in dict(one.choices):
        return json.loads(text)
    return _Bad(f"has to be one of: {', '.join(words for _, words in one.choices)}")


def _integer(_: Field, text: str) -> Any:
    return int(text) if _INTEGER.fullmatch(text) else _Bad("has to be a whole number")


def _number(_: Field, text: str) -> Any:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not isfinite(found) or "_" in text:
        return _Bad("has to be a number, for example 2.5")
    return int(text) if _INTEGER.fullmatch(text) else found


def _decimal(one: Field, text: str) -> Any:
    try:
        # The bounds of a schema are floats.
        is_number = Decimal(text).is_finite() and isfinite(float(text)) and "_" not in text
    except InvalidOperation:
        is_number = False
    if not is_number:
        return _Bad("has to be a number, for example 2.50")
    for _, why in _refused(one.schema["anyOf"][0], float(text)):
        return _Bad(why)
    return text


def _date(_: Field, text: str) -> Any:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return _Bad("has to be a day, for example 2030-01-31")


def _datetime(_: Field, text: str) -> Any:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return _Bad("has to be a time, for example 2030-01-31T09:30")
    return then.isoformat() + ("Z" if then.tzinfo is None else "")


def _json(_: Field, text: str) -> Any:
    return _read_json(text)


_READERS: Final = {
    Kind.CHOICE: _choice,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.DECIMAL: _decimal,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
    Kind.JSON: _json,
}


def _read_json(text: str) -> Any:
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        return _Bad(f'is not JSON: {error}. Text is written in quotes: "…"')


def _at(value: Any, one: Field) -> Any:
    """Return the part of a value that a field shows; its default if there is no value."""
    if value is ABSENT:
        return one.default
    for part in one.path:
        value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value


def _is_schema(schema: Any) -> bool:
    try:
        # Without formats: a pattern that Python does not know makes no schema wrong.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError:
        return False
    return isinstance(schema, Mapping)


def _refused(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a schema refuses of a value: the place, and why."""
    try:
        errors = list(islice(Draft202012Validator(schema).iter_errors(value), _MAX_PROBLEMS))
    except (re.error, Unresolvable):
        return  # e.g. a pattern that Python does not know: the worker checks the value
    for error in sorted(errors, key=lambda one: one.json_path):
        yield from _said(error)


def _said(error: ValidationError) -> Iterator[tuple[tuple[str, ...], str]]:
    path = tuple(map(str, error.absolute_path))
    wanted: Any = error.validator_value
    value: Any = error.instance
    if error.validator in ("anyOf", "oneOf") and error.context:
        null = {"type": "null"}
        ways = [one for one in error.context if one.parent and one.schema != null]
        yield from _said(max(ways or error.context, key=lambda one: len(one.absolute_path)))
    elif error.validator == "required":
        for name in wanted:
            if name not in value:
                yield (*path, name), _MISSING
    elif error.validator == "additionalProperties":
        schema: Any = error.schema
        extra = [str(name) for name in value if name not in schema.get("properties", {})]
        yield path, f"has unknown fields: {', '.join(extra)}"
    elif error.validator == "type":
        types = [wanted] if isinstance(wanted, str) else wanted
        yield path, "has to be " + " or ".join(_TYPES.get(one, one) for one in types)
    elif error.validator == "enum":
        yield path, "has to be one of: " + ", ".join(map(str, wanted))
    elif error.validator == "minLength" and wanted == 1:
        yield path, "must not be empty"
    elif error.validator in _WORDS:
        yield path, _WORDS[error.validator].format(plain(wanted))
    else:
        yield path, error.message

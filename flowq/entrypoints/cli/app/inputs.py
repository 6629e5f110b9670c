"""From `-p name=value` and `--params FILE` to the inputs of a flow.

The annotation of an input decides whether its value is read as JSON or as text: `-p n=5` is a
number for `n: int` and text for `n: str`. The flow itself validates the values later and reports
all problems at once.
"""

import json
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, TextIO, Union, get_args, get_origin, get_type_hints

import click
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from flowq.authoring.definitions.flows import Flow


def read(flow: Flow[..., Any], pairs: Sequence[str], file: TextIO | None) -> dict[str, Any]:
    """Return the inputs of a flow that were given; raises as `read_untyped`."""
    return _read(_hints(flow), pairs, file)


def read_untyped(pairs: Sequence[str], file: TextIO | None) -> dict[str, Any]:
    """Return values that have no annotations: JSON, and else text.

    Raises:
        BadParameter: one is not written as `name=value`, is given twice, or the file holds no
            object.
    """
    return _read({}, pairs, file)


def _read(hints: Mapping[str, Any], pairs: Sequence[str], file: TextIO | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="-p")
        if name in given:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="-p")
        given[name] = _value(text, hints.get(name, Any))
    return {**_object(file), **given}


def _object(file: TextIO | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        data = json.load(file)
    except ValueError as error:
        raise click.BadParameter(
            f"{file.name} is not JSON: {error}", param_hint="--params"
        ) from None
    if not isinstance(data, dict):
        raise click.BadParameter(
            f"{file.name} holds a JSON {type(data).__name__}, not an object", param_hint="--params"
        )
    return data


def _value(text: str, hint: Any) -> Any:
    """Return a value as JSON or as text, as the annotation requires."""
    try:
        data = json.loads(text)
    except ValueError:
        return text
    choices = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    if str in choices:
        return None if data is None and NoneType in choices else text
    return text if not _fits(data, hint) and _fits(text, hint) else data


def _fits(value: Any, hint: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value)
    except (ValidationError, PydanticUserError):
        return False
    return True


def _hints(flow: Flow[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(flow.__wrapped__, include_extras=False)  # type: ignore[attr-defined]
    except (AttributeError, NameError, TypeError):
        return {}  # the flow itself reports what is wrong with them

"""Converts values of users to JSON data, for output and for browsers.

The JSON is that of RFC 8259, which has no NaN: such floats are `{"$float": "nan"}`, as in stored
values. Tables are complete lists of rows, arrays lists of numbers, bytes base64. Any other value is
refused: a text that only describes a value could be mistaken for a value.
"""

from typing import Any

from pydantic_core import to_jsonable_python

from flowq.core.errors import NotSerializable
from flowq.core.text.json_values import shown
from flowq.engine.results.codecs import tables


def json_data(value: Any) -> Any:
    """Return a value as JSON data.

    Raises:
        NotSerializable: a part of it has no JSON form.
    """
    try:
        return shown(to_jsonable_python(value, fallback=_rows, bytes_mode="base64"))
    except (ValueError, TypeError, RecursionError) as error:
        raise NotSerializable(
            f"a {type(value).__qualname__} cannot be printed as JSON: {error}",
            hint="read it in Python: Run.get(id).result()",
        ) from error


def _rows(value: Any) -> Any:
    rows = tables.as_rows(value)
    if rows is None:
        raise TypeError(f"no JSON representation of {type(value).__qualname__}")
    return rows

"""Values of users as JSON data, for whatever is printed or sent to a browser.

JSON is that of RFC 8259, which knows no NaN: floats that it lacks stand as `{"$float": "nan"}`, as
they do where flowq stores them. Tables are lists of rows and arrays lists of numbers, whole; bytes
are base64. What has no such form is refused: a text that merely describes a value looks like one.
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

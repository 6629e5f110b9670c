"""The user's data in a failure, as JSON that every database can store.

The details of a failure must never prevent that the failure is recorded. So nothing is refused
here: a value without a JSON form is replaced by its type, and one that no database can store is
replaced by the reason.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from flowq.core.text.json_values import flaw, marked


def described(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of data as JSON, or the reason why an entry cannot be JSON."""
    return {_text(name): _entry(value) for name, value in data.items()}


def _entry(value: Any) -> Any:
    try:
        plain = marked(to_jsonable_python(value, fallback=_type_of, bytes_mode="base64"))
        found = flaw(plain)
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's and Python's own
        return f"left out: {_text(str(error))}"
    if found is None:
        return plain
    return _text(plain) if isinstance(plain, str) else f"left out: a part of it {found[1]}"


def _type_of(value: Any) -> str:
    return f"a {type(value).__qualname__}"


def _text(value: Any) -> str:
    """Return text without lone surrogates."""
    return str(value).encode(errors="backslashreplace").decode()

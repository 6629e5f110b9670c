"""Which JSON data flowq can store: depth, text and numbers.

JSON itself has no limits, but its readers do: pydantic's parser stops at 200 levels, Python at
integers of 4,300 digits, PostgreSQL at text that is no UTF-8. What one of them cannot read must
never be written, so there is one limit for all, well below each of theirs: `flaw` names the first
part of some data that is beyond it.

NaN and the infinities are no JSON either, but floats have them. They are stored as `{"$float":
"nan"}` (`marked`), and data that only looks like that as `{"$float": {…}}`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

#: Levels of nested lists and dicts; readers stop at 200, and specs add a few.
MAX_DEPTH: Final = 100
#: Bits of an integer; 14,000 bits are 4,215 digits.
MAX_INTEGER_BITS: Final = 14_000

#: The key that marks a float that JSON lacks.
FLOAT: Final = "$float"

#: Types of values without parts or marks; they are passed over where a list may be long.
_PLAIN: Final = frozenset({str, int, bool, type(None)})

#: A place inside a value: keys and indices.
JsonPath = tuple[str | int, ...]


def flaw(data: Any, place: JsonPath = ()) -> tuple[JsonPath, str] | None:
    """Return the first part of JSON data that cannot be stored: its place and what is wrong.

    Args:
        data: JSON data: dicts with text as keys, lists, text, numbers, true, false and null.
        place: The place of the data.
    """
    if isinstance(data, str):
        why = flaw_of_text(data)
        return (place, why) if why else None
    if isinstance(data, int):
        return (place, "is an integer with too many digits") if is_too_long(data) else None
    if isinstance(data, float):
        return None if math.isfinite(data) else (place, f"is {data}, which JSON cannot represent")
    return _flaw_of_parts(data, place) if isinstance(data, dict | list) else None


def _flaw_of_parts(data: Any, place: JsonPath) -> tuple[JsonPath, str] | None:
    if len(place) >= MAX_DEPTH:
        return place, TOO_DEEP
    for key, item in enumerate(data) if isinstance(data, list) else data.items():
        if isinstance(key, str) and (why := flaw_of_text(key)):
            return place, f"has a key that {why}"
        # Most parts are short texts or numbers, and a run has many of them.
        kind = type(item)
        if (kind is str and item.isascii()) or (kind is int and not is_too_long(item)):
            continue
        if found := flaw(item, (*place, key)):
            return found
    return None


TOO_DEEP: Final = f"nests deeper than {MAX_DEPTH} levels"


def flaw_of_text(text: str) -> str | None:
    """Return why databases cannot store a text (invalid Unicode), or None."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"is no valid text: {error.reason} at character {error.start}"
    return None


def is_too_long(number: int) -> bool:
    """Return whether an integer has more digits than readers of JSON accept."""
    return number.bit_length() > MAX_INTEGER_BITS


def is_too_deep(data: Any) -> bool:
    """Return whether JSON data is nested deeper than `MAX_DEPTH` levels; reads only containers."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
    return bool(level)


# --- floats that JSON lacks ----------------------------------------------------------------------


def mark_of(number: float) -> dict[str, str]:
    """Return the mark of NaN or an infinity in JSON."""
    return {FLOAT: float.__repr__(number)}


def marked(data: Any) -> Any:
    """Return data as JSON, with marks for floats that JSON lacks."""
    if isinstance(data, float):
        return data if math.isfinite(data) else mark_of(data)
    if isinstance(data, Mapping):
        inner = {key: marked(item) for key, item in data.items()}
        return {FLOAT: inner} if FLOAT in data else inner
    if isinstance(data, list):
        return [item if type(item) in _PLAIN else marked(item) for item in data]
    return data


def shown(data: Any) -> Any:
    """Return data as JSON for people, with marks; data that has marks is not changed."""
    if isinstance(data, float):
        return data if math.isfinite(data) else mark_of(data)
    if isinstance(data, Mapping):
        return {key: shown(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [shown(item) for item in data]
    return data


def unmarked(data: Any) -> Any:
    """Return the original of `marked` data."""
    if isinstance(data, dict):
        if len(data) == 1 and FLOAT in data:
            inner = data[FLOAT]
            return float(inner) if isinstance(inner, str) else _unmarked_items(inner)
        return _unmarked_items(data)
    if isinstance(data, list):
        return [item if type(item) in _PLAIN else unmarked(item) for item in data]
    return data


def _unmarked_items(data: dict[str, Any]) -> dict[str, Any]:
    return {key: unmarked(item) for key, item in data.items()}

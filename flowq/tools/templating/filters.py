"""The filters of templates, and the methods of texts: each bounded in what it makes.

A template may come from somebody who cannot be trusted, and runs where others wait. So there is no
filter or method whose result grows beyond a mebibyte, and none that runs a template or a format.
"""

import base64
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

from jinja2 import filters as stock
from jinja2.runtime import Undefined

from flowq.tools.templating.errors import TooLarge
from flowq.tools.templating.views import plain

#: Characters of a text that a template makes, and elements of a list.
MAX_TEXT: Final = 1 << 20
MAX_LIST: Final = 100_000
_MAX_PRECISION: Final = 15
_DATE: Final = re.compile(r"(?:[^%]|%[A-Za-z%])*")

#: Methods of texts that can be called; none formats or pads.
METHODS: Final = frozenset(
    [
        "lower",
        "upper",
        "strip",
        "lstrip",
        "rstrip",
        "split",
        "rsplit",
        "splitlines",
        "startswith",
        "endswith",
        "title",
        "capitalize",
        "casefold",
        "swapcase",
        "replace",
        "find",
        "rfind",
        "count",
        "index",
        "rindex",
        "join",
        "partition",
        "rpartition",
        "removeprefix",
        "removesuffix",
        "isdigit",
        "isdecimal",
        "isnumeric",
        "isalpha",
        "isalnum",
        "isspace",
        "islower",
        "isupper",
        "isidentifier",
    ]
)


def refuse_undefined(value: Any) -> None:
    """Raise that a value is undefined, if it is.

    Raises:
        UndefinedError: it is; the message names it.
    """
    if isinstance(value, Undefined):
        str(value)


def bounded_text(text: str) -> str:
    """Return a text.

    Raises:
        TooLarge: it is longer than a template may make.
    """
    if len(text) > MAX_TEXT:
        raise TooLarge(f"a text of {len(text):,} characters; the limit is {MAX_TEXT:,}")
    return text


def bounded_list(items: Iterable[Any]) -> list[Any]:
    """Return a list of the items.

    Raises:
        TooLarge: there are more than a template may make.
    """
    found = list(islice(items, MAX_LIST + 1))
    if len(found) > MAX_LIST:
        raise TooLarge(f"a list of more than {MAX_LIST:,} elements")
    return found


def as_text(value: Any) -> str:
    """Return a value as a piece of a text: None is empty, lists and mappings are JSON.

    Raises:
        TooLarge: the text is longer than a template may make.
        TypeError: it has no JSON form.
    """
    found = plain(value)
    if isinstance(found, str):
        return bounded_text(found)
    if found is None:
        return ""
    if isinstance(found, Mapping | list | tuple):
        return as_json(found)
    refuse_undefined(found)
    return bounded_text(str(found))


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON.

    Raises:
        TooLarge: the text is longer than a template may make.
        TypeError: it has no JSON form.
    """
    if indent is not None and not 0 <= indent <= 8:
        raise TooLarge(f"an indent of {indent}")
    pieces: list[str] = []
    size = 0
    # Piece by piece: a small value can name itself a million times.
    encoder = json.JSONEncoder(ensure_ascii=False, indent=indent, default=_unknown)
    for piece in encoder.iterencode(plain(value)):
        size += len(piece)
        if size > MAX_TEXT:
            raise TooLarge(f"JSON of more than {MAX_TEXT:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _unknown(value: Any) -> Any:
    found = plain(value)
    if found is not value:
        return found
    if isinstance(found, datetime | date):
        return found.isoformat()
    refuse_undefined(found)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def joined(pieces: Iterable[Any], separator: str = "") -> str:
    """Return texts as one text.

    Raises:
        TooLarge: it is longer than a template may make.
    """
    texts: list[str] = []
    size = 0
    for piece in pieces:
        text = as_text(piece)
        size += len(text) + (len(separator) if texts else 0)
        if size > MAX_TEXT:
            raise TooLarge(f"a text of more than {MAX_TEXT:,} characters")
        texts.append(text)
    return separator.join(texts)


def replaced(text: str, old: str, new: str, count: int | None = None) -> str:
    """Return a text with a part replaced.

    Raises:
        TooLarge: the result is longer than a template may make.
    """
    found = text.count(old) if count is None else min(text.count(old), max(count, 0))
    size = len(text) + found * (len(new) - len(old))
    if size > MAX_TEXT:
        raise TooLarge(f"a text of {size:,} characters; the limit is {MAX_TEXT:,}")
    return text.replace(old, new, -1 if count is None else count)


def method(text: str, name: str) -> Callable[..., Any]:
    """Return a method of a text, bounded."""
    if name == "replace":
        return lambda old, new, count=None: replaced(text, str(old), str(new), count)
    if name == "join":
        return lambda pieces: joined(pieces, text)
    found: Callable[..., Any] = getattr(text, name)
    return found


# --- filters --------------------------------------------------------------------------------------


def _join(value: Any, d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        value = [one[attribute] for one in value]
    return joined(value, as_text(d))


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    return replaced(as_text(text), as_text(old), as_text(new), count)


def _round(value: Any, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > _MAX_PRECISION:
        raise TooLarge(f"a precision of {precision}; the limit is {_MAX_PRECISION}")
    return stock.do_round(value, precision, method)  # type: ignore[arg-type]


def _sum(values: Any, attribute: str | None = None, start: float = 0) -> Any:
    total: Any = start
    for one in values:
        found = one[attribute] if attribute is not None else one
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise TypeError(f"sum adds numbers, not a {type(found).__name__}")
        total += found
    return total


def _batch(value: Any, linecount: int, fill_with: Any = None) -> list[list[Any]]:
    items = bounded_list(value)
    _check_count(linecount)
    return [list(part) for part in stock.do_batch(items, linecount, fill_with)]


def _slice(value: Any, slices: int, fill_with: Any = None) -> list[list[Any]]:
    items = bounded_list(value)
    _check_count(slices)
    return [list(part) for part in stock.sync_do_slice(items, slices, fill_with)]


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_LIST:
        raise TooLarge(f"{count:,} parts; expected 1 to {MAX_LIST:,}")


def _strftime(value: Any, form: str = "%Y-%m-%dT%H:%M:%S%z") -> str:
    if not _DATE.fullmatch(form):  # the C library pads to any width
        raise TypeError(f"{form!r} is no form of a date: use % and a letter")
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime | date):
        raise TypeError(f"strftime needs a time, not a {type(value).__name__}")
    return bounded_text(found.strftime(form))


def _sql(value: Any) -> str:
    """Return a value as a literal of SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    text = as_text(value)
    if "\x00" in text:
        raise TypeError("SQL has no text with NUL")
    return "'" + replaced(text, "'", "''") + "'"


def _from_json(value: Any) -> Any:
    return json.loads(as_text(value))


def _to_base64(value: Any) -> str:
    return bounded_text(base64.b64encode(as_text(value).encode()).decode())


def _from_base64(value: Any) -> str:
    return base64.b64decode(as_text(value), validate=True).decode()


def _string(value: Any) -> str:
    return as_text(value)


def _list(value: Any) -> list[Any]:
    return bounded_list(value)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:  # noqa: FBT001, FBT002 - Jinja's
    if isinstance(value, Undefined) or (boolean and not value):
        return default_value
    return value


def _reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else bounded_list(value)[::-1]


def _on_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that gets plain values."""

    @functools.wraps(function)  # Jinja marks those that want its environment
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*map(plain, args), **{name: plain(one) for name, one in kwargs.items()})

    return call


_OWN: Final[dict[str, Callable[..., Any]]] = {
    "b64decode": _from_base64,
    "b64encode": _to_base64,
    "batch": _batch,
    "d": _default,
    "default": _default,
    "fromjson": _from_json,
    "join": _join,
    "list": _list,
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "slice": _slice,
    "sql": _sql,
    "strftime": _strftime,
    "string": _string,
    "sum": _sum,
    "tojson": as_json,
}
#: Jinja's own, whose results are no larger than what they get.
_STOCK: Final = [
    "abs",
    "capitalize",
    "count",
    "dictsort",
    "first",
    "float",
    "int",
    "last",
    "length",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
    "sort",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
]

FILTERS: Final[dict[str, Callable[..., Any]]] = {
    name: _on_plain(function)
    for name, function in {**{one: stock.FILTERS[one] for one in _STOCK}, **_OWN}.items()
}

"""Texts without secrets: what was used is replaced wherever it can be read.

A secret comes back in other shapes than it had: a server quotes it in a URL, an exception has its
`repr`, a header has it in Base64 together with a name. `Mask` knows these shapes, the lines of a
secret of several lines, and the password of an address. What code derives in other ways (reversed,
hashed, cut into pieces) is not recognised.
"""

import base64
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK: Final = "***"
#: Characters; shorter secrets would be masked everywhere.
_LONG_ENOUGH: Final = 4
#: Characters of a line, and of a part of Base64, that are masked without the rest.
_LONG_PART: Final = 8
#: Digits of a number; shorter ones are years and ports.
_LONG_NUMBER: Final = 6
#: Fields of credentials that say where something is, and for whom. Masked, they would be cut out of
#: results in which they are plain words.
_PUBLIC: Final = frozenset(
    ("kind", "host", "port", "dbname", "database", "sslmode", "user", "username")
)


class Mask:
    """The secrets that were used, in all their shapes."""

    def __init__(self) -> None:
        self._shapes: set[str] = set()
        self._ordered: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._shapes)

    def add(self, secret: Any) -> None:
        """Mask a text or a number from now on; of a mapping or list, all that is in it."""
        if isinstance(secret, Mapping):
            for name, item in secret.items():
                if name not in _PUBLIC:
                    self.add(item)
        elif isinstance(secret, list | tuple):
            for item in secret:
                self.add(item)
        elif isinstance(secret, str) or _is_long_number(secret):
            self._shapes |= _shapes(str(secret))
            # A secret may contain another one, or the shape of one.
            self._ordered = tuple(sorted(self._shapes, key=len, reverse=True))

    def masked(self, value: Any) -> Any:
        """Return JSON without the secrets; a number that is one becomes a text."""
        if not self._shapes or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if len(value) >= len(self._ordered[-1]):  # most texts of results are short
                for shape in self._ordered:
                    value = value.replace(shape, MASK)
            return value
        if isinstance(value, int | float):
            return MASK if str(value) in self._shapes else value
        if isinstance(value, list | tuple):
            return [self.masked(item) for item in value]
        if isinstance(value, Mapping):
            return {self.masked(key): self.masked(item) for key, item in value.items()}
        return value


def _is_long_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and len(str(value)) >= _LONG_NUMBER


def _shapes(secret: str) -> set[str]:
    """Return the texts by which a secret can be recognised."""
    whole = {secret, *_parts(secret)}
    found = {shape for text in whole for shape in _written(text)}
    return {shape for shape in found if len(shape) >= _LONG_ENOUGH}


def _parts(secret: str) -> Iterator[str]:
    """Yield what is secret by itself: long lines, and the password of an address."""
    if "\n" in secret:
        yield from (line for line in map(str.strip, secret.splitlines()) if len(line) >= _LONG_PART)
    if "://" in secret:
        try:
            password = urlsplit(secret).password
        except ValueError:  # it is no address
            return
        if password:
            yield password
            yield unquote(password)


def _written(text: str) -> Iterator[str]:
    """Yield how a text is written in other texts."""
    yield text
    for in_json in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield in_json
        yield json.dumps(in_json)[1:-1]  # JSON in a text of JSON
    yield repr(text)[1:-1]
    yield repr(f"{text}'\"")[1:-4]  # as a part of a text with both quotes
    yield from (quote(text, safe=""), quote(text), quote_plus(text), html.escape(text))
    yield text.replace("'", "''")  # in SQL
    data = text.encode(errors="surrogatepass")
    yield base64.b64encode(data).decode()
    yield base64.urlsafe_b64encode(data).decode()
    for before in range(3):  # after some other bytes it is written in another way
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * before + data).decode()
            middle = coded[4 * bool(before) : (before + len(data)) // 3 * 4]
            if len(middle) >= _LONG_PART:
                yield middle

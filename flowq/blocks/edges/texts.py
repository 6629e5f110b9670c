"""Parses lists and dicts in texts, and splits texts. Pure.

Answers of models contain data in the syntax of JSON or Python. JSON is tried first: it is faster,
and a text that is both has the same value.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

_OPENS: Final = re.compile(r"[\[{]")
#: Brackets and strings; a string without an end extends to the end of the text, so that no
#: later quote in it is looked at again.
_BRACKETS: Final = re.compile(
    r"[\[\]{}]|\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)", re.DOTALL
)
_CLOSES: Final = {"[": "]", "{": "}"}
#: Characters of a text that are looked at as Python; its parser may take gigabytes for more.
_MOST_PYTHON: Final = 1_000_000
#: Levels of lists and dicts; parsers of Python end processes that they nest too deep for.
_MOST_LEVELS: Final = 100
#: Characters of one text that are looked at again: a part is, from each bracket before it.
_MOST_AGAIN: Final = 5_000_000
#: For so many characters a bracket counts.
_BRACKET: Final = 10


def parsed(text: str) -> Any:
    """Return the list or dict that a text is; a text that is none gives None."""
    stripped = text.strip()
    if stripped[:1] not in ("[", "{") or _Brackets(stripped).close(0) != len(stripped):
        return None
    for read in (_json, _python):
        try:
            return read(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _python(text: str) -> Any:
    if len(text) > _MOST_PYTHON:
        raise ValueError("too long")
    value = ast.literal_eval(text)
    # Sets and bytes are no JSON; tuples, and keys that are no text, become what JSON has.
    return json.loads(json.dumps(value, allow_nan=False))


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def pieces(text: str) -> Iterator[Any]:
    """Yield the lists and dicts in a text, and the stripped text between them."""
    brackets, end, at = _Brackets(text), 0, 0
    while brackets.left > 0 and (opening := _OPENS.search(text, at)) is not None:
        start = opening.start()
        at = start + 1
        close = brackets.close(start)
        value = None if close is None else brackets.parsed(start, close)
        if close is None or value is None:
            continue
        if before := text[end:start].strip():
            yield before
        yield value
        end = at = close
    if rest := text[end:].strip():
        yield rest


class _Brackets:
    """The brackets of a text.

    Attributes:
        left: How many characters may still be looked at.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        # What is looked at once, all brackets and all data, is as long as it is.
        self.left = _MOST_AGAIN + (_BRACKET + 2) * len(text)

    def close(self, start: int) -> int | None:
        """Return where the data that opens at `start` ends; None if it does not, or too deep."""
        waits: list[str] = []
        at = start
        for found in _BRACKETS.finditer(self._text, start):
            self.left -= found.end() - at + _BRACKET
            at = found.end()
            sign = found[0]
            if sign in _CLOSES:
                waits.append(_CLOSES[sign])
            elif len(sign) == 1 and sign in "]}" and waits.pop() != sign:
                return None
            if not waits:
                return at
            if len(waits) > _MOST_LEVELS or self.left <= 0:
                return None
        self.left -= len(self._text) - at
        return None

    def parsed(self, start: int, close: int) -> Any:
        """Return the list or dict that a part of the text is; None if it is none."""
        self.left -= close - start
        return parsed(self._text[start:close])


def as_json(text: str) -> Any:
    """Return the list or dict that a text is, or its pieces: `text_1`, `dict_1`, `list_1`."""
    whole = parsed(text)
    if whole is not None:
        return whole
    counts = {"text": 0, "dict": 0, "list": 0}
    found: dict[str, Any] = {}
    for piece in pieces(text):
        kind = "text" if isinstance(piece, str) else type(piece).__name__
        counts[kind] += 1
        found[f"{kind}_{counts[kind]}"] = piece
    return found


def as_list(text: str) -> list[Any]:
    """Return the list that a text is, or the list of its pieces."""
    whole = parsed(text)
    if isinstance(whole, list):
        return whole
    return [whole] if whole is not None else list(pieces(text))


def by_length(text: str, length: int) -> list[str]:
    """Return a text cut into parts of `length` characters; the last one may be shorter."""
    return [text[start : start + length] for start in range(0, len(text), length)]


def by_characters(text: str, separators: Sequence[str]) -> list[str]:
    """Return the stripped parts of a text between separators, without empty ones."""
    known = [re.escape(one) for one in separators if one]
    parts = re.split("|".join(known), text) if known else [text]
    return [part.strip() for part in parts if part.strip()]

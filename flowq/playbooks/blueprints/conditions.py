"""Conditions of blueprints: words, or an expression of playbooks.

    variable urgent equals true             a variable; one that is not set equals nothing
    tool_calls >= 3 AND NOT (done)          names, numbers and quoted texts; AND, OR, NOT, ( )
    result.score > 0.5 and ctx.tries < 3    anything else is an expression as in `case`

Words become an expression in which a name that is not set makes its comparison false, and not the
whole condition.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from flowq.playbooks.control.names import SECRET_NAMES
from flowq.playbooks.document.grammar.shapes import without_delimiters
from flowq.tools.text import InvalidTemplate, compile_expression

_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<text>"[^"\\]*"|'[^'\\]*') | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    | (?P<sign>==|!=|>=|<=|>|<|\(|\)) | (?P<word>[^\W\d]\w*) )\s*""",
    re.VERBOSE,
)
_MAX_DEPTH: Final = 30
_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "none": None}
#: Operators in words, the longest first.
_WORDS: Final = (
    ("is greater than", ">"),
    ("is less than", "<"),
    ("not equals", "!="),
    ("does not equal", "!="),
    ("not contains", "not contains"),
    ("does not contain", "not contains"),
    ("greater than", ">"),
    ("less than", "<"),
    ("at least", ">="),
    ("at most", "<="),
    ("equals", "=="),
    ("contains", "contains"),
    ("exists", "exists"),
)


class InvalidCondition(ValueError):
    """A text is no condition."""


def expression(text: str) -> str:
    """Return a condition as an expression of playbooks, without delimiters.

    Raises:
        InvalidCondition: it is neither words nor an expression.
    """
    words = _Words.of(text)
    found = words.parsed() if words is not None else None
    source = found or without_delimiters(text)
    try:
        names = compile_expression(source).names
    except InvalidTemplate as error:
        raise InvalidCondition(
            f"is neither in words (variable urgent equals true, tool_calls >= 3, AND, OR) nor an "
            f"expression: {error.message}"
        ) from None
    if named := sorted(names & SECRET_NAMES):
        raise InvalidCondition(f"asks for {named[0]!r}, which is known to workers only")
    return source


class _NoWords(Exception):
    """The text is not one of words."""


@dataclass
class _Words:
    """Parses a condition in words, from left to right."""

    tokens: list[tuple[str, str]]
    at: int = 0
    depth: int = 0

    @classmethod
    def of(cls, text: str) -> "_Words | None":
        """Return the words of a text; None if it has something else."""
        tokens, at = [], 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                return None
            kind = str(found.lastgroup)
            tokens.append((kind, found[kind]))
            at = found.end()
        return cls(tokens)

    def parsed(self) -> str | None:
        """Return the expression; None if the words are no condition."""
        try:
            found = self._any()
        except _NoWords:
            return None
        return found if self.at == len(self.tokens) else None

    def _any(self) -> str:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"

    def _all(self) -> str:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else f"({' and '.join(parts)})"

    def _one(self) -> str:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoWords
        if self._takes("not"):
            found = f"not {self._one()}"
        elif self._next() == ("sign", "("):
            self.at += 1
            found = self._any()
            if self._next() != ("sign", ")"):
                raise _NoWords
            self.at += 1
        else:
            found = self._comparison()
        self.depth -= 1
        return found

    def _comparison(self) -> str:
        is_variable = self._takes("variable")
        kind, name = self._next()
        if kind != "word" or name.lower() in ("and", "or", "not"):
            raise _NoWords
        self.at += 1
        # A name that is not one of a variable may be that of a node, whose result is meant.
        known = f"ctx.{name}" if is_variable else name
        known = f"({known} | default(0))" if name == "tool_calls" else known
        operator, is_word = self._operator()
        if operator in (None, "exists"):
            truth = "" if operator else f" and {known}"
            return f"({known} is defined{truth})"
        return _compared(known, str(operator), self._value(is_word=is_word or is_variable))

    def _operator(self) -> tuple[str | None, bool]:
        kind, found = self._next()
        if kind == "sign" and found not in "()":
            self.at += 1
            return found, False
        for words, operator in _WORDS:
            parts = words.split()
            following = self.tokens[self.at : self.at + len(parts)]
            if [("word", part) for part in parts] == [(k, v.lower()) for k, v in following]:
                self.at += len(parts)
                return operator, True
        return None, False

    def _value(self, *, is_word: bool) -> Any:
        kind, found = self._next()
        self.at += 1
        if kind == "text":
            return found[1:-1]
        if kind == "number":
            return json.loads(found) if not re.match(r"-?0\d", found) else float(found)
        if kind == "word" and found.lower() in _CONSTANTS:
            return _CONSTANTS[found.lower()]
        if kind == "word" and is_word:
            return found
        raise _NoWords

    def _takes(self, word: str) -> bool:
        kind, found = self._next()
        is_there = kind == "word" and found.lower() == word
        self.at += is_there
        return is_there

    def _next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")


def _compared(name: str, operator: str, value: Any) -> str:
    """Return a comparison that is false, or for `!=` true, when the name is not set."""
    match operator:
        case "==":
            return _equal(name, value)
        case "!=":
            return f"(not {_equal(name, value)})"
        case "contains":
            return f"({name} is defined and {_literal(value)} in {name})"
        case "not contains":
            return f"(not ({name} is defined and {_literal(value)} in {name}))"
    return f"({name} is defined and {name} {operator} {_literal(value)})"


def _equal(name: str, value: Any) -> str:
    if value is None:
        return f"({name} is not defined or {name} is none)"
    if isinstance(value, str):
        return f"({name} is defined and {name} == {_literal(value)})"
    # Variables from forms are often texts: `true` and `"true"`, `3` and `"3"`.
    texts = [json.dumps(value)] + ([str(value)] if isinstance(value, bool) else [])
    many = ", ".join([_literal(value), *map(_literal, texts)])
    return f"({name} is defined and {name} in [{many}])"


def _literal(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)

"""Collects what is wrong while a document is checked, and compiles its templates.

A problem is said by the path of a value; its line and column are looked up only then.
"""

import difflib
from collections.abc import Collection
from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.problems import Place, Problem, mark_of, shown_path
from flowq.tools.text import InvalidTemplate, compile_expression, compile_text

_WORDS: Final = {list: "a list", bool: "true or false", type(None): "nothing"}


class Report:
    """The problems and the warnings of one document.

    Args:
        places: Where its values stand.
        lenient: Whether unknown keys are warnings.
    """

    def __init__(self, data: Any, places: Place, *, lenient: bool = False) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.lenient = lenient
        self._data = data
        self._places = places

    def problem(self, path: JsonPath, message: str, *, key: str | None = None) -> None:
        """Add a problem with a value, or with a key of it."""
        self.problems.append(self._made(path, message, key))

    def warning(self, path: JsonPath, message: str, *, key: str | None = None) -> None:
        """Add a warning about a value, or about a key of it."""
        self.warnings.append(self._made(path, message, key))

    def unknown(self, path: JsonPath, key: str, known: Collection[str], hint: str = "") -> None:
        """Add that a mapping has a key that it cannot have."""
        near = difflib.get_close_matches(key, known, 1)
        hint = hint or (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")
        (self.warning if self.lenient else self.problem)(
            path, f"unknown key {key[:80]!r}; {hint}", key=key
        )

    def expression(self, text: str, path: JsonPath) -> None:
        """Compile an expression without delimiters."""
        try:
            compile_expression(text)
        except InvalidTemplate as error:
            self.problem(
                path, f"{error.message} of the expression" if error.column else error.message
            )

    def template(self, text: str, path: JsonPath, *, blocks: bool = False) -> None:
        """Compile a text, if it has something to render."""
        if "{" not in text:
            return
        try:
            compile_text(text, blocks=blocks)
        except InvalidTemplate as error:
            self.problem(path, f"{error.message} of the text" if error.column else error.message)

    def templates(self, value: Any, path: JsonPath, *, blocks: bool = False) -> None:
        """Compile every text in some data."""
        if isinstance(value, str):
            self.template(value, path, blocks=blocks)
        elif isinstance(value, dict):
            for key, one in value.items():
                if not isinstance(one, int | float | None):
                    self.templates(one, (*path, key), blocks=blocks)
        elif isinstance(value, list):
            for at, one in enumerate(value):
                if not isinstance(one, int | float | None):
                    self.templates(one, (*path, at), blocks=blocks)

    def _made(self, path: JsonPath, message: str, key: str | None) -> Problem:
        whole = path if key is None else (*path, key)
        line, column = mark_of(self._places, whole, key=key is not None)
        return Problem(line + 1, column + 1, shown_path(path), message, self._step_at(path))

    def _step_at(self, path: JsonPath) -> str | None:
        if len(path) != 2 or path[0] != "workflow":
            return None
        step = self._data["workflow"][path[1]]
        name = step.get("step") if isinstance(step, dict) else None
        return name[:80] if isinstance(name, str) else None


def found(value: Any) -> str:
    """Return what a value is, for people: `a mapping with the key 'step'`."""
    if isinstance(value, dict):
        keys = ", ".join(repr(key[:40]) for key in list(value)[:4])
        return (
            f"a mapping with the key{'s' * (len(value) > 1)} {keys}" if keys else "an empty mapping"
        )
    if isinstance(value, str):
        return f"the text {value[:40]!r}{'…' * (len(value) > 40)}" if value else "an empty text"
    if isinstance(value, list) and not value:
        return "an empty list"
    return _WORDS.get(type(value)) or f"the number {value!s:.40}"

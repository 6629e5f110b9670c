"""The problems of an input, as field, expected and got.

Pydantic finds them; users of forms and command lines read them.
"""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

_SHOWN: Final = 80


def input_problems(name: str, declared: str, error: ValidationError) -> Iterator[str]:
    """Yield each problem of one input as field, expected, got."""
    for problem in error.errors(include_url=False):
        path = (name, *problem["loc"]) if name else problem["loc"]
        field = ".".join(map(str, path)) or "the inputs"
        if problem["type"] == "missing":
            yield f"{field}: expected a value, got nothing"
            continue
        _, said, expected = problem["msg"].partition("Input should be ")
        value = problem["input"]
        got = f"got {_shown(value)} ({type(value).__name__})"
        if said:
            yield f"{field}: expected {expected}, {got}"
        else:
            wanted = "another value" if problem["loc"] else declared
            yield f"{field}: expected {wanted}, {got}: {problem['msg']}"


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a recursive list
        return "one that is too long to show"
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"

"""Conditions on references, as data: `{"$op": ">", "args": [{"$ref": "score"}, 0.5]}`.

A closed list of operators, each a plain function of plain values; nothing is compiled or evaluated
as code. Data without `$op` is an ordinary template, true if its value is true in Python.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from flowq.core.errors import StepError
from flowq.core.references import OP, Lookup, Template, resolve

OPERATORS: Final[Mapping[str, Callable[..., Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda item, container: item in container,
    "len": len,
}


def evaluate(expression: Template, lookup: Lookup) -> Any:
    """Return the value of an expression. `and` and `or` stop early, as in Python.

    Raises:
        StepError: an operand is of a wrong type, or a path does not exist.
    """
    if not (isinstance(expression, Mapping) and OP in expression):
        return resolve(expression, lookup)
    name, operands = expression[OP], expression["args"]
    if name == "and":
        return all(evaluate(operand, lookup) for operand in operands)
    if name == "or":
        return any(evaluate(operand, lookup) for operand in operands)
    values = [evaluate(operand, lookup) for operand in operands]
    if name == "not":
        return not values[0]
    try:
        return OPERATORS[name](*values)
    except TypeError as error:
        raise StepError(f"the condition `{describe(expression)}` failed: {error}") from error


def describe(expression: Template) -> str:
    """Return a condition as a person would write it."""
    if isinstance(expression, Mapping) and OP in expression:
        name, operands = expression[OP], [describe(operand) for operand in expression["args"]]
        if len(operands) == 1:
            return f"{name}({operands[0]})" if name == "len" else f"{name} {operands[0]}"
        return f" {name} ".join(operands)
    if isinstance(expression, Mapping) and "$ref" in expression:
        from_step: str = expression["$ref"]
        return from_step + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}"
            for part in expression.get("path", ())
        )
    return repr(expression)

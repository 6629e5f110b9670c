"""Conditions as data: what they come to, and how a person reads them."""

from typing import Any

import pytest

from flowq.core.errors import StepError
from flowq.core.expressions import describe, evaluate
from flowq.core.references import Reference

SCORE = {"$ref": "rate", "path": ["score"]}
LINKS = {"$ref": "links"}


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"$op": name, "args": list(args)}


def find(reference: Reference) -> Any:
    return {"rate": 0.7, "links": ["a", "b"]}[reference.step]


@pytest.mark.parametrize(
    "expression, value",
    [
        (SCORE, 0.7),
        (op(">", SCORE, 0.5), True),
        (op("<", SCORE, 0.5), False),
        (op("==", SCORE, 0.7), True),
        (op("!=", SCORE, 0.7), False),
        (op("<=", SCORE, 0.7), True),
        (op(">=", SCORE, 0.8), False),
        (op("in", "a", LINKS), True),
        (op("len", LINKS), 2),
        (op("not", op(">", op("len", LINKS), 2)), True),
        (op("and", op(">", SCORE, 0.5), LINKS), True),
        (op("or", False, 0, LINKS), True),
        (op("==", {"$literal": {"$ref": "x"}}, {"$literal": {"$ref": "x"}}), True),
        (False, False),
    ],
)
def test_condition_is_evaluated(expression: Any, value: Any) -> None:
    """Every operator does what Python does."""
    assert value == evaluate(expression, find)


@pytest.mark.parametrize("name, first", [("and", False), ("or", True)])
def test_joins_stop_early(name: str, *, first: bool) -> None:
    """What is decided by the first part never looks at the second."""
    missing = {"$ref": "missing"}

    assert first is evaluate(op(name, first, missing), find)
    with pytest.raises(KeyError):
        evaluate(op(name, not first, missing), find)


def test_operands_that_do_not_fit_are_reported() -> None:
    """The error shows the condition as it was written."""
    with pytest.raises(StepError, match=r"`links > 3` failed: '>' not supported"):
        evaluate(op(">", LINKS, 3), find)


@pytest.mark.parametrize(
    "expression, text",
    [
        (op(">", SCORE, 0.5), "rate.score > 0.5"),
        (
            op("and", op(">", op("len", LINKS), 2), op("not", SCORE)),
            "len(links) > 2 and not rate.score",
        ),
        (op("==", {"$ref": "a", "path": [0, "b"]}, "x"), "a[0].b == 'x'"),
    ],
)
def test_condition_reads_as_python(expression: Any, text: str) -> None:
    """People see what the author wrote."""
    assert text == describe(expression)

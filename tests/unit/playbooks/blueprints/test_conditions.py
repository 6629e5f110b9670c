"""Conditions of blueprints: words become expressions, and what they mean of missing variables."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.playbooks.blueprints.conditions import InvalidCondition, expression
from flowq.tools.text import compile_expression

VARIABLES = {"urgent": True, "said": "true", "n": 3, "text": "a done", "none": None, "of": [1, "x"]}


def holds(text: str, **names: Any) -> bool:
    known = {**VARIABLES, **names}
    return bool(compile_expression(expression(text)).render({**known, "ctx": known}))


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("variable urgent equals true", True),
        ("variable said equals true", True),
        ("variable urgent equals false", False),
        ("variable nobody equals true", False),
        ("variable nobody equals null", True),
        ("variable nobody not equals 3", True),
        ("VARIABLE n EQUALS 3", True),
        ("variable n equals '3'", False),
        ("variable text equals 'a done'", True),
        ("variable text contains done", True),
        ("variable of contains 1", True),
        ("variable of does not contain x", False),
        ("variable of exists", True),
        ("variable nobody exists", False),
        ("variable items exists", False),
        ("variable keys not equals 3", True),
        ("variable n is greater than 2", True),
        ("variable n at most 2", False),
        ("n >= 3", True),
        ("n >= 3 AND nobody > 1 OR urgent", True),
        ("nobody > 1 OR NOT (n == 4 or n == 5)", True),
        ("tool_calls >= 1", False),
        ("tool_calls < 1", True),
        ("none", False),
        ("n", True),
        ("{{ n + 1 == 4 }}", True),
        ("n == of[0] + 2", True),
        ("text == 'a done' and n in [3]", True),
    ],
)
def test_what_conditions_mean(text: str, wanted: object) -> None:
    assert wanted is holds(text)


def test_count_of_tools_is_known_when_there_was_none() -> None:
    assert holds("tool_calls >= 2 AND n == 3", tool_calls=2)


@pytest.mark.parametrize("text", ["", "(", "a b", "n >", "{% if n %}", "(" * 90, "a = 1"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidCondition, match="neither in words"):
        expression(text)


WORDS = ["variable", "n", "(", ")", "and", "not", "equals", "==", "3", "true", "tool_calls"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        found = expression(text)
    except InvalidCondition:
        return
    compile_expression(found)

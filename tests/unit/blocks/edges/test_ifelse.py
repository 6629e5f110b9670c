"""The edge `ifelse`: its conditions, how they are joined, and which cases apply."""

from typing import Any

import pytest

from flowq.blocks.edges.ifelse import check, ifelse
from flowq.blocks.errors import EdgeFailed


def condition(name: str, value: Any = None, operation: str = "/") -> dict[str, Any]:
    return {
        "block": "1",
        "condition": name,
        "parameters": {"value": value},
        "operation": operation,
    }


def config(*conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    case = {"conditions": list(conditions), "thens": [{"from": "1", "to": "2"}]}
    return {"inputs": {"1": "a"}, "outputs": {"2": "", "3": ""}, "cases": {"case1": case, **more}}


@pytest.mark.parametrize(
    "name, content, value, holds",
    [
        ("is_empty", "", None, True),
        ("is_empty", [], None, True),
        ("is_empty", None, None, True),
        ("is_empty", 0, None, False),
        ("is_empty", "a", None, False),
        ("is_not_empty", "a", None, True),
        ("is_not_empty", {}, None, False),
        ("contain", "hello", "ell", True),
        ("contain", "1 of 2", 2, True),
        ("contain", ["a", 1], 1, True),
        ("contain", {"k": "v"}, "k", True),
        ("contain", {"k": "v"}, "v", True),
        ("contain", {"k": ["v"]}, ["v"], True),
        ("contain", 7, 7, False),
        ("not_contain", "hello", "x", True),
        ("not_contain", 7, 7, True),
        ("greater_than_n_chars", "hello!", 5, True),
        ("greater_than_n_chars", "hello", 5, False),
        ("greater_than_n_chars", "hello!", "5", True),
        ("greater_than_n_chars", [1, 2, 3], 1, False),
        ("less_than_n_chars", "hell", 5, True),
        ("less_than_n_chars", "hello", 5, False),
        ("less_than_n_chars", 7, 5, False),
        ("is", "a", "a", True),
        ("is", [1], [1], True),
        ("is", "1", 1, False),
        ("is_not", "1", 1, True),
        ("is_list", [], None, True),
        ("is_list", {}, None, False),
        ("is_dict", {}, None, True),
        ("greater_than_n", [1, 2], 1, True),
        ("greater_than_n", {"a": 1}, 1, False),
        ("greater_than_n", "long text", 1, False),
        ("less_than_n", [], 1, True),
        ("less_than_n", "", 1, False),
    ],
)
def test_conditions(name: str, content: Any, value: Any, *, holds: bool) -> None:
    found = ifelse(config(condition(name, value)), {"a": content})
    assert found == ({"2": content} if holds else {})


@pytest.mark.parametrize(
    "names, first, second, holds",
    [
        (["is_list", "is_dict", "is_list"], "and", "or", True),
        (["is_dict", "is_list", "is_list"], "and", "or", True),
        (["is_list", "is_list", "is_dict"], "or", "and", False),
        (["is_dict", "is_list", "is_list"], "or", "and", True),
    ],
)
def test_conditions_are_joined_from_left_to_right(
    names: list[str], first: str, second: str, *, holds: bool
) -> None:
    operations = [first, second, "/"]
    joined = [condition(*one) for one in zip(names, [None] * 3, operations, strict=True)]
    assert bool(ifelse(config(*joined), {"a": []})) is holds


def test_each_case_that_holds_applies_and_later_ones_overwrite() -> None:
    both = {
        "inputs": {"1": "a", "4": "b"},
        "cases": {
            "first": {
                "conditions": [condition("is_not_empty")],
                "thens": [{"from": "1", "to": "2"}, {"from": "1", "to": "3"}],
            },
            "second": {
                "conditions": [condition("is_not_empty")],
                "thens": [{"from": "4", "to": "2"}],
            },
        },
    }
    assert ifelse(both, {"a": "A", "b": "B"}) == {"2": "B", "3": "A"}


def test_a_number_that_is_none_is_an_error() -> None:
    with pytest.raises(EdgeFailed, match="is not a number") as refusal:
        ifelse(config(condition("greater_than_n_chars", "many")), {"a": "text"})
    assert refusal.value.code == 4100


@pytest.mark.parametrize(
    "settings, path",
    [
        ({"cases": None}, ("cases",)),
        ({"cases": {"c": None}}, ("cases", "c")),
        (config(condition("is_odd")), ("cases", "case1", "conditions", 0, "condition")),
        (
            config(condition("is_list") | {"block": "9"}),
            ("cases", "case1", "conditions", 0, "block"),
        ),
        (
            config(condition("is_list", operation="and")),
            ("cases", "case1", "conditions", 0, "operation"),
        ),
        (
            config(condition("is_list"), condition("is_list")),
            ("cases", "case1", "conditions", 0, "operation"),
        ),
        (
            config(c={"conditions": [condition("is_list")], "thens": [{"from": "1", "to": "9"}]}),
            ("cases", "c", "thens", 0, "to"),
        ),
        (
            config(c={"conditions": [condition("is_list")], "thens": [{"from": "2", "to": "2"}]}),
            ("cases", "c", "thens", 0, "from"),
        ),
    ],
)
def test_settings_that_cannot_run(settings: Any, path: Any) -> None:
    ends = {"inputs": {"1": "a"}, "outputs": {"2": "", "3": ""}}
    found = [flaw.place for flaw in check({**settings, **ends})]
    assert path in found


def test_settings_that_can_run() -> None:
    assert list(check(config(condition("is_list", operation="or"), condition("is_dict")))) == []

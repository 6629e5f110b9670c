"""The operations on nested data, one table; the values are worked out by hand."""

from copy import deepcopy
from typing import Any

import pytest

from flowq.blocks.edges.structured import apply
from flowq.blocks.errors import EdgeFailed

DATA = {"a": [3, 1, 2], "b": {"c": "text", "d": [{"e": 1}]}, "n": None}


def run(name: str, data: Any = DATA, **params: Any) -> Any:
    return apply(data, [{"type": name, "params": params}])


@pytest.mark.parametrize(
    "params, expected",
    [
        ({"path": ["a", 0]}, 3),
        ({"path": ["a", "0"]}, 3),
        ({"path": ["a", -1]}, 2),
        ({"path": ["b", "d", 0, "e"]}, 1),
        ({"path": ["b", "x"]}, None),
        ({"path": ["b", "x"], "default": 7}, 7),
        ({"path": ["a", 9], "default": 7}, 7),
        ({"path": ["a", "x"], "default": 7}, 7),
        ({"path": ["n"], "default": 7}, None),
        ({"path": ["*"]}, DATA),
        ({"path": []}, DATA),
        ({}, DATA),
    ],
)
def test_get(params: Any, expected: Any) -> None:
    assert run("get", **params) == expected


@pytest.mark.parametrize("path", [["b", "c", 0], ["a", 0, "x"]])
@pytest.mark.parametrize("name", ["get", "delete", "append", "set_value"])
def test_a_path_that_continues_below_a_scalar_is_an_error(name: str, path: Any) -> None:
    more = {"value": 1} if name in ("append", "set_value") else {}
    with pytest.raises(EdgeFailed) as refusal:
        run(name, path=[*path, "y"], **more)
    assert refusal.value.code == 4210


@pytest.mark.parametrize(
    "name, params, expected",
    [
        ("delete", {"path": ["b", "c"]}, {"b": {"d": [1]}, "l": [2, 1]}),
        ("delete", {"path": ["l", 0]}, {"b": {"c": 1, "d": [1]}, "l": [1]}),
        ("delete", {"path": ["l", 5]}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
        ("delete", {"path": ["x", "y"]}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
        ("delete", {"path": ["*"]}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
        ("append", {"path": ["l"], "value": 9}, {"b": {"c": 1, "d": [1]}, "l": [2, 1, 9]}),
        ("append", {"path": ["b"], "value": 9}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
        ("insert", {"path": ["l"], "value": 9}, {"b": {"c": 1, "d": [1]}, "l": [9, 2, 1]}),
        (
            "insert",
            {"path": ["l"], "index": 1, "value": 9},
            {"b": {"c": 1, "d": [1]}, "l": [2, 9, 1]},
        ),
        (
            "insert",
            {"path": ["l"], "index": 99, "value": 9},
            {"b": {"c": 1, "d": [1]}, "l": [2, 1, 9]},
        ),
        ("sort", {"path": ["l"]}, {"b": {"c": 1, "d": [1]}, "l": [1, 2]}),
        ("sort", {"path": ["l"], "reverse": True}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
        ("set_value", {"path": ["b", "c"], "value": 5}, {"b": {"c": 5, "d": [1]}, "l": [2, 1]}),
        (
            "set_value",
            {"path": ["x", "y"], "value": 5},
            {"b": {"c": 1, "d": [1]}, "l": [2, 1], "x": {"y": 5}},
        ),
        (
            "set_value",
            {"path": ["l", 3], "value": 5},
            {"b": {"c": 1, "d": [1]}, "l": [2, 1, None, 5]},
        ),
        ("set_value", {"path": ["l", -1], "value": 5}, {"b": {"c": 1, "d": [1]}, "l": [2, 5]}),
        (
            "set_value",
            {"path": ["x", 0], "value": 5},
            {"b": {"c": 1, "d": [1]}, "l": [2, 1], "x": [5]},
        ),
        ("set_value", {"path": ["*"], "value": 5}, 5),
        ("variable_replace", {"plugins": {"x": "X"}}, {"b": {"c": 1, "d": [1]}, "l": [2, 1]}),
    ],
)
def test_changes(name: str, params: Any, expected: Any) -> None:
    data = {"b": {"c": 1, "d": [1]}, "l": [2, 1]}
    before = deepcopy(data)
    assert run(name, data, **params) == expected
    assert data == before


@pytest.mark.parametrize("name", ["append", "insert"])
def test_the_root_may_be_the_list(name: str) -> None:
    assert run(name, [], path=["*"], value=1) == [1]


def test_values_that_cannot_be_compared_stay_in_their_order() -> None:
    assert run("sort", [2, "a", 1], path=["*"]) == [2, "a", 1]


@pytest.mark.parametrize("index", [10**9, -5, "x"])
def test_an_index_far_behind_the_end_is_refused(index: Any) -> None:
    with pytest.raises(EdgeFailed) as refusal:
        run("set_value", [1, 2], path=[index], value=1)
    assert refusal.value.code == 4210


@pytest.mark.parametrize(
    "depth, keys, values",
    [
        (-1, [["a", 0], ["a", 1], ["b", "c"]], [1, 2, 3]),
        (0, [], []),
        (1, [["a"], ["b"]], [[1, 2], {"c": 3}]),
        (2, [["a", 0], ["a", 1], ["b", "c"]], [1, 2, 3]),
    ],
)
def test_keys_and_values(depth: int, keys: Any, values: Any) -> None:
    data = {"a": [1, 2], "b": {"c": 3}}
    assert run("get_keys", data, max_depth=depth) == keys
    assert run("get_values", data, max_depth=depth) == values


def test_variables_of_a_text_are_replaced_wherever_it_is() -> None:
    data = {"a": "{{x}} {{y}}", "b": ["{{x}}", 1]}
    assert run("variable_replace", data, plugins={"x": "X"}) == {"a": "X {{y}}", "b": ["X", 1]}


@pytest.mark.parametrize(
    "operation, expected",
    [
        ("union", [1, 2, 3]),
        ("intersection", [2]),
        ("difference", [1]),
        ("symmetric_difference", [1, 3]),
    ],
)
def test_sets(operation: str, expected: Any) -> None:
    data = {"a": [2, 1, 2, [5]], "b": [3, 2]}
    by_path = run("set_operation", data, path1=["a"], path2=["b"], operation=operation)
    by_value = run("set_operation", {}, value1=[2, 1, 2], value2=[3, 2], operation=operation)
    assert by_path == by_value == expected


def test_sets_of_what_cannot_be_compared_keep_the_order_in_which_it_came() -> None:
    found = run("set_operation", {}, value1=["b", 1], value2=[None, "b"], operation="union")
    assert found == ["b", 1, None]


def test_true_and_one_are_two() -> None:
    found = run("set_operation", {}, value1=[1], value2=[True], operation="intersection")
    assert found == []


def test_operations_follow_one_another() -> None:
    steps = [
        {"type": "append", "params": {"path": ["a"], "value": 0}},
        {"type": "sort", "params": {"path": ["a"]}},
        {"type": "get", "params": {"path": ["a"]}},
    ]
    assert apply(DATA, steps) == [0, 1, 2, 3]


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(EdgeFailed, match="unknown operation 'shake'") as refusal:
        run("shake")
    assert refusal.value.code == 3802

"""Looped inputs: which combinations there are, and what becomes of their results."""

from typing import Any

import pytest

from flowq.blocks.errors import EdgeFailed
from flowq.blocks.loops import branches, combinations, joined


def one(label: str, content: Any, *, looped: bool = True) -> dict[str, Any]:
    return {"id": label, "label": label, "looped": looped, "content": content}


def test_the_last_input_changes_fastest() -> None:
    inputs = [one("a", ["x", "y"]), one("b", [1, 2]), one("c", [3], looped=False)]
    assert [tuple(each.values()) for each in combinations(inputs, as_texts=False)] == [
        ("x", 1, [3]),
        ("x", 2, [3]),
        ("y", 1, [3]),
        ("y", 2, [3]),
    ]


@pytest.mark.parametrize(
    "content, as_texts, items",
    [
        ({"x": 1, "y": 2}, False, [{"x": 1}, {"y": 2}]),
        ({"x": 1}, True, ["{'x': 1}"]),
        ([1, None, "a"], True, ["1", "None", "a"]),
        ([1, None, "a"], False, [1, None, "a"]),
        ("text", True, ["text"]),
        (7, True, [7]),
        ([], False, []),
    ],
)
def test_items(content: Any, as_texts: bool, items: list[Any]) -> None:  # noqa: FBT001
    found = [each["a"] for each in combinations([one("a", content)], as_texts=as_texts)]
    assert found == items


def test_more_combinations_than_memory_has_are_refused_before_they_are_made() -> None:
    inputs = [one(name, list(range(1000))) for name in "abc"]
    with pytest.raises(EdgeFailed, match="1,000,000,000 combinations"):
        next(combinations(inputs, as_texts=False))


def test_without_inputs_there_is_one_combination() -> None:
    assert list(combinations([], as_texts=True)) == [{}]


@pytest.mark.parametrize("results, whole", [(["a"], "a"), ([], []), (["a", "b"], ["a", "b"])])
def test_one_result_is_no_list(results: list[str], whole: Any) -> None:
    assert joined(results) == whole


def test_branches_collect_what_each_combination_has_set() -> None:
    assert branches([{"x": 1}, {"y": 2}, {"x": 3}]) == {"x": [1, 3], "y": [2]}
    assert branches([{"x": 1}]) == {"x": 1}
    assert branches([{}, {}]) == {}

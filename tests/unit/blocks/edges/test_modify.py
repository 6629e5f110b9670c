"""The edge `modify`, one table for each of its kinds; the values are worked out by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks.edges.modify import modify
from flowq.blocks.errors import EdgeFailed


def run(kind: str, content: Any, contents: dict[str, Any], **extra: Any) -> Any:
    return modify({"modify_type": kind, "content": content, "extra_configs": extra}, contents)


@pytest.mark.parametrize("content", ["a", "", 7, None, [1, {"a": []}], {"a": 1}])
def test_copy(content: Any) -> None:
    assert run("copy", "{{x}}", {"x": content}) == content


def test_without_a_template_the_one_input_is_the_content() -> None:
    assert modify({"modify_type": "copy"}, {"x": [1]}) == [1]


@pytest.mark.parametrize(
    "content, text",
    [
        ("a", "a"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "True"),
        (None, "None"),
        ([1, "ü"], '[1, "\\u00fc"]'),
        ({"a": None}, '{"a": null}'),
    ],
)
def test_convert2text(content: Any, text: str) -> None:
    assert run("convert2text", "{{x}}", {"x": content}) == text


@pytest.mark.parametrize(
    "mode, content, extra, expected",
    [
        ("wrap_into_dict", "a", {}, {"value": "a"}),
        ("wrap_into_dict", "a", {"dict_key": "k"}, {"k": "a"}),
        ("wrap_into_dict", "", {}, {}),
        ("wrap_into_dict", [1], {}, {}),
        ("parse_as_json", "{'a': 1}", {}, {"a": 1}),
        ("parse_as_json", '{"a": null}', {}, {"a": None}),
        ("parse_as_json", "[1, (2, 3)]", {}, [1, [2, 3]]),
        ("parse_as_json", "[True, None, 'a']", {}, [True, None, "a"]),
        ("parse_as_json", '["\\ud83d\\ude00"]', {}, ["\U0001f600"]),
        ("parse_as_json", "plain", {}, {"text_1": "plain"}),
        (
            "parse_as_json",
            "a {'b': 1} c [2] {\"d\": 3} ",
            {},
            {"text_1": "a", "dict_1": {"b": 1}, "text_2": "c", "list_1": [2], "dict_2": {"d": 3}},
        ),
        ("parse_as_json", "7", {}, {"text_1": "7"}),
        ("parse_as_json", 7, {}, []),
        ("parse_as_list", "[1, 2]", {}, [1, 2]),
        ("parse_as_list", "{'a': 1}", {}, [{"a": 1}]),
        (
            "parse_as_list",
            "This is ['a'] a {'k': 'v'} test.",
            {},
            ["This is", ["a"], "a", {"k": "v"}, "test."],
        ),
        ("parse_as_list", "abc", {}, ["abc"]),
        ("parse_as_list", "a [b] c", {}, ["a [b] c"]),
        ("parse_as_list", "[[[", {}, ["[[["]),
        ("parse_as_list", "", {}, []),
        ("split_by_length", "abcde", {"length_separator": 2}, ["ab", "cd", "e"]),
        ("split_by_length", "a" * 1001, {}, ["a" * 1000, "a"]),
        ("split_by_character", "red, green,,blue", {}, ["red", "green", "blue"]),
        ("split_by_character", "a.b|c", {"list_separator": [".", "|"]}, ["a", "b", "c"]),
        ("split_by_character", "a.b", {"list_separator": "."}, ["a", "b"]),
        ("split_by_character", "a,b", {"list_separator": []}, ["a,b"]),
    ],
)
def test_convert2structured(mode: str, content: Any, extra: Any, expected: Any) -> None:
    found = run("convert2structured", "{{x}}", {"x": content}, conversion_mode=mode, **extra)
    assert found == expected


@pytest.mark.parametrize(
    "mode, extra",
    [
        ("split_by_length", {"length_separator": 0}),
        ("split_by_length", {"length_separator": -1}),
        ("split_by_length", {"length_separator": "2"}),
        ("split_by_length", {"length_separator": True}),
        ("split_by_character", {"list_separator": [1]}),
        ("by_magic", {}),
    ],
)
def test_convert2structured_refuses(mode: str, extra: Any) -> None:
    with pytest.raises(EdgeFailed) as refusal:
        run("convert2structured", "abc", {}, conversion_mode=mode, **extra)
    assert refusal.value.code == 3802


@given(st.text(alphabet="[]{}'\"\\ab,:1 ", max_size=60))
def test_any_text_is_parsed_to_something(content: str) -> None:
    for mode, kinds in (("parse_as_json", dict | list), ("parse_as_list", list)):
        found = run("convert2structured", "{{x}}", {"x": content}, conversion_mode=mode)
        assert isinstance(found, kinds)


def test_long_data_is_data() -> None:
    data = [{"a": [number]} for number in range(30_000)]
    found = run("convert2structured", json.dumps(data), {}, conversion_mode="parse_as_json")
    assert found == data
    mixed = f"all: {json.dumps(data)} end"
    pieces = run("convert2structured", mixed, {}, conversion_mode="parse_as_list")
    assert pieces == ["all:", data, "end"]


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        "[{" * 100_000,
        "['" * 100_000,
        '["' + '\\"' * 300_000,
        "['a" * 100_000,
        "[x, " * 90 + "y" * 500_000 + "]" * 90,
    ],
)
def test_text_that_never_closes_is_given_up_soon(content: str) -> None:
    found = run("convert2structured", "{{x}}", {"x": content}, conversion_mode="parse_as_list")
    assert found == [content]


@pytest.mark.parametrize(
    "extra, expected",
    [
        ({}, "Hello Ada"),
        ({"slice": [0, -1]}, "Hello Ada"),
        ({"slice": [6, -1]}, "Ada"),
        ({"slice": [0, 5]}, "Hello"),
        ({"slice": [-3, -1]}, "Ada"),
        ({"sort_type": "ascending"}, " AHadello"),
        ({"sort_type": "descending"}, "olledaHA "),
        ({"sort_type": "by colour"}, "Hello Ada"),
        ({"slice": [6, -1], "sort_type": "ascending"}, "Aad"),
    ],
)
def test_edit_text(extra: Any, expected: str) -> None:
    assert run("edit_text", "Hello {{x}}", {"x": "Ada"}, **extra) == expected


@pytest.mark.parametrize("content", [7, [1, "ü"], None])
def test_edit_text_is_always_text(content: Any) -> None:
    assert isinstance(run("edit_text", "{{x}}", {"x": content}), str)


@pytest.mark.parametrize("part", [[1], [0, 1, 2], ["0", "1"], "0:1", [0.5, 1], [True, 2]])
def test_edit_text_refuses_what_is_no_slice(part: Any) -> None:
    with pytest.raises(EdgeFailed, match="slice"):
        run("edit_text", "abc", {}, slice=part)


@pytest.mark.parametrize(
    "content, contents, expected",
    [
        ("{{x}}", {"x": [1]}, [1]),
        ("{{x}}", {"x": "[1]"}, [1]),
        ("[1, '{{x}}']", {"x": {"a": 1}}, [1, {"a": 1}]),
        ({"k": "{{x}}"}, {"x": 2}, {"k": 2}),
        ("{{x}}", {"x": "no data"}, "no data"),
    ],
)
def test_edit_structured_takes_data_and_text_of_it(
    content: Any, contents: Any, expected: Any
) -> None:
    assert run("edit_structured", content, contents) == expected


def test_values_of_operations_have_placeholders_and_paths_have_none() -> None:
    operations = [
        {"type": "set_value", "params": {"path": ["{{x}}"], "value": "{{x}}"}},
        {"type": "set_value", "params": {"path": ["b"], "value": 'a "{{y}}"'}},
    ]
    found = run("edit_structured", {}, {"x": [1], "y": 'q"'}, operations=operations)
    assert found == {"{{x}}": [1], "b": 'a "q\\""'}

"""Settings of edges are checked when a document is read: each name, type and placeholder."""

import json
from copy import deepcopy
from typing import Any

import pytest

from flowq.blocks.document import parse
from flowq.blocks.edges import chunk, modify, structured
from flowq.blocks.errors import DocumentInvalid, Problem

#: Settings that can run, one edge for each type and mode.
EDGES: dict[str, dict[str, Any]] = {
    "copy": {"modify_type": "copy", "content": "{{x}}"},
    "convert2text": {"modify_type": "convert2text"},
    "edit_text": {"modify_type": "edit_text", "extra_configs": {"slice": [0, 3]}},
    **{
        mode: {"modify_type": "convert2structured", "extra_configs": {"conversion_mode": mode}}
        for mode in modify.MODES
    },
    **{mode: {"chunking_mode": mode, "extra_configs": {}} for mode in chunk.MODES},
    "llm": {"messages": [{"role": "user", "content": "{{x}}"}]},
    "generator": {"queries": ["1"]},
    "search": {"search_type": "keyword", "query_id": "1", "doc_ids": ["1"]},
    "load": {"block_type": "file", "extra_configs": {"file_configs": [{"file_path": "a.md"}]}},
    "ifelse": {
        "cases": {
            "c": {
                "conditions": [
                    {"block": "1", "condition": "is", "parameters": {"value": 1}, "operation": "/"}
                ],
                "thens": [{"from": "1", "to": "2"}],
            }
        }
    },
}
#: Parameters with which each operation can run.
PARAMS: dict[str, dict[str, Any]] = {
    "get": {"path": ["a"], "default": 1},
    "delete": {"path": ["a"]},
    "append": {"path": ["a"], "value": "{{x}}"},
    "insert": {"path": ["a"], "index": 1, "value": 2},
    "sort": {"path": ["*"], "reverse": True},
    "set_value": {"path": ["a", 0], "value": None},
    "get_keys": {"max_depth": 2},
    "get_values": {},
    "variable_replace": {"plugins": {"a": "b"}},
    "set_operation": {"path1": ["a"], "value2": [1], "operation": "union"},
}
PLACE = "edges.e.data"


def edge(name: str, data: dict[str, Any]) -> dict[str, Any]:
    kinds = {"llm", "generator", "search", "load", "ifelse"}
    kind = name if name in kinds else "chunk" if "chunking_mode" in data else "modify"
    return {"type": kind, "data": {**data, "inputs": {"1": "x"}, "outputs": {"2": ""}}}


def read(one: dict[str, Any]) -> tuple[list[Problem], list[str]]:
    """Return the problems and the warnings of a document with one edge."""
    blocks = {"1": {"data": {"content": {"a": [1]}}}, "2": {"data": {"content": ""}}}
    try:
        return [], parse(json.dumps({"blocks": blocks, "edges": {"e": one}}))[1]
    except DocumentInvalid as error:
        return list(error.problems), []


def operation(name: str, params: Any, **more: Any) -> dict[str, Any]:
    operations = [{"type": name, "params": params, **more}]
    extra = {"operations": operations}
    return edge("", {"modify_type": "edit_structured", "extra_configs": extra})


def test_every_operation_and_mode_has_a_row_here() -> None:
    assert PARAMS.keys() == structured.OPERATIONS.keys()
    assert modify.MODES.keys() | chunk.MODES.keys() <= EDGES.keys()


@pytest.mark.parametrize("name", EDGES)
def test_right_settings_are_read_without_a_warning(name: str) -> None:
    assert read(edge(name, EDGES[name])) == ([], [])


@pytest.mark.parametrize("name", EDGES)
def test_an_unknown_extra_setting_is_a_warning(name: str) -> None:
    data = deepcopy(EDGES[name])
    data["extra_configs"] = {**data.get("extra_configs", {}), "chunk_sze": 5}
    problems, warnings = read(edge(name, data))
    assert problems == []
    [warning] = warnings
    assert warning.startswith(f"{PLACE}.extra_configs.chunk_sze: 'chunk_sze' is no setting here")
    known = chunk.MODES[name][0].model_fields if name in chunk.MODES else ()
    assert ("did you mean 'chunk_size'?" in warning) is ("chunk_size" in known)


@pytest.mark.parametrize("name", EDGES)
def test_extra_settings_that_are_no_object_are_refused(name: str) -> None:
    problems, _ = read(edge(name, {**EDGES[name], "extra_configs": ["a"]}))
    assert [(int(one.code), one.path) for one in problems] == [(6210, f"{PLACE}.extra_configs")]


def test_keys_of_editors_are_tolerated_unless_they_resemble_a_setting() -> None:
    assert read(edge("copy", {**EDGES["copy"], "selected": True, "position": {"x": 1}})) == ([], [])
    problems, warnings = read(edge("copy", {"modify_type": "copy", "contnt": "{{x}}"}))
    assert problems == []
    assert [one for one in warnings if "did you mean 'content'?" in one] == warnings != []


@pytest.mark.parametrize("name", PARAMS)
def test_right_parameters_are_read_without_a_warning(name: str) -> None:
    assert read(operation(name, PARAMS[name])) == ([], [])


@pytest.mark.parametrize("name", PARAMS)
def test_an_unknown_parameter_is_a_warning(name: str) -> None:
    problems, warnings = read(operation(name, {**PARAMS[name], "pth": 1}, foo=1))
    assert problems == []
    assert [one.partition(":")[0] for one in warnings] == [
        f"{PLACE}.extra_configs.operations[0].foo",
        f"{PLACE}.extra_configs.operations[0].params.pth",
    ]


@pytest.mark.parametrize(
    "name, params, wrong",
    [
        ("append", {"path": ["a"]}, "value"),
        ("insert", {"index": "x", "value": 1}, "index"),
        ("insert", {"index": 1}, "value"),
        ("set_value", {"path": ["a"]}, "value"),
        ("delete", {}, "path"),
        ("get", {"path": "a"}, "path"),
        ("get", {"path": [["a"]]}, "path"),
        ("sort", {"reverse": "yes"}, "reverse"),
        ("get_keys", {"max_depth": "all"}, "max_depth"),
        ("variable_replace", {}, "plugins"),
        ("set_operation", {"value1": [], "operation": "cross"}, "operation"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_place(name: str, params: Any, wrong: str) -> None:
    problems, _ = read(operation(name, params))
    place = f"{PLACE}.extra_configs.operations[0].params.{wrong}"
    assert [(int(one.code), one.path) for one in problems] == [(6210, place)]


@pytest.mark.parametrize(
    "name, extra, wrong",
    [
        ("length", {"chunk_size": 0}, ".chunk_size"),
        ("length", {"chunk_size": "9"}, ".chunk_size"),
        ("auto", {"chunk_size": 5, "overlap": 5}, ""),
        ("auto", {"separators": [""]}, ".separators"),
        ("character", {"delimiters": ","}, ".delimiters"),
        ("split_by_length", {"length_separator": -1}, ".length_separator"),
        ("split_by_character", {"list_separator": [1]}, ".list_separator[0]"),
        ("wrap_into_dict", {"dict_key": 5}, ".dict_key"),
        ("edit_text", {"slice": [1]}, ".slice"),
        ("search", {"top_k": 0}, ".top_k"),
        ("load", {"file_configs": []}, ".file_configs"),
    ],
)
def test_a_wrong_extra_setting_is_refused_with_its_place(name: str, extra: Any, wrong: str) -> None:
    data = deepcopy(EDGES[name])
    data["extra_configs"] = {**data.get("extra_configs", {}), **extra}
    problems, _ = read(edge(name, data))
    found = [(int(one.code), one.path) for one in problems]
    assert found == [(6210, f"{PLACE}.extra_configs{wrong}")]


@pytest.mark.parametrize(
    "one, place, hint",
    [
        (operation("srt", {}), ".extra_configs.operations[0].type", "'sort'"),
        (
            edge("", {"modify_type": "edit_structured", "extra_configs": {"operations": [{}]}}),
            ".extra_configs.operations[0].type",
            "missing",
        ),
        (
            edge("", {"modify_type": "convert2structured"})
            | edge(
                "",
                {
                    "modify_type": "convert2structured",
                    "extra_configs": {"conversion_mode": "parse_as_jsn"},
                },
            ),
            ".extra_configs.conversion_mode",
            "'parse_as_json'",
        ),
        (edge("", {"modify_type": "edit_txt"}), ".modify_type", "'edit_text'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(one: Any, place: str, hint: str) -> None:
    problems, _ = read(one)
    assert [one.path for one in problems] == [PLACE + place]
    assert hint in problems[0].text


@pytest.mark.parametrize(
    "name, data, place",
    [
        ("", {"modify_type": "copy", "content": {"a": ["{{mny}}"]}}, ".content.a[0]"),
        ("", {"modify_type": "edit_text", "content": "so {{mny}}"}, ".content"),
        ("llm", {"messages": [{"content": "{{mny}}"}]}, ".messages[0].content"),
        ("generator", {"queries": "1", "system_prompt": "{{mny}}"}, ".system_prompt"),
    ],
)
def test_a_placeholder_of_no_input_is_refused(name: str, data: Any, place: str) -> None:
    one = edge(name, data)
    one["data"]["inputs"] = {"1": "many"}
    [problem], _ = read(one)
    assert (int(problem.code), problem.path) == (6210, PLACE + place)
    assert "did you mean 'many'?" in problem.text


def test_beside_a_missing_parameter_an_unknown_one_is_a_problem_too() -> None:
    problems, _ = read(operation("append", {"path": [], "val": 1}))
    place = f"{PLACE}.extra_configs.operations[0].params"
    assert [one.path for one in problems] == [f"{place}.value", f"{place}.val"]
    assert "did you mean 'value'?" in problems[1].text


def test_a_placeholder_in_a_value_of_an_operation_is_checked() -> None:
    [problem], _ = read(operation("append", {"path": [], "value": ["{{y}}"]}))
    assert problem.path == f"{PLACE}.extra_configs.operations[0].params.value[0]"


@pytest.mark.parametrize(
    "one",
    [
        operation("variable_replace", {"plugins": {"y": "{{y}}"}}),
        operation("get", {"path": ["{{y}}"], "default": "{{y}}"}),
        edge("", {"modify_type": "copy", "title": "{{y}}"}),
        edge("auto", {"chunking_mode": "auto", "extra_configs": {"separators": ["{{y}}"]}}),
    ],
)
def test_braces_in_what_is_no_template_are_data(one: dict[str, Any]) -> None:
    assert read(one) == ([], [])


@pytest.mark.parametrize("value", [{}, {"value": "many"}, {"value": None}])
def test_a_condition_on_a_length_needs_a_number(value: Any) -> None:
    data = deepcopy(EDGES["ifelse"])
    condition = {"condition": "greater_than_n", "parameters": value}
    data["cases"]["c"]["conditions"][0] |= condition
    [problem], _ = read(edge("ifelse", data))
    assert problem.path == f"{PLACE}.cases.c.conditions[0].parameters.value"

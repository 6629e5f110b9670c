"""Documents: what is accepted, and what is refused, with its code and its place."""

import json
from typing import Any

import pytest

from flowq.blocks.compiling import compile_document
from flowq.blocks.document import Document, parse, read
from flowq.blocks.errors import DocumentInvalid
from tests.tools.documents import HELLO, document, modify, text


def refused(data: Any) -> list[tuple[int, str]]:
    with pytest.raises(DocumentInvalid) as refusal:
        read(data)
    return [(int(one.code), one.path) for one in refusal.value.problems]


def test_a_document_with_all_that_an_editor_adds_keeps_it() -> None:
    data = json.loads(json.dumps(HELLO))
    data["viewport"] = {"x": 1, "y": 2, "zoom": 1}
    data["blocks"]["1"] |= {"id": "1", "position": {"x": 0, "y": 0}, "measured": {"width": 9}}
    data["edges"]["greet"] |= {"id": "greet", "selected": True}
    found, warnings = read(data)
    kept = found.model_dump(mode="json", exclude_unset=True)
    assert kept == data
    assert warnings == []


@pytest.mark.parametrize(
    "data, code, path",
    [
        ([], 6210, ""),
        ({"edges": {}}, 6210, ""),
        ({"blocks": {"1": text("a")}}, 6210, ""),
        ({"blocks": [], "edges": {}}, 6210, "blocks"),
        ({"blocks": {"1": text("a")}, "edges": []}, 6210, "edges"),
        ({"blocks": {}, "edges": {}}, 6211, "blocks"),
        ({"blocks": {"": text("a")}, "edges": {}}, 6216, "blocks['']"),
        ({"blocks": {"a\0": text("a")}, "edges": {}}, 6216, "blocks['a\\x00']"),
        ({"blocks": {"1": text(float("nan"))}, "edges": {}}, 6216, "blocks['1'].data.content"),
        ({"blocks": {"1": text("\ud800")}, "edges": {}}, 6216, "blocks['1'].data.content"),
        ({"blocks": {"1": "a"}, "edges": {}}, 6210, "blocks['1']"),
        ({"blocks": {"1": text("a")}, "edges": {"e": {"type": "modify"}}}, 6210, "edges.e.data"),
        (
            {"blocks": {"1": {"storage_class": "moon"}}, "edges": {}},
            6210,
            "blocks['1'].storage_class",
        ),
    ],
)
def test_what_has_not_the_shape_of_a_document(data: Any, code: int, path: str) -> None:
    assert refused(data) == [(code, path)]


@pytest.mark.parametrize(
    "edge, code, path",
    [
        (modify("copy", {"9": "x"}, {"3": ""}), 6213, "edges.e.data.inputs['9']"),
        (modify("copy", {"1": "x"}, {"9": ""}), 6213, "edges.e.data.outputs['9']"),
        (modify("copy", {"1": "x"}, {}), 6213, "edges.e.data.outputs"),
        (modify("copy", {"1": "x"}, {"1": ""}), 6212, "edges.e.data.outputs['1']"),
        (modify("copy", {"1": "x", "2": "x"}, {"3": ""}), 6216, "edges.e.data.inputs"),
        (modify("teleport", {"1": "x"}, {"3": ""}), 6210, "edges.e.data.modify_type"),
        (modify("copy", {"4": "x"}, {"3": ""}), 6215, "blocks['4'].data.content"),
        ({**modify("copy", {"1": "x"}, {"3": ""}), "type": "teleport"}, 6214, "edges.e.type"),
        ({**modify("copy", {"1": "x"}, {"3": ""}), "type": "code"}, 6214, "edges.e.type"),
        ({**modify("copy", {"1": "x"}, {"3": ""}), "type": "rerank"}, 6214, "edges.e.type"),
        ({**modify("copy", {"1": "x"}, {"3": ""}), "type": "deep_research"}, 3017, "edges.e.type"),
    ],
)
def test_an_edge_that_cannot_run(edge: dict[str, Any], code: int, path: str) -> None:
    blocks = {"1": text("a"), "2": text("b"), "3": text(""), "4": text(None)}
    assert refused({"blocks": blocks, "edges": {"e": edge}}) == [(code, path)]


def test_a_cycle_is_named() -> None:
    edges = {
        "there": modify("copy", {"1": ""}, {"2": ""}),
        "back": modify("copy", {"2": ""}, {"1": ""}),
    }
    with pytest.raises(DocumentInvalid, match=r"cycle: .*there → .*back|cycle: .*back → .*there"):
        read({"blocks": {"1": text("a"), "2": text("")}, "edges": edges})


def test_all_problems_are_reported_at_once() -> None:
    edges = {
        "one": modify("copy", {"9": ""}, {"2": ""}),
        "two": {**modify("copy", {"1": ""}, {"2": ""}), "type": "save"},
    }
    found = refused({"blocks": {"1": text("a"), "2": text("")}, "edges": edges})
    assert found == [(6213, "edges.one.data.inputs['9']"), (6214, "edges.two.type")]


def test_the_text_of_an_error_has_the_first_problems() -> None:
    edges = {f"e{number}": modify("copy", {"9": ""}, {"1": ""}) for number in range(2000)}
    with pytest.raises(DocumentInvalid, match="… and 1,950 more") as refusal:
        read({"blocks": {"1": text("a")}, "edges": edges})
    assert len(refusal.value.problems) == 2000


def test_the_text_of_an_error_is_that_which_clients_know() -> None:
    with pytest.raises(DocumentInvalid) as refusal:
        read({"edges": {}})
    assert refusal.value.message == (
        "[PUPPYENGINE_ERROR_6210]: Invalid Workflow Format!\nCause: the document lacks 'blocks'"
    )
    assert refusal.value.title == "Invalid Workflow Format"


@pytest.mark.parametrize("content", ["", [], {}, 0, False])
def test_what_is_empty_is_content_all_the_same(content: Any) -> None:
    blocks = {"1": text(content), "2": text("")}
    found, _ = read({"blocks": blocks, "edges": {"e": modify("copy", {"1": ""}, {"2": ""})}})
    assert found.blocks["1"].content == content


@pytest.mark.parametrize(
    "edge, said",
    [
        (5, "edges.e: it is not an object"),
        ({}, "edges.e.type: it is missing"),
        ({"type": "modify", "data": {"inputs": []}}, "edges.e.data.inputs: it is not an object"),
    ],
)
def test_a_wrong_shape_is_told_in_the_words_of_json(edge: Any, said: str) -> None:
    with pytest.raises(DocumentInvalid) as refused:
        read({"blocks": {"1": text("a")}, "edges": {"e": edge}})
    assert said in map(str, refused.value.problems)


@pytest.mark.parametrize(
    "written, why",
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nests too deep"),
        (" ", "the text is empty"),
    ],
)
def test_json_that_is_none(written: str, why: str) -> None:
    with pytest.raises(DocumentInvalid, match=why):
        parse(written)


@pytest.mark.parametrize(
    "written, paths",
    [
        ('{"blocks": {"1": {}, "1": {}}, "edges": {}}', ["blocks['1']"]),
        ('{"blocks": {"1": {}}, "edges": {}, "edges": {}, "blocks": {}}', ["blocks", "edges"]),
        (
            '{"blocks": {"1": {"data": {"content": [0, {"a": 1, "a": 1, "a": 2}]}}}, "edges": {}}',
            ["blocks['1'].data.content[1].a"],
        ),
        ('{"blocks": {"1": {"type": "a", "type": "b"}, "1": {}}, "edges": {}}', ["blocks['1']"]),
        (
            '{"blocks": {"1": {"data": {"content": NaN}}}, "edges": {}}',
            ["blocks['1'].data.content"],
        ),
        (
            '{"blocks": {"1": {"data": {"content": [1, -Infinity]}}}, "edges": {}}',
            ["blocks['1'].data.content[1]"],
        ),
    ],
)
def test_what_only_texts_have_is_refused_with_its_place(written: str, paths: list[str]) -> None:
    with pytest.raises(DocumentInvalid) as refusal:
        parse(written)
    assert [(int(one.code), one.path) for one in refusal.value.problems] == [
        (6216, path) for path in paths
    ]


@pytest.mark.parametrize("name", ["a::items", "a::result", "block:1", "block:2"])
def test_an_id_that_flowq_uses_itself_is_refused_with_its_place(name: str) -> None:
    edges = {
        "a": modify("copy", {"1": "x"}, {"2": ""}),
        name: modify("copy", {"1": "x"}, {"3": ""}),
    }
    blocks = {"1": text("a"), "2": text(""), "3": text("")}
    assert refused({"blocks": blocks, "edges": edges}) == [(6216, f"edges[{name!r}]")]


@pytest.mark.parametrize("name", ["b::items", "block:9", "::items", "block:", "items::a"])
def test_an_id_that_only_resembles_those_is_accepted(name: str) -> None:
    edges = {
        "a": modify("copy", {"1": "x"}, {"2": ""}),
        name: modify("copy", {"1": "x"}, {"3": ""}),
    }
    found, _ = read({"blocks": {"1": text("a"), "2": text(""), "3": text("")}, "edges": edges})
    compile_document(found)


def test_older_names_are_read_as_those_of_today() -> None:
    old = document(
        {
            "pick": modify("edit_structured", {"1": "x"}, {"2": ""}, content="{{x}}")
            | {
                "data": {
                    "modify_type": "edit_structured",
                    "content": "{{x}}",
                    "inputs": {"1": "x"},
                    "outputs": {"2": ""},
                    "extra_config": {"operations": [{"type": "get", "params": {"key": "a"}}]},
                }
            }
        },
        {"1": {"a": 1}, "2": ""},
    )
    found, warnings = read(old)
    assert found.edges["pick"].config["extra_configs"] == {
        "operations": [{"type": "get", "params": {"path": ["a"]}}]
    }
    assert len(warnings) == 2
    assert all("pick" in one for one in warnings)


def test_an_older_name_of_the_outputs_of_a_case_is_read() -> None:
    one = {"block": "1", "condition": "is_list", "parameters": {}, "operation": "/"}
    case = {"conditions": [one], "then": [{"from": "1", "to": "2"}]}
    data = {"inputs": {"1": ""}, "outputs": {"2": ""}, "cases": {"c": case}}
    found, warnings = read(document({"e": {"type": "ifelse", "data": data}}, {"1": [], "2": ""}))
    assert found.edges["e"].config["cases"]["c"]["thens"] == case["then"]
    assert warnings == ["edge 'e', case 'c': 'then' is read as 'thens'"]


def test_the_sketch_has_sizes_and_no_contents() -> None:
    found: Document = read(HELLO)[0]
    sketch = found.sketch()
    assert sketch["blocks"]["1"]["bytes"] == 3
    assert sketch["edges"]["greet"] == {
        "type": "modify",
        "data": {"inputs": {"1": "name"}, "outputs": {"3": "hello"}},
    }
    assert "Ada" not in json.dumps(sketch)


def test_the_schema_is_that_of_the_models() -> None:
    schema = Document.model_json_schema()
    assert schema["required"] == ["blocks", "edges"]

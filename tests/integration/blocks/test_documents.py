"""Documents, run by the real engine: what blocks hold in the end, and what is recorded."""

import json
from typing import Any

import pytest

from flowq.adapters.records.database import SqlRecords
from flowq.blocks.errors import Code, DocumentInvalid
from flowq.blocks.submitting import submit
from flowq.core.results import OBJECTS
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.sweeper.invariants import missing_objects
from tests.tools.documents import HELLO, document, failing, modify, play, result, text
from tests.tools.playing import Stage


def test_the_document_of_the_manual(stage: Stage) -> None:
    view = play(stage, HELLO, user_id="ann")
    assert result(stage, view) == {
        "3": "Hello Ada!",
        "4": ["red", "green", "blue"],
        "5": "red",
    }
    assert (view.flow_name, view.user_id, view.total, view.done) == ("blocks", "ann", 3, 3)
    assert "Ada" not in json.dumps(view.inputs)


def test_a_document_may_have_a_name(stage: Stage) -> None:
    assert play(stage, {**HELLO, "name": "Greetings"}).flow_name == "blocks:Greetings"


def test_an_edge_may_need_nothing(stage: Stage) -> None:
    edges = {"e": modify("edit_text", {}, {"1": ""}, content="hello")}
    assert result(stage, play(stage, document(edges, {"1": ""}))) == {"1": "hello"}


def test_one_edge_may_make_many_blocks(stage: Stage) -> None:
    edges = {"e": modify("copy", {"1": "x"}, {"2": "", "3": ""})}
    assert result(stage, play(stage, document(edges, {"1": [1], "2": "", "3": ""}))) == {
        "2": [1],
        "3": [1],
    }


@pytest.mark.parametrize(
    "content", ["", 0, False, [], {}, {"$ref": "e"}, {"$literal": [None]}, "é\0"]
)
def test_any_content_comes_through(stage: Stage, content: Any) -> None:
    edges = {"e": modify("copy", {"1": "x"}, {"2": ""})}
    found = result(stage, play(stage, document(edges, {"1": text(content), "2": ""})))
    assert found == {"2": content}


def test_contents_over_the_threshold_are_objects_and_come_through(stage: Stage) -> None:
    large, small = "x" * 3_000_000, "é" * 1000
    edges = {
        "a": modify("copy", {"1": "x"}, {"3": ""}),
        "b": modify("edit_text", {"2": "y"}, {"4": ""}, content="{{y}}"),
        "c": modify("edit_text", {"3": "z"}, {"5": ""}, extra_configs={"slice": [2_999_990, -1]}),
    }
    view = play(stage, document(edges, {"1": large, "2": small, "3": "", "4": "", "5": ""}))
    found = result(stage, view)
    assert found["3"]["storage_class"] == "external"
    assert "/3/" in found["3"]["external_metadata"]["resource_key"]
    assert (found["4"], found["5"]) == (small, "x" * 10)
    given = stage.engine.definitions.get(view.id).definition.spec.given
    assert {key: ref.place for key, ref in given.items()} == {"block:1": "object", "block:2": "row"}
    results = stage.engine.results
    assert missing_objects(stage.engine.records, results) == []
    results.objects.delete([given["block:1"].key])
    [lost] = missing_objects(stage.engine.records, results)
    assert (lost.run_id, lost.step_id, lost.key) == (view.id, None, "block:1")


def test_a_block_in_the_store_is_read_before_an_edge_needs_it(stage: Stage) -> None:
    edges = {"a": modify("copy", {"1": "x"}, {"2": ""})}
    made = result(stage, play(stage, document(edges, {"1": "y" * 2_000_000, "2": ""})))
    stored: dict[str, Any] = {"type": "text", "storage_class": "external"}
    stored |= {"data": {"content": None, "external_metadata": made["2"]["external_metadata"]}}
    tail = {"b": modify("edit_text", {"1": "x"}, {"2": ""}, extra_configs={"slice": [-2, -1]})}
    view = play(stage, document(tail, {"1": stored, "2": ""}))
    assert result(stage, view) == {"2": "yy"}
    assert [step.key for step in view.steps] == ["block:1", "b"]
    stage.engine.results.objects.delete(
        [f"blocks/{made['2']['external_metadata']['resource_key']}/chunk_000001.txt"]
    )
    lost = play(stage, document(tail, {"1": stored, "2": ""}))
    assert lost.status is RunState.FAILED
    assert {step.key: step.status for step in lost.steps}["b"] is StepState.CANCELLED


def test_contents_that_are_too_much_together_go_to_the_store(stage: Stage) -> None:
    half = "x" * 600_000
    edges = {
        "e": modify(
            "edit_text",
            {"1": "a", "2": "b"},
            {"3": ""},
            content="{{a}}{{b}}!",
            extra_configs={"slice": [1_199_999, -1]},
        )
    }
    view = play(stage, document(edges, {"1": half, "2": half, "3": ""}))
    assert result(stage, view) == {"3": "x!"}
    given = stage.engine.definitions.get(view.id).definition.spec.given
    assert [ref.place for ref in given.values()] == ["row", "object"]


def test_a_loop_gives_a_list_in_the_order_of_the_inputs(stage: Stage) -> None:
    edges = {
        "e": modify(
            "edit_text", {"1": "a", "2": "b", "3": "c"}, {"4": "out"}, content="{{a}} {{b}}{{c}}"
        )
    }
    looped = {
        "1": text(["hello", "bye"], looped=True),
        "2": text(["Ada", "Bob", "Cy"], looped=True),
        "3": "!",
        "4": "",
    }
    assert result(stage, play(stage, document(edges, looped))) == {
        "4": ["hello Ada!", "hello Bob!", "hello Cy!", "bye Ada!", "bye Bob!", "bye Cy!"]
    }
    single = {**looped, "1": text(["hello"], looped=True), "2": text(["Ada"], looped=True)}
    assert result(stage, play(stage, document(edges, single))) == {"4": "hello Ada!"}


def test_an_edge_that_fails_fails_the_run_with_its_code(stage: Stage) -> None:
    edges = {
        "bad": failing({"1": "x"}, {"2": ""}),
        "good": modify("copy", {"1": "x"}, {"3": ""}),
        "after": modify("copy", {"2": "y"}, {"4": ""}),
    }
    view = play(stage, document(edges, {"1": "a", "2": "", "3": "", "4": ""}))
    assert view.status is RunState.FAILED
    assert "[PUPPYENGINE_ERROR_3802]: Error Converting Block Content!" in (view.error or "")
    states = {step.key: step.status for step in view.steps}
    assert states["bad"] is StepState.FAILED
    assert states["after"] is StepState.CANCELLED


def test_a_document_that_is_refused_leaves_no_run(stage: Stage) -> None:
    with pytest.raises(DocumentInvalid):
        submit({"blocks": {}, "edges": {}}, engine=stage.engine)
    assert stage.engine.records.autocommit(lambda tx: tx.runs.views()) == []


def test_a_graph_that_is_too_large_is_refused_before_anything_is_stored(
    records: SqlRecords,
) -> None:
    stage = Stage.on(records, policies=Policies(input_limit_bytes=1_000))
    edges = {f"e{n}": modify("copy", {"1": "x"}, {f"o{n}": ""}) for n in range(20)}
    contents = {"1": "x" * 2_000_000, **{f"o{n}": "" for n in range(20)}}
    with pytest.raises(DocumentInvalid, match="graph of 20 edges") as no:
        submit(document(edges, contents), engine=stage.engine)
    assert Code.LIMIT is no.value.code
    assert stage.engine.records.autocommit(lambda tx: tx.runs.views()) == []
    assert list(stage.engine.results.objects.list(OBJECTS)) == []


@pytest.mark.parametrize(
    "data", [{"blocks": {"1": object()}, "edges": {}}, {"blocks": {1: {}, "1": {}}, "edges": {}}]
)
def test_data_that_is_no_json_is_refused(stage: Stage, data: Any) -> None:
    with pytest.raises(DocumentInvalid):
        submit(data, engine=stage.engine)


def test_one_key_is_one_run_unless_a_content_differs(stage: Stage) -> None:
    first = submit(HELLO, engine=stage.engine, idempotency_key="k")
    assert submit(HELLO, engine=stage.engine, idempotency_key="k").id == first.id
    other = json.loads(json.dumps(HELLO))
    other["blocks"]["1"]["data"]["content"] = "Bob"
    with pytest.raises(Exception, match="which has other inputs"):
        submit(other, engine=stage.engine, idempotency_key="k")


def test_a_document_without_edges_completes_at_once(stage: Stage) -> None:
    assert result(stage, play(stage, document({}, {"1": "a"}))) == {}

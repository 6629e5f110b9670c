"""All that is wrong with a workflow is found at once, by step and field."""

import json
import time
from typing import Any

import pytest

from flowq.core.errors import InvalidFlow
from flowq.workflows import InvalidWorkflow, StepTypeNotFound, Workflow, WorkflowBuilder, step_type
from flowq.workflows.checking import check, problems_of
from flowq.workflows.document.problems import lines
from flowq.workflows.document.references import OfInput, OfStep, OfStore
from tests.tools.workflows.samples import define_text, document

SPLIT = {"id": "split", "type_slug": "tokenize"}
REF = "flowq://01a226d9-4639-76c2-8b9f-badcce1829b9/x"


def found(*steps: dict[str, Any]) -> list[str]:
    return list(lines(problems_of(document(*steps))))


def test_the_problems_of_the_manual() -> None:
    define_text()

    assert found(
        SPLIT,
        {"id": "shout"},
        {
            "id": "count",
            "type_slug": "count_words",
            "config": {"top": "many", "bottom": 1},
            "inputs": {"words": "splitt"},
        },
    ) == [
        "step 'count' (3rd): config.top: Input should be a valid integer, got \"many\" (str)",
        "step 'count': config.bottom: no such parameter; did you mean top?",
        "step 'shout': 'shout' is not found in the registry; known: count_words, tokenize",
        "step 'count': inputs.words: no step 'splitt' before it",
    ]


@pytest.mark.parametrize(
    "step, message",
    [
        ({"id": ""}, "id: it has 0 characters"),
        ({"id": "x" * 181}, "id: it has 181 characters"),
        ({"id": "a\0b"}, "cannot be printed"),
        ({"id": "a::b"}, "which flowq uses itself"),
        ({"id": "input:x"}, "which flowq uses itself"),
        ({"id": "flowq://x"}, "which flowq uses itself"),
        ({"id": "split"}, "id: 2 steps have this id"),
        ({"id": "a", "type_slug": "two words"}, "'two words' is not found in the registry"),
        ({"id": "a", "type_slug": "__import__('os')"}, "is not found in the registry"),
        ({"id": "a", "config": {"text": "x"}}, "it is a data parameter: give it in inputs"),
        ({"id": "a", "inputs": {"lower": "split"}}, "it is a parameter: give it in config"),
        ({"id": "a", "inputs": {"tex": "split"}}, "no such data parameter; did you mean text?"),
        ({"id": "a", "inputs": {"text": "a"}}, "inputs.text: no step 'a' before it"),
        ({"id": "a", "inputs": {"text": {"step": "later"}}}, "no step 'later' before it"),
        ({"id": "a", "inputs": {"text": 7}}, "inputs.text: it is 7; give the id of a step"),
        ({"id": "a", "inputs": {"text": {"step": "split", "path": "x"}}}, "not a list of names"),
        ({"id": "a", "execution_strategy": {"workers": 0}}, "workers is 0"),
        ({"id": "a", "execution_strategy": {"workers": -1}}, "workers is -1"),
        ({"id": "a", "execution_strategy": {"workers": "x"}}, "workers is 'x'"),
        ({"id": "a", "execution_strategy": "quickly"}, "distribute across 4 workers"),
        ({"id": "a", "execution_strategy": {"workers": 2}}, "so it cannot be distributed"),
        ({"id": "a", "on_error": "collect"}, "collect is for row-wise steps"),
        ({"id": "a", "execution_mode": "streaming"}, "which a step cannot change"),
        ({"id": "a", "geometry": "filter", "execution_mode": "batch"}, "filter needs rows"),
    ],
)
def test_a_wrong_step_is_named(step: dict[str, Any], message: str) -> None:
    define_text()
    problems = found(SPLIT, {"type_slug": "tokenize", **step})

    assert any(message in line for line in problems), problems


def test_places_in_a_sequence_are_different() -> None:
    define_text()
    problems = found({**SPLIT, "sequence_index": 1}, {**SPLIT, "id": "b", "sequence_index": 1})
    assert ["step 'split': sequence_index: 2 steps have 1",
            "step 'b': sequence_index: 2 steps have 1"] == problems  # fmt: skip


def test_a_workflow_without_steps_is_refused() -> None:
    assert ["steps: it has no steps"] == found()


def test_inputs_mean_steps_inputs_and_values() -> None:
    define_text()

    @step_type("mixed", inputs=["a", "b", "c", "d"])
    def mixed(a: Any, b: Any, c: Any, d: Any = None) -> Any: ...

    steps: list[dict[str, Any]] = [
        {"id": "x.y", "type_slug": "tokenize"},
        {"id": "mixed", "inputs": {"a": "x.y.field.0", "c": REF}},
    ]
    checked = check(document(*steps), {"text": 1, "b": 2})

    assert {"text": OfInput("text")} == checked[0].inputs
    assert checked[1].inputs == {
        "a": OfStep("x.y", ("field", 0)),
        "b": OfInput("b"),
        "c": OfStore(REF),
    }


def test_the_first_step_gets_the_only_input() -> None:
    define_text()
    [split] = check(document(SPLIT), {"anything": "a b"})
    assert {"text": OfInput("anything")} == split.inputs


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "inputs.text: the workflow has no input 'text'"),
        ({"a": 1, "b": 2}, "the workflow has no input 'text'; given are a, b"),
        ({"text": 1, "txt": 2}, "inputs.txt: no step uses it; did you mean text?"),
    ],
)
def test_the_inputs_of_a_run_fit(inputs: dict[str, Any], message: str) -> None:
    define_text()
    with pytest.raises(InvalidWorkflow) as refused:
        check(document(SPLIT), inputs)
    assert message in str(refused.value)


def test_the_builder_refuses_what_it_does_not_know() -> None:
    define_text()
    builder = WorkflowBuilder("x").add_step("tokenize")
    with pytest.raises(StepTypeNotFound, match="'shout' is not found in the registry"):
        builder.add_step("shout")
    with pytest.raises(InvalidFlow, match="'other' is not defined"):
        builder.add_step("tokenize", inputs={"text": "other"})
    with pytest.raises(InvalidFlow, match="two steps have the id 'tokenize'"):
        builder.add_step("tokenize", id="tokenize")
    with pytest.raises(InvalidFlow, match="a step has no field 'on_eror'"):
        builder.add_step("tokenize", on_eror="continue")
    assert ["tokenize", "tokenize-2"] == [
        step.id for step in builder.add_step("tokenize").build().steps
    ]


def test_a_thousand_steps_are_read_and_checked_in_a_moment() -> None:
    define_text()
    steps = [
        {"id": f"s{at}", "type_slug": "tokenize", "config": {"lower": True}} for at in range(1000)
    ]
    text = json.dumps({"name": "long", "steps": steps})
    began = time.process_time()
    Workflow.from_json(text, check=True)
    assert 20 > time.process_time() - began

"""A workflow as JSON: nothing is lost, older names are read, and wrong forms are named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.graph import Graph
from flowq.core.spec import FlowSpec
from flowq.workflows import InvalidWorkflow, Step, Workflow, WorkflowBuilder
from flowq.workflows.checking import check
from flowq.workflows.compiling import compile_workflow
from flowq.workflows.document.references import OfInput
from tests.tools.workflows.samples import define_text

WORDS = {
    "format_version": 3,
    "id": "words",
    "name": "words",
    "steps": [
        {"id": "split", "type_slug": "tokenize", "config": {"lower": True}, "inputs": {}},
        {
            "id": "count",
            "type_slug": "count_words",
            "config": {"top": 2},
            "inputs": {"words": "split"},
        },
    ],
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
#: Fields that are read under other names, or are those of a run.
NOT_KEPT = {
    *("step_type_id", "process_type", "operation_id", "configuration", "status"),
    *("output_preview", "format_version"),
}


def with_extra(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects with known keys, some of them left out, and with unknown ones."""
    extra = st.dictionaries(
        TEXT.filter(lambda key: key not in {*known, *NOT_KEPT}), JSON, max_size=2
    )
    optional = {name: kind for name, kind in known.items() if name not in ("id", "type_slug")}
    required = {name: kind for name, kind in known.items() if name in ("id", "type_slug")}
    fixed = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(extra, fixed).map(lambda pair: {**pair[0], **pair[1]})


STEPS = with_extra(
    {
        "id": TEXT,
        "type_slug": TEXT,
        "config": OBJECT,
        "inputs": OBJECT,
        "execution_strategy": JSON,
        "resources": JSON,
        "label": st.none() | TEXT,
        "on_error": st.sampled_from(["stop", "continue", "collect", "fail_fast"]),
        "meta": OBJECT,
        "sequence_index": st.none() | st.integers(0, 9),
    }
)
WORKFLOWS = with_extra(
    {
        "id": TEXT,
        "name": TEXT,
        "steps": st.lists(STEPS, max_size=3),
        "meta": OBJECT,
        "created_at": st.none() | TEXT,
        "parallel": st.booleans(),
    }
)


@given(WORKFLOWS)
def test_what_is_read_is_written_again(data: dict[str, Any]) -> None:
    once = Workflow.from_dict(data)
    text = once.to_json()
    again = Workflow.from_json(text)

    assert once == again
    assert text == again.to_json()
    assert {name: value for name, value in data.items() if name not in Workflow.model_fields} == (
        once.model_extra
    )


def test_the_form_is_that_of_the_manual() -> None:
    define_text()
    workflow = (
        WorkflowBuilder("words")
        .add_step("tokenize", id="split", config={"lower": True})
        .add_step("count_words", id="count", config={"top": 2})
        .build()
    )

    assert WORDS == json.loads(workflow.to_json())
    assert workflow == Workflow.from_json(workflow.to_json(), check=True)


def test_the_form_of_front_ends_is_read() -> None:
    found = Workflow.from_dict(
        {
            "id": "w1",
            "name": "Front",
            "created_at": "2026-01-01",
            "steps": [
                {
                    "id": "b",
                    "sequence_index": 1,
                    "label": "Second",
                    "process_type": "count_words",
                    "configuration": {"top": 1},
                    "status": "completed",
                    "output_preview": "…",
                    "x": 7,
                },
                {"id": "a", "sequence_index": 0, "step_type_id": "tokenize", "config": None},
            ],
        }
    )

    assert ["a", "b"] == [step.id for step in found.steps]
    assert Step(id="b", type_slug="count_words", config={"top": 1}, label="Second",
                sequence_index=1, x=7) == found.steps[1]  # fmt: skip
    assert "status" not in found.to_json()
    assert 7 == json.loads(found.to_json())["steps"][1]["x"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is a JSON list, not an object"),
        ("{}", "id: it is missing"),
        ('{"name": "x", "format_version": 7}', "format_version is 7; this flowq reads 2 and 3"),
        ('{"name": "x", "steps": 1}', "steps: Input should be a valid tuple, got 1 (int)"),
        ('{"name": "x", "steps": [{"id": "a"}]}', "step 'a': type_slug: it is missing"),
        (
            '{"name": "x", "steps": [{"id": "a", "type_slug": "t", "on_error": "never"}]}',
            "Input should be 'stop', 'continue', 'collect' or 'fail_fast', got \"never\" (str)",
        ),
        ('{"name": "x", "steps": [{"id": "a", "type_slug": "t", "config": [1]}]}', "config: "),
        ('{"name": "x", "steps": [7]}', "step '#1': "),
        ('{"name": "x", "meta": {"n": NaN}}', "meta.n: it is nan"),
        (r'{"name": "x", "meta": {"n": "\ud800"}}', "meta.n: it is no valid text"),
    ],
)
def test_a_wrong_form_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        Workflow.from_json(text)
    assert message in str(refused.value)


def test_all_wrong_forms_are_named_at_once() -> None:
    steps = [{"id": "a"}, {"type_slug": "t"}]
    with pytest.raises(InvalidWorkflow) as refused:
        Workflow.from_dict({"name": "x", "steps": steps})
    assert ["a", "#2"] == [problem.step for problem in refused.value.problems]


def test_too_many_steps_are_refused() -> None:
    steps = [{"id": str(at), "type_slug": "t"} for at in range(10_001)]
    with pytest.raises(InvalidWorkflow, match="it has 10,001 steps, the limit is 10,000"):
        Workflow.from_dict({"name": "x", "steps": steps})


def test_data_is_no_configuration() -> None:
    define_text()
    with pytest.raises(InvalidWorkflow, match=r"step 'tokenize': config\.lower"):
        WorkflowBuilder("x").add_step("tokenize", config={"lower": object()}).build()


WRONG = JSON | st.sampled_from(["tokenize", "a", "input:x", "a.0", "flowq://x/y"])


def mostly(*right: Any) -> st.SearchStrategy[Any]:
    """Make a right value, and one time in twenty another one."""
    chosen = st.sampled_from(right)
    return st.integers(0, 19).flatmap(lambda at: WRONG if at == 19 else chosen)


def edited(slug: str, parameter: str, config: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make a step as a front end sends it, in which few fields are wrong."""
    part: dict[str, Any] = {"step": "a", "path": [0]}
    inputs = mostly("a", "a.0.x", "input:text", part, {"literal": ["a"]})
    return st.fixed_dictionaries(
        {"type_slug": mostly(slug, slug, slug)},
        optional={
            "config": mostly({}, config),
            "inputs": st.dictionaries(st.just(parameter), inputs, max_size=1),
            "execution_strategy": mostly(None, "distributed", "single_container"),
            "execution_mode": mostly("batch", "row_iterative"),
            "geometry": mostly(None, "apply", "expand", "filter"),
            "on_error": mostly("stop", "continue"),
            "resources": WRONG,
        },
    )


MUTATED = st.lists(
    edited("tokenize", "text", {"lower": False}) | edited("count_words", "words", {"top": 1}),
    min_size=1,
    max_size=4,
).map(lambda steps: [{"id": "abcd"[at], **step} for at, step in enumerate(steps)])


@given(st.fixed_dictionaries({"name": mostly("x", "y"), "steps": MUTATED | WRONG}))
def test_whatever_a_front_end_sends_is_read_or_refused(data: dict[str, Any]) -> None:
    """What is accepted can be compiled, too."""
    define_text()
    try:
        workflow = Workflow.from_dict(data)
        inputs = {"text": "a b", "words": ["a"], "x": 1}
        used = {one.name for step in check(workflow) for one in step.inputs.values()
                if isinstance(one, OfInput)}  # fmt: skip
        given_inputs = {name: inputs[name] for name in used if name in inputs}
        compiled = compile_workflow(workflow, check(workflow, given_inputs), given_inputs)
    except InvalidWorkflow:
        return
    Graph.of(compiled.spec)
    assert FlowSpec.model_validate(compiled.spec.to_json()) == compiled.spec

"""Branches of documents: what is not taken is skipped, and nothing ever hangs."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowq.blocks.planner import ExecutionPlanner
from flowq.core.states import TERMINAL_STEP_STATES, RunState, StepState
from tests.tools.documents import Edge, document, modify, play, result
from tests.tools.playing import Stage

SKIPPED, COMPLETED = StepState.SKIPPED, StepState.COMPLETED


def choose(source: str, label: str, *, then: str, otherwise: str, longer: int = 5) -> Edge:
    """Return an edge that gives the content to one block if it is long, else to the other."""

    def case(name: str, to: str) -> dict[str, Any]:
        one = {"block": source, "condition": name, "parameters": {"value": longer}}
        return {"conditions": [{**one, "operation": "/"}], "thens": [{"from": source, "to": to}]}

    cases = {
        "long": case("greater_than_n_chars", then),
        "short": case("less_than_n_chars", otherwise),
    }
    outputs = {then: "", otherwise: ""}
    return {
        "type": "ifelse",
        "data": {"inputs": {source: label}, "outputs": outputs, "cases": cases},
    }


def states(view: Any) -> dict[str, StepState]:
    return {step.key: step.status for step in view.steps}


def test_what_comes_after_a_branch_that_is_not_taken_is_skipped(stage: Stage) -> None:
    edges = {
        "choose": choose("1", "a", then="2", otherwise="3"),
        "on_long": modify("copy", {"2": "long"}, {"4": ""}),
        "on_short": modify("edit_text", {"3": "s"}, {"5": ""}, content="short: {{s}}"),
        "later": modify("copy", {"4": "x"}, {"6": ""}),
        "latest": modify("copy", {"6": "x"}, {"7": ""}),
    }
    contents = {"1": "hi", "2": "", "3": "", "4": "", "5": "", "6": {"$ref": "a"}, "7": None}
    view = play(stage, document(edges, contents))
    assert result(stage, view) == {
        "2": "",
        "3": "hi",
        "4": "",
        "5": "short: hi",
        "6": {"$ref": "a"},
        "7": None,
    }
    assert states(view) == {
        "choose": COMPLETED,
        "on_long": SKIPPED,
        "on_short": COMPLETED,
        "later": SKIPPED,
        "latest": SKIPPED,
    }
    assert (view.done, view.total) == (5, 5)


def test_an_edge_over_a_dead_and_a_live_branch_is_skipped(stage: Stage) -> None:
    edges = {
        "choose": choose("1", "a", then="2", otherwise="3"),
        "both": modify("edit_text", {"2": "l", "3": "s"}, {"4": ""}, content="{{l}}{{s}}"),
    }
    view = play(stage, document(edges, {"1": "hi", "2": "", "3": "", "4": ""}))
    assert states(view)["both"] is SKIPPED


@pytest.mark.parametrize(
    "content, expected", [("hi", "short"), ("a long text", "long"), ("exact", None)]
)
def test_branches_that_meet_in_one_block_give_it_what_was_taken(
    stage: Stage, content: str, expected: str | None
) -> None:
    edges = {
        "choose": choose("1", "a", then="2", otherwise="3"),
        "long": modify("edit_text", {"2": "x"}, {"4": ""}, content="long"),
        "short": modify("edit_text", {"3": "x"}, {"4": ""}, content="short"),
        "after": modify("edit_text", {"4": "x"}, {"5": ""}, content="<{{x}}>"),
    }
    view = play(stage, document(edges, {"1": content, "2": "", "3": "", "4": "", "5": ""}))
    found = result(stage, view)
    assert (found["4"], found["5"]) == (expected or "", f"<{expected}>" if expected else "")
    assert states(view)["after"] is (COMPLETED if expected else SKIPPED)


def test_the_last_producer_in_the_document_wins(stage: Stage) -> None:
    edges = {
        "first": modify("edit_text", {"1": "x"}, {"2": ""}, content="first"),
        "second": modify("edit_text", {"1": "x"}, {"2": ""}, content="second"),
    }
    view = play(stage, document(edges, {"1": "a", "2": ""}))
    assert result(stage, view) == {"2": "second"}


def test_a_choice_over_looped_items_parts_them(stage: Stage) -> None:
    looped = {
        "label": "",
        "type": "structured",
        "looped": True,
        "data": {"content": ["a", "longer", "b"]},
    }
    edges = {"choose": choose("1", "x", then="2", otherwise="3")}
    view = play(stage, document(edges, {"1": looped, "2": "", "3": ""}))
    assert result(stage, view) == {"2": ["longer"], "3": ["a", "b"]}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of copies and choices, in which blocks have up to two producers."""
    count = draw(st.integers(1, 7))
    contents: dict[str, Any] = {"s0": draw(st.sampled_from(["hi", "a long text", "exact"]))}
    edges: dict[str, Edge] = {}
    for number in range(1, count + 1):
        known = sorted(contents)
        source = draw(st.sampled_from(known))
        if draw(st.booleans()):
            then, otherwise = f"t{number}", f"u{number}"
            edges[f"e{number}"] = choose(source, "x", then=then, otherwise=otherwise)
            contents |= {then: "", otherwise: ""}
            continue
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        labels = {block: f"l{place}" for place, block in enumerate(inputs)}
        made, content = f"m{number}", "".join(f"{{{{{label}}}}}" for label in labels.values())
        edges[f"e{number}"] = modify("edit_text", labels, {made: ""}, content=content)
        if draw(st.booleans()):
            edges[f"f{number}"] = modify("edit_text", {source: "x"}, {made: ""}, content="<{{x}}>")
        contents[made] = ""
    return document(edges, contents)


def expected(data: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the contents that a document makes, and its skipped edges, found by plain Python."""
    planner = ExecutionPlanner(data["blocks"], data["edges"])
    made: dict[str, dict[str, str]] = {}
    skipped: set[str] = set()

    def content(block: str) -> str | None:
        if block not in planner.producers:
            return str(data["blocks"][block]["data"]["content"])
        found = [made[edge][block] for edge in planner.producers[block] if block in made[edge]]
        return found[-1] if found else None

    for edge in (edge for level in planner.levels() for edge in level):
        settings_ = data["edges"][edge]["data"]
        inputs = {label: content(block) for block, label in settings_["inputs"].items()}
        made[edge] = {}
        if None in inputs.values():
            skipped.add(edge)
        elif "cases" in settings_:
            [text] = inputs.values()
            assert text is not None
            then, otherwise = settings_["outputs"]
            if len(text) != 5:
                made[edge] = {then if len(text) > 5 else otherwise: text}
        else:
            text = settings_["content"]
            for label, value in inputs.items():
                text = text.replace(f"{{{{{label}}}}}", value)
            made[edge] = dict.fromkeys(settings_["outputs"], text)
    results: dict[str, Any] = {}
    for block in planner.producers:
        results[block] = content(block) or ""
    return results, skipped


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents())
def test_no_document_that_is_accepted_ever_hangs(stage: Stage, data: dict[str, Any]) -> None:
    """It ends with the contents and the skipped edges that plain Python finds."""
    view = play(stage, data)
    assert view.status is RunState.COMPLETED
    assert {step.status for step in view.steps} <= TERMINAL_STEP_STATES
    results, skipped = expected(data)
    assert result(stage, view) == results
    found = {key for key, state in states(view).items() if state is SKIPPED}
    assert found & data["edges"].keys() == skipped

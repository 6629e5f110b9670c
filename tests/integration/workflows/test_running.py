"""Workflows, run by the real engine: order, failures, states, values."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowq import flow
from flowq.core.errors import RunNotFound
from flowq.core.events import StreamChunk, StreamStarted
from flowq.core.results import StepFailure
from flowq.workflows import InvalidWorkflow, Workflow, WorkflowBuilder, WorkflowResult, step_type
from tests.tools.playing import Stage
from tests.tools.workflows.samples import define_text, document, play


def test_the_workflow_of_the_manual(stage: Stage) -> None:
    define_text()
    workflow = (
        WorkflowBuilder("words")
        .add_step("tokenize", id="split", config={"lower": True})
        .add_step("count_words", id="count", config={"top": 2})
        .build()
    )
    result = play(stage, workflow, {"text": "To be or not to be"}, user_id="ann")

    assert "completed" == result.status
    assert {"be": 2, "to": 2} == result.value("count")
    assert ["completed", "completed"] == [one.status for one in result.steps]
    assert f"flowq://{result.run_id}/count" == result.outputs["count"]
    assert ['["to", "be", "or", "not", "to", "be"]', '{"be": 2, "to": 2}'] == [
        one.preview for one in result.steps
    ]
    view = stage.records.autocommit(lambda tx: tx.runs.view(result.run_id))
    assert view is not None
    assert ("workflow:words", "ann") == (view.flow_name, view.user_id)
    assert {"count": {"be": 2, "to": 2}} == view.outputs
    assert Workflow.from_dict(view.inputs["workflow"]) == workflow


def failing(**of_b: Any) -> Workflow:
    @step_type("a", inputs=[])
    def a() -> int:
        return 1

    @step_type("b")
    def b(value: int) -> int:
        raise ValueError("no")

    @step_type("c")
    def c(value: Any) -> str:
        return type(value).__name__

    return document({"id": "a"}, {"id": "b", **of_b}, {"id": "c"})


def test_a_failure_stops_what_follows(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    result = play(stage, failing())

    assert "failed" == result.status
    assert ["completed", "failed", "pending"] == [one.status for one in result.steps]
    assert "ValueError: no" == result.steps[1].error
    assert 'raise ValueError("no")' in (result.steps[1].traceback or "")
    assert Path(__file__).name in (result.steps[1].traceback or "")
    assert ["a"] == list(result.outputs)
    with pytest.raises(ValueError, match=r"no value is stored under .*/b': its step is failed"):
        result.value("b")
    with pytest.raises(RuntimeError, match="Error executing step b: ValueError: no"):
        result.raise_on_error()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="flowq.workflows.results"):
        result.log()
    said = [re.sub(r" in \d+ ms", "", line) for line in caplog.messages]
    assert said == [
        f"step a of run {result.run_id} completed",
        f"step b of run {result.run_id} failed: ValueError: no",
        f"step c of run {result.run_id} pending",
    ]


def test_a_workflow_may_continue_after_a_failure(stage: Stage) -> None:
    result = play(stage, failing(on_error="continue"))

    assert "failed" == result.status
    assert ["completed", "failed", "completed"] == [one.status for one in result.steps]
    assert StepFailure.__name__ == result.value("c")
    assert "step 'b' failed: ValueError: no" == result.error


def test_steps_run_in_the_order_of_the_list(stage: Stage) -> None:
    """Also those that use nothing of the step before; unless the workflow is parallel."""
    ran: list[str] = []
    for slug in ("x", "y", "z"):

        @step_type(slug, inputs=[])
        def note(wait: str = slug) -> None:
            ran.append(wait)

    steps = [{"id": slug} for slug in ("z", "x", "y")]
    result = play(stage, document(*steps))
    assert ["z", "x", "y"] == ran
    spec = stage.engine.definitions.get(result.run_id).definition.spec
    assert [(), ("z",), ("x",)] == [step.after for step in spec.steps]

    spec = stage.engine.definitions.get(
        play(stage, document(*steps, parallel=True)).run_id
    ).definition.spec
    assert [(), (), ()] == [step.after for step in spec.steps]


def test_states_are_seen_while_it_runs(stage: Stage) -> None:
    seen: list[list[str]] = []

    @step_type("look", inputs=[])
    def look(at: int = 0) -> None:
        view = stage.records.autocommit(lambda tx: tx.runs.with_keys("workflow:test", ["k"]))
        seen.append(
            [one.status for one in WorkflowResult.of(view["k"][0], engine=stage.engine).steps]
        )

    steps = [{"id": f"s{at}", "type_slug": "look", "config": {"at": at}} for at in range(3)]
    result = play(stage, document(*steps), idempotency_key="k")

    assert "completed" == result.status
    assert seen == [
        ["running", "pending", "pending"],
        ["completed", "running", "pending"],
        ["completed", "completed", "running"],
    ]


def test_a_step_may_have_several_results(stage: Stage) -> None:
    @step_type("divide", inputs=["a"], outputs=["quotient", "rest"])
    def divide(a: int, by: int) -> dict[str, Any]:
        return {"quotient": a // by, "rest": [a % by]} if by != 3 else {"quotient": 1}

    @step_type("show")
    def show(value: int) -> str:
        return f"<{value}>"

    def workflow(by: int, path: Any) -> Workflow:
        return document(
            {"id": "divide", "config": {"by": by}}, {"id": "show", "inputs": {"value": path}}
        )

    assert "<3>" == play(stage, workflow(5, "divide.rest.0"), {"a": 8}).value("show")
    whole = {"step": "divide", "path": ["quotient"]}
    assert "<1>" == play(stage, workflow(5, whole), {"a": 8}).value("show")
    missing = play(stage, workflow(3, "divide.rest.0"), {"a": 8})
    assert "ValueError: divide returned no 'rest'" == missing.steps[0].error
    nowhere = play(stage, workflow(5, "divide.rests"), {"a": 8})
    assert "no 'rests' in a dict (it has: quotient, rest)" in (nowhere.steps[1].error or "")


def test_items_of_a_generator_are_streamed(stage: Stage) -> None:
    @step_type("lines", inputs=[])
    def lines(count: int) -> Iterator[dict[str, int]]:
        for number in range(count):
            yield {"n": number}

    @step_type("total")
    def total(items: list[dict[str, int]]) -> int:
        return sum(item["n"] for item in items)

    result = play(stage, document({"id": "lines", "config": {"count": 4}}, {"id": "total"}))

    assert 6 == result.value("total")
    assert [{"n": 0}, {"n": 1}] == lines(2)
    entries = stage.engine.events.read(result.run_id).entries
    events = [event for entry in entries for event in entry.events]
    [opened] = [one for one in events if isinstance(one, StreamStarted)]
    text = "".join(one.text for one in events if isinstance(one, StreamChunk))
    assert "application/x-ndjson" == opened.content_type
    assert [{"n": at} for at in range(4)] == [json.loads(line) for line in text.splitlines()]


def test_a_refused_workflow_is_not_recorded(stage: Stage) -> None:
    define_text()
    with pytest.raises(InvalidWorkflow):
        play(stage, document({"id": "tokenize", "config": {"lower": "maybe"}}), {"text": "x"})
    with pytest.raises(InvalidWorkflow, match="no value is stored under 'flowq://nothing/value'"):
        play(stage, document({"id": "tokenize"}), {"text": "flowq://nothing/value"})
    assert not stage.records.autocommit(lambda tx: tx.overview.has_runs())


def test_other_runs_are_no_workflows(stage: Stage) -> None:
    @flow(name="workflow:test")
    def other(workflow: int) -> int:
        return workflow

    for run in (stage.engine.new_id(), "no id", stage.play(other, workflow=1).id):
        with pytest.raises(RunNotFound):
            WorkflowResult.of(run, engine=stage.engine)


def test_a_document_is_written_with_the_states_of_a_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.bootstrap.engine", lambda: stage.engine)
    workflow = failing()
    result = play(stage, workflow)
    steps = json.loads(workflow.to_json(run=result.run_id))["steps"]

    assert [("completed", "1"), ("failed", None), ("pending", None)] == [
        (step["status"], step["output_preview"]) for step in steps
    ]
    assert workflow == Workflow.from_json(workflow.to_json(run=result.run_id))


def test_expressions_are_steps(stage: Stage) -> None:
    """A literal is a given value without a task; a reference may take a part, or columns."""
    define_text()
    expressions = {
        "text": "'To be or not to be'",
        "split": "=tokenize(text=text, lower=True)",
        "count": "count_words(words='tokenize_output', top=2)",
        "be": "count['be']",
        "people": "[{'name': 'Ann', 'age': 1}, {'name': 'Bob', 'age': 2}]",
        "names": "people[['name']]",
        "shout": "tokenize.map(text=step1, lower=False)",
    }
    steps = [{"name": name, "expression": one} for name, one in expressions.items()]
    result = play(stage, Workflow.from_dict({"format_version": 2, "name": "two", "steps": steps}))

    assert {"be": 2, "to": 2} == result.value("count")
    assert 2 == result.value("be")
    assert "To be or not to be" == result.value("text")
    assert [{"name": "Ann"}, {"name": "Bob"}] == result.value("names")
    view = stage.records.autocommit(lambda tx: tx.runs.view(result.run_id))
    assert view is not None
    assert {"split", "count", "be", "names::value", "names", "shout", "shout::rows"} <= {
        step.key for step in view.steps
    }
    assert ["completed"] * 6 == [one.status for one in result.steps[:6]]
    assert "a row-wise step is given a str" in (result.steps[6].error or "")


def test_columns_that_are_not_there(stage: Stage) -> None:
    steps = [{"name": "a", "expression": "{'x': 1}"}, {"name": "b", "expression": "a[['y']]"}]
    result = play(stage, Workflow.from_dict({"format_version": 2, "name": "two", "steps": steps}))
    assert "StepError: no column 'y' (it has: x)" == result.steps[1].error

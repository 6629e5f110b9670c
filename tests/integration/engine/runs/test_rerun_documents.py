"""Reruns of runs of the faces on documents: each reuses what has completed, and runs the rest."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.model.rows import RunView
from flowq.engine.runs import reruns
from flowq.pipeline import (
    ExecutionContext,
    Node,
    NodeWorkflow,
    RetryMiddleware,
    SimpleExecutor,
    WorkflowPipeline,
)
from flowq.pipeline.pipeline import chain
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running.log import replayed
from flowq.playbooks.running.submitting import as_flow
from flowq.tools.text import deeply_plain
from flowq.workflows import WorkflowResult, step_type
from tests.tools import documents
from tests.tools.playing import Stage
from tests.tools.workflows import samples

RAN: Counter[str] = Counter()
BROKEN: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()
    BROKEN.clear()


def ran(name: str) -> None:
    RAN[name] += 1
    if name in BROKEN:
        raise ValueError(f"{name} is broken")


def again(stage: Stage, run_id: RunId, **options: Any) -> RunView:
    """Rerun a run, do all that it leads to, and return how it stands."""
    new = reruns.rerun(stage.engine, run_id, **options)
    stage.dispatcher.run(stage.engine)
    view = stage.engine.records.autocommit(lambda tx: tx.runs.view(new))
    assert view is not None
    return view


PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: test, path: tests/rerun}
workload: {folder: nowhere}
workflow:
  - step: start
    loop: {in: "{{ [1, 2] }}", iterator: n, mode: parallel, max_concurrency: 1}
    tool:
      kind: python
      code: |
        def main(folder, n, said):
            with open(folder + "/ran", "a") as file:
                file.write(f"{n}")
            return {"n": n, "said": said}
    args: {folder: "{{ workload.folder }}", n: "{{ n }}", said: "{{ execution_id }}"}
    next: last
  - step: last
    tool:
      kind: python
      code: |
        def main(folder, found):
            with open(folder + "/mended") as file:
                return {"found": found, "text": file.read()}
    args: {folder: "{{ workload.folder }}", found: "{{ loop_results }}"}
"""


def test_playbook_goes_on_with_the_step_that_failed(stage: Stage, tmp_path: Path) -> None:
    flow = as_flow(read_playbook(PLAYBOOK))
    old = stage.play(flow, payload={"folder": str(tmp_path)})
    assert old.status is RunState.FAILED, old.error
    (tmp_path / "mended").write_text("yes")

    view = again(stage, old.id)

    assert view.status is RunState.COMPLETED, view.error
    assert sorted((tmp_path / "ran").read_text()) == ["1", "2"]
    assert (view.flow_name, view.rerun_of) == ("tests/rerun", old.id)
    # What templates have seen of the execution stays true, and its log has all steps.
    state = replayed(stage.engine, view.id).state
    started: Any = deeply_plain(state.step_results["start"])
    said = {one["said"] for one in started["results"]}
    assert said == {str(old.id)}
    assert again(stage, view.id, from_step="last").status is RunState.COMPLETED
    assert len((tmp_path / "ran").read_text()) == 2


def test_blocks_are_reused_by_edges_and_take_no_inputs(stage: Stage) -> None:
    edges = {
        "a": documents.modify("copy", {"1": "x"}, {"2": ""}),
        "b": documents.failing({"2": "y"}, {"3": ""}),
    }
    old = documents.play(stage, documents.document(edges, {"1": "no data", "2": "", "3": ""}))
    assert old.status is RunState.FAILED

    view = again(stage, old.id)

    assert (view.status, view.error) == (RunState.FAILED, old.error)
    assert {one.key: (one.hits, one.attempts) for one in view.steps} == {"a": (1, 0), "b": (0, 1)}
    assert (view.flow_name, view.inputs) == (old.flow_name, old.inputs)
    with pytest.raises(InvalidInput, match="cannot be replaced: they are its document"):
        reruns.rerun(stage.engine, old.id, inputs={"blocks": {}})


def test_workflow_reuses_its_steps_and_shows_its_values(stage: Stage) -> None:
    @step_type("first", inputs=[])
    def first() -> int:
        ran("first")
        return 7

    @step_type("second")
    def second(value: int) -> int:
        ran("second")
        return value + 1

    BROKEN.add("second")
    old = samples.play(stage, samples.document({"id": "first"}, {"id": "second"}))
    assert old.status == "failed"
    BROKEN.clear()

    view = again(stage, RunId(old.run_id))

    assert view.status is RunState.COMPLETED
    assert Counter({"first": 1, "second": 2}) == RAN
    result = WorkflowResult.of(str(view.id), engine=stage.engine)
    assert (result.value("first"), result.value("second")) == (7, 8)


def begin(state: dict[str, Any]) -> dict[str, Any]:
    ran("begin")
    return {"begun": state["value"]}


def end(state: dict[str, Any]) -> dict[str, Any]:
    ran("end")
    return {"ended": state["begun"] + 1}


def test_pipeline_goes_on_with_the_attempt_that_failed(stage: Stage) -> None:
    pipeline = WorkflowPipeline(SimpleExecutor()).use(
        RetryMiddleware(max_retries=1, initial_backoff_seconds=0.01)
    )
    state = {"value": 1, "messages": ["hello"]}
    work = NodeWorkflow("work", [Node("begin", begin), Node("end", end)])
    BROKEN.add("end")
    inputs = pipeline._inputs(work, ExecutionContext("work", "ann", "c1", state))
    old = stage.play(chain, **inputs)
    assert (old.status, RAN["begin"]) == (RunState.FAILED, 2), old.error
    BROKEN.clear()

    view = again(stage, old.id)

    assert view.status is RunState.COMPLETED, view.error
    assert Counter({"begin": 2, "end": 3}) == RAN

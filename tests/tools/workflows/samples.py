"""Workflows in tests: step types of docs/documents/workflows.md, runs in the test's own thread."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowq.workflows import RuntimeContext, Workflow, WorkflowResult, WorkflowRunner, step_type
from tests.tools.playing import Stage


def define_text() -> dict[str, Any]:
    """Register the step types; return them by slug."""

    @step_type(
        "tokenize",
        name="Split into words",
        input_type="str",
        output_type="list",
        metadata={"category": "text"},
    )
    def tokenize(text: str, lower: bool = True) -> list[str]:  # noqa: FBT001, FBT002 - a setting
        """Split a text at white space."""
        return (text.lower() if lower else text).split()

    @step_type("count_words", input_type="list", output_type="dict")
    def count_words(words: list[str], top: int = 3) -> dict[str, int]:
        """Count words, the most frequent first."""
        counts = {word: words.count(word) for word in words}
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:top])

    return {"tokenize": tokenize, "count_words": count_words}


def text_module() -> str:
    """Return the module of docs/documents/workflows.md that defines them."""
    page = (Path(__file__).parents[3] / "docs/documents/workflows.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n# text_steps.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def play(
    stage: Stage, workflow: Workflow, inputs: Mapping[str, Any] | None = None, **options: Any
) -> WorkflowResult:
    """Start a run of a workflow and do all that it leads to."""
    run = WorkflowRunner(RuntimeContext(engine=stage.engine)).enqueue(workflow, inputs, **options)
    stage.dispatcher.run(stage.engine)
    return WorkflowResult.of(run, engine=stage.engine)


def document(*steps: Mapping[str, Any], **fields: Any) -> Workflow:
    """Return a workflow of steps that are given as data; the slug is the id when there is none."""
    data = [{"type_slug": step["id"], **step} for step in steps]
    return Workflow.from_dict({"name": "test", "steps": data, **fields})

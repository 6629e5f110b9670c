"""What `celery -A tests.acceptance.apps.pipeline_app` finds: nodes of a workflow."""

from pathlib import Path
from typing import Any

import flowq
from flowq.pipeline import Node, NodeWorkflow
from tests.tools.llm_steps import Summarise

app = flowq.celery_app()


async def ask(state: dict[str, Any]) -> dict[str, Any]:
    """Ask the model, which costs."""
    said = await Summarise().execute({"text": state["text"]})
    return {"summary": said.output_content}


def flaky(state: dict[str, Any]) -> dict[str, Any]:
    """Fail as often as the state says; each try leaves a line."""
    file = Path(state["folder"]) / "tries"
    with file.open("a") as out:
        out.write("try\n")
    tries = len(file.read_text().splitlines())
    if tries <= state["failures"]:
        raise ConnectionResetError(f"try {tries}")
    return {"tries": tries}


WORK = NodeWorkflow("work", [Node("ask", ask), Node("flaky", flaky)])

"""The graph and the Gantt chart as tabs of a run: reads and draws them, with links on the steps."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flowq.core.states import StepState
from flowq.engine.engine import Engine
from flowq.engine.queries.graph import PictureNode
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints.flower.pages.run_request import RunQuery, TemplateContext
from flowq.entrypoints.flower.pictures.gantt import run_gantt
from flowq.entrypoints.flower.pictures.graph import run_graph


def graph(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read and draw the graph."""
    return _drawn(engine, page, asked, run_graph)


def gantt(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read and draw the Gantt chart."""
    return _drawn(engine, page, asked, run_gantt)


def _drawn(
    engine: Engine, page: RunPage, asked: RunQuery, draw: Callable[..., str]
) -> TemplateContext:
    run_id, now = page.run.id, datetime.now(UTC)
    picture: Any = engine.records.autocommit(lambda tx: tx.overview.picture(run_id, now=now))

    def link(node: PictureNode) -> str | None:
        if node.child is not None:
            return asked.link("flow-run", node.child.id)
        if node.is_map:
            return asked.link("flow-run-items", run_id, node.key)
        steps = asked.link("flow-run-tab", run_id, "steps")
        if node.size is not None:
            return f"{steps}?{urlencode({'text': node.name})}"
        if node.status is StepState.FAILED:
            return asked.link("flow-run-tab", run_id, "errors")
        return f"{steps}?{urlencode({'text': node.key})}"

    if picture is None:
        return {"picture": ""}  # it was deleted a moment ago
    return {"picture": draw(picture, now=now, link=link)}

"""The graph and the Gantt chart as tabs of a run: reads and draws them, with links on the steps."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import urlencode

from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.queries.graph import PictureNode, RunPicture
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext
from flowq.entrypoints.flower.pictures.gantt import gantt_axis, run_gantt
from flowq.entrypoints.flower.pictures.graph import run_graph
from flowq.entrypoints.flower.pictures.playbook import playbook_graph
from flowq.entrypoints.flower.pictures.svg import Link
from flowq.playbooks.document.models import Playbook

#: The program that runs every playbook.
_PLAYBOOK: Final = "flowq.playbook"


def graph(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read and draw the graph; of a playbook its steps, and not each of its calls."""
    document = _playbook(page)
    if document is not None:
        picture = _picture(engine, page, by_label=True)
        program = picture.program if picture is not None else None
        if program is not None and program.name == _PLAYBOOK:
            draw = partial(playbook_graph, document)
            return _drawn(picture, draw, partial(_link, asked, page.run.id, by_label=True))
    return _drawn(_picture(engine, page), run_graph, partial(_link, asked, page.run.id))


def gantt(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read and draw the Gantt chart."""
    picture, now = _picture(engine, page), datetime.now(UTC)
    if picture is None:
        return {"picture": ""}
    chart = run_gantt(picture, now=now, link=partial(_link, asked, page.run.id))
    return {"picture": gantt_axis(picture, now=now) + chart}


def _playbook(page: RunPage) -> Playbook | None:
    """Return the document of a run of a playbook; None of others, and of one that is unreadable."""
    inputs = page.run.inputs
    if not (page.takes_signals and isinstance(inputs, Mapping) and "document" in inputs):
        return None
    try:
        return Playbook.of(inputs["document"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # another program with an input of this name, or a newer playbook


def _picture(engine: Engine, page: RunPage, *, by_label: bool = False) -> RunPicture | None:
    now = datetime.now(UTC)
    return engine.records.autocommit(
        lambda tx: tx.overview.picture(page.run.id, now=now, by_label=by_label)
    )


def _drawn(picture: RunPicture | None, draw: Callable[..., str], link: Link) -> TemplateContext:
    if picture is None:
        return {"picture": ""}  # it was deleted a moment ago
    return {"picture": draw(picture, now=datetime.now(UTC), link=link)}


def _link(
    asked: RunQuery, run_id: RunId, node: PictureNode, *, by_label: bool = False
) -> str | None:
    """Return the address of a node."""
    if node.child is not None:
        return asked.link("flow-run", node.child.id)
    if node.is_map and not by_label:
        return asked.link("flow-run-items", run_id, node.key)
    steps = asked.link("flow-run-tab", run_id, "steps")
    if node.size is not None and not by_label:
        return f"{steps}?{urlencode({'text': node.name})}"
    if by_label:
        return f"{steps}?{urlencode({'text': node.key})}"
    return asked.link("flow-step", run_id, node.key)

"""The graph of a playbook, and of a run of it: its steps and what leads from one to another.

Pure. The nodes of a run are its calls, counted by the step of the document that made them. A step
without a call has not been reached; once the run has ended it is shown as skipped.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from flowq.core.states import TERMINAL_RUN_STATES, StepState
from flowq.engine.queries.graph import EdgeKind, PictureEdge, PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.graph import description, draw, state_words
from flowq.entrypoints.flower.pictures.svg import Link, nowhere
from flowq.entrypoints.flower.pictures.vertices import Drawn, Form, Vertex
from flowq.playbooks.document.arrows import Arrow, ArrowKind, arrows
from flowq.playbooks.document.models import Playbook

_START: Final = "start"
#: What the words of an arrow begin with, when it is none of `next`.
_WORDS: Final = {
    ArrowKind.BRANCH: "call",
    ArrowKind.SINK: "sink",
    ArrowKind.PAGE: "page",
    ArrowKind.RETRY: "retry",
}


def playbook_graph(
    playbook: Playbook,
    picture: RunPicture,
    *,
    now: datetime,
    link: Link = nowhere,
    prefix: str = "fq-graph",
) -> str:
    """Draw a run of a playbook.

    Args:
        playbook: Its document.
        picture: The run, with its calls counted by their labels.
        now: The time, for durations of running steps.
        link: From a step to an address, or None.
        prefix: Begins the ids in the picture.
    """
    found = arrows(playbook)
    nodes = _nodes(playbook, found, picture)
    return draw(
        _drawn(nodes, found),
        lambda node: _words(node, picture, now),
        lambda node: link(node) if node.created_at is not None else None,
        prefix=prefix,
        title=f"Graph of the run of {picture.flow_name}",
        desc=description(picture),
        has_run=True,
    )


def _nodes(
    playbook: Playbook, found: Iterable[Arrow], picture: RunPicture
) -> dict[str, PictureNode]:
    """Return the nodes of all steps, with those of sinks."""
    known = {node.key: node for node in picture.nodes}
    has_ended = picture.status in TERMINAL_RUN_STATES
    absent = StepState.SKIPPED if has_ended else StepState.PENDING
    kinds = {step.name: step.tool.kind for step in playbook.workflow}
    loops = {step.name for step in playbook.workflow if step.loop is not None}
    sinks = [arrow.after for arrow in found if arrow.kind is ArrowKind.SINK]
    return {
        name: known.get(name)
        or PictureNode(name, kinds.get(name, "sink"), 0, status=absent, is_map=name in loops)
        for name in dict.fromkeys([*kinds, *sinks])
    }


def _words(node: PictureNode, picture: RunPicture, now: datetime) -> str:
    if node.created_at is not None:
        return state_words(node, now)
    return "not reached" if picture.status in TERMINAL_RUN_STATES else "not reached yet"


def _drawn(nodes: Mapping[str, PictureNode], found: Iterable[Arrow]) -> Drawn:
    """Return what is drawn: a vertex for each step, and one edge for all arrows of two steps."""
    between: dict[tuple[str, str], list[Arrow]] = {}
    for arrow in found:
        between.setdefault((arrow.before, arrow.after), []).append(arrow)
    edges = {ends: _edge(*ends, same) for ends, same in between.items()}
    loops = {name: edges.pop((name, name)) for name, after in between if name == after}
    vertices = tuple(Vertex(name, Form.SINGLE, (node,)) for name, node in nodes.items())
    return Drawn(vertices, edges, _back(list(nodes), edges), loops)


def _edge(before: str, after: str, same: Iterable[Arrow]) -> PictureEdge:
    words = dict.fromkeys(filter(None, map(_said, same)))
    return PictureEdge(before, after, EdgeKind.NEXT, " | ".join(words) or None)


def _said(arrow: Arrow) -> str:
    if arrow.before == arrow.after and arrow.kind in (ArrowKind.PAGE, ArrowKind.RETRY):
        return _WORDS[arrow.kind]
    when = None if arrow.when is None else f"when {arrow.when}"
    return " ".join(filter(None, (_WORDS.get(arrow.kind), when)))


def _back(names: list[str], edges: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Return the edges that close a cycle, in a walk in depth from the first step."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for upper, lower in edges:
        after[upper].append(lower)
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    for root in sorted(names, key=lambda name: name != _START):
        if root in done:
            continue
        path = {root}
        open_ = [(root, iter(after[root]))]
        while open_:
            name, rest = open_[-1]
            following = next(rest, None)
            if following is None:
                open_.pop()
                path.remove(name)
                done.add(name)
            elif following in path:
                found.add((name, following))
            elif following not in done:
                path.add(following)
                open_.append((following, iter(after[following])))
    return frozenset(found)

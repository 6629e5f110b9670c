"""The graph of a run, or of a flow that has not run, as SVG.

Pure: rows in, text out. Classes, all styled in `picture.css`:

    fq-graph                     the picture; `fq-fit` if it may shrink to the width of its page
    fq-node fq-<state>           a step; `fq-plain` where nothing has run
    fq-box, fq-sign              its shape; the sign of its state
    fq-key, fq-words             its two lines
    fq-rest, fq-fill fq-<state>  the bar of a map
    fq-batch, fq-head            the light box of a batch, and its words
    fq-edge fq-<kind> [fq-off]   `data`, `condition` (dashed), `order`; `off` if it was not taken
    fq-condition                 the words of a condition
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.queries.graph import (
    EdgeKind,
    PictureEdge,
    PictureNode,
    RunPicture,
    spec_edges,
    spec_nodes,
)
from flowq.entrypoints.flower.pictures.layout import Point, layered
from flowq.entrypoints.flower.pictures.svg import (
    Link,
    counted,
    element,
    framed,
    label,
    linked,
    nowhere,
    progress,
    safe,
    sign,
)
from flowq.entrypoints.flower.pictures.vertices import (
    CELL_GAP,
    HEAD,
    NODE,
    Drawn,
    Form,
    Vertex,
    of_graph,
    of_program,
)
from flowq.entrypoints.formatting import count, duration

#: A wider picture does not shrink to the width of a phone, since its text would be unreadable.
_FITS: Final = 520.0
_KEY_COLUMNS: Final = 20
_WORDS_COLUMNS: Final = 25
_CONDITION_COLUMNS: Final = 34
_KINDS: Final = {
    StepKind.FLOW: "\N{NORTH EAST ARROW}",
    StepKind.PROGRAM: "\N{IDENTICAL TO}",
    StepKind.TIMER: "\N{WHITE CIRCLE WITH UPPER RIGHT QUADRANT}",
    StepKind.SIGNAL: "\N{ENVELOPE}",
}
_NAMES: Final = {
    StepKind.STEP: "step",
    StepKind.FLOW: "child flow",
    StepKind.PROGRAM: "program",
    StepKind.TIMER: "timer",
    StepKind.SIGNAL: "signal",
}


def run_graph(
    picture: RunPicture,
    *,
    now: datetime,
    link: Link = nowhere,
    prefix: str = "fq-graph",
) -> str:
    """Draw a run.

    Args:
        picture: The run and its steps.
        now: The time, for durations of running steps.
        link: From a step to an address, or None.
        prefix: Begins the ids in the picture.
    """
    if picture.program is not None:
        drawn = of_program(picture)
    else:
        drawn = of_graph(picture.nodes, picture.edges)
    return _draw(
        drawn,
        lambda node: _state_words(node, now),
        link,
        prefix=prefix,
        title=f"Graph of the run of {picture.flow_name}",
        desc=_description(picture),
        has_run=True,
    )


def flow_graph(
    spec: FlowSpec, *, link: Callable[[str], str] | None = None, prefix: str = "fq-flow"
) -> str:
    """Draw the definition of a flow.

    Args:
        link: From the name of a child flow to the address of its page.
        prefix: Begins the ids in the picture.
    """

    def href(node: PictureNode) -> str | None:
        return link(node.name) if link is not None and node.kind is StepKind.FLOW else None

    nodes = spec_nodes(spec)
    return _draw(
        of_graph(nodes, spec_edges(spec)),
        _kind_words,
        href,
        prefix=prefix,
        title=f"Graph of the flow {spec.name}",
        desc=f"{count(len(nodes))} {'step' if len(nodes) == 1 else 'steps'}, from top to bottom.",
        has_run=False,
    )


def _draw(
    drawn: Drawn,
    words: Callable[[PictureNode], str],
    link: Link,
    *,
    prefix: str,
    title: str,
    desc: str,
    has_run: bool,
) -> str:
    sizes = {vertex.id: vertex.size for vertex in drawn.vertices}
    layout = layered(sizes, list(drawn.edges), drop=44.0)
    parts = [_arrow(prefix)]
    cells = {vertex.id: vertex.cells for vertex in drawn.vertices}
    parts += [
        _edge(edge, cells[ends[1]], layout.routes[ends], prefix)
        for ends, edge in drawn.edges.items()
    ]
    for vertex in drawn.vertices:
        place = layout.places[vertex.id]
        if vertex.form is not Form.SINGLE:
            parts.append(_box(vertex, place.x, place.y, prefix))
        parts += [
            _node(node, x, y, words(node), link(node), has_run=has_run)
            for node, (x, y) in zip(vertex.cells, vertex.places(place.x, place.y), strict=True)
        ]
    parts += _conditions(drawn, {ends: route[-1] for ends, route in layout.routes.items()})
    return framed(
        parts,
        prefix=prefix,
        cls="fq-graph fq-fit" if layout.width <= _FITS else "fq-graph",
        title=title,
        desc=desc,
        width=layout.width,
        height=layout.height,
    )


# --- nodes ----------------------------------------------------------------------------------------


def _node(
    node: PictureNode, x: float, y: float, words: str, href: str | None, *, has_run: bool
) -> str:
    parts = [element("title", safe(_tooltip(node) if has_run else f"{node.key}\n{words}"))]
    shape = {"width": NODE.width, "height": NODE.height, "rx": 9}
    if node.is_many:
        parts += [
            element("rect", x=x + by, y=y + by, cls="fq-box fq-behind", **shape) for by in (6, 3)
        ]
    parts.append(element("rect", x=x, y=y, cls="fq-box", **shape))
    if has_run:
        parts.append(element("circle", cx=x + 20, cy=y + 29, r=11, cls="fq-dot"))
        parts.append(label(x + 20, y + 33.5, sign(node.status), "fq-sign", text_anchor="middle"))
    else:
        of_kind = "\N{MULTIPLICATION SIGN}" if node.is_map else "\N{BULLET}"
        parts.append(
            label(x + 20, y + 34, _KINDS.get(node.kind, of_kind), "fq-kind", text_anchor="middle")
        )
    name, columns = node.key, _KEY_COLUMNS
    mark = _KINDS.get(node.kind) if has_run else None
    if mark is not None:
        parts.append(label(x + NODE.width - 12, y + 22, mark, "fq-kind", text_anchor="end"))
        columns -= 2
    is_bar = node.is_many and has_run
    parts.append(label(x + 40, y + (20 if is_bar else 25), name, "fq-key", columns=columns))
    parts.append(
        label(x + 40, y + (36 if is_bar else 43), words, "fq-words", columns=_WORDS_COLUMNS)
    )
    if is_bar:
        parts.append(progress(node, x + 40, y + 44, NODE.width - 52, 6))
    state = f"fq-{node.status}" if has_run else "fq-plain"
    inside = element("g", *parts, cls=f"fq-node {state}")
    return linked(href, inside)


def _state_words(node: PictureNode, now: datetime) -> str:
    if node.is_many:
        return counted(node)
    words = [f"child run {node.child.status}" if node.child is not None else str(node.status)]
    took = _took(node, now)
    if took is not None:
        words.append(duration(took))
    if node.attempts > 1:
        words.append(f"attempt {node.attempts}")
    return " · ".join(words)


def _took(node: PictureNode, now: datetime) -> float | None:
    if node.status in {StepState.QUEUED, StepState.RETRYING}:
        return None
    took = node.took(now)
    return None if took is None else took.total_seconds()


def _kind_words(node: PictureNode) -> str:
    kind = "map" if node.is_map else _NAMES[node.kind]
    if node.kind is StepKind.PROGRAM:
        return "program: calls its steps"
    short = node.name.rpartition(".")[2]
    return kind if node.key in (short, node.name) else f"{kind} · {short}"


def _tooltip(node: PictureNode) -> str:
    lines = [node.key]
    if node.name != node.key:
        lines.append(f"{_NAMES[node.kind]} {node.name}")
    lines.append(f"{node.status}" + (f": {counted(node)}" if node.is_many else ""))
    lines += [
        f"{what} {time:%Y-%m-%d %H:%M:%S} UTC"
        for what, time in (("started", node.started_at), ("ended", node.ended_at))
        if time is not None
    ]
    if node.attempts > 1 or node.retried:
        lines.append(f"attempts: {max(node.attempts, 1)}, {count(node.retried)} retried")
    if node.worker and not node.is_many:
        lines.append(f"on {node.worker}")
    if node.error_type or node.error:
        lines.append(f"{node.error_type or 'error'}: {node.error or ''}")
    return "\n".join(lines)


def _description(picture: RunPicture) -> str:
    counts: dict[StepState, int] = {}
    for node in picture.nodes:
        each = node.counts if picture.is_collapsed else {node.status: 1}
        for state, many in each.items():
            counts[state] = counts.get(state, 0) + many
    what = "call" if picture.program is not None else "step"
    states = ", ".join(f"{count(many)} {state}" for state, many in counts.items())
    said = f"The run is {picture.status}. {count(picture.total)} {what}"
    said += "" if picture.total == 1 else "s"
    said += f": {states}." if states else "."
    if picture.is_collapsed:
        said += " There are too many to draw each one: steps with the same name are one node."
    return said


# --- boxes and edges ------------------------------------------------------------------------------


def _box(vertex: Vertex, x: float, y: float, prefix: str) -> str:
    size = vertex.size
    parts = [
        element("rect", x=x, y=y, width=size.width, height=size.height, rx=12, cls="fq-batch"),
        label(x + 12, y + HEAD + 2, vertex.words, "fq-head"),
    ]
    if vertex.form is Form.SEQUENCE:
        middle = NODE.height / 2
        for (x1, y1), (x2, y2) in pairwise(vertex.places(x, y)):
            right = x1 + NODE.width
            path = f"M{right:g} {y1 + middle:g}H{x2:g}"
            if y1 != y2:  # continue in the next line
                half = CELL_GAP / 2
                path = (
                    f"M{x1 + NODE.width / 2:g} {y1 + NODE.height:g}v{half:g}"
                    f"H{x2 + NODE.width / 2:g}V{y2:g}"
                )
            parts.append(_line(path, "fq-edge fq-order", prefix))
    return element("g", *parts)


def _edge(
    edge: PictureEdge, target: Sequence[PictureNode], route: Sequence[Point], prefix: str
) -> str:
    path = f"M{route[0][0]:.1f} {route[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(route):
        if abs(x1 - x2) < 0.5:
            path += f"L{x2:.1f} {y2:.1f}"
        else:
            middle = (y1 + y2) / 2
            path += f"C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    off = " fq-off" if all(node.status is StepState.SKIPPED for node in target) else ""
    return _line(path, f"fq-edge fq-{edge.kind}{off}", prefix)


def _line(path: str, cls: str, prefix: str) -> str:
    return element("path", d=path, cls=cls, marker_end=f"url(#{prefix}-arrow)")


def _conditions(drawn: Drawn, ends: dict[tuple[str, str], Point]) -> list[str]:
    """Return the texts of conditions, once above each vertex that has one."""
    found: dict[str, str] = {}
    for (upper, lower), edge in drawn.edges.items():
        if edge.kind is EdgeKind.CONDITION and lower not in found:
            x, y = ends[upper, lower]
            words = f"when {edge.condition}"
            text = label(
                *(x, y - 16, words, "fq-condition"),
                columns=_CONDITION_COLUMNS,
                text_anchor="middle",
            )
            found[lower] = element("g", element("title", safe(words)), text)
    return list(found.values())


def _arrow(prefix: str) -> str:
    """Return the marker for arrow heads; it has the colour of its line."""
    return element(
        "defs",
        element(
            "marker",
            element("path", d="M0 0L8 4L0 8z", cls="fq-arrow"),
            id=f"{prefix}-arrow",
            viewBox="0 0 8 8",
            refX=7.5,
            refY=4,
            markerWidth=7,
            markerHeight=7,
            orient="auto",
        ),
    )

"""The lines of a graph: edges, their words, and the boxes of several steps.

An edge goes down, from the lower side of a vertex to the upper side of another, or to the right if
the graph is drawn sideways. One of a cycle goes up, beside the place where its opposite would be,
and one from a vertex to itself is a loop at its right side. The words of an edge are beside its
end; when several such edges end there, beside its beginning, if it is the only one there. An edge
has the state of the vertex where it begins, and is grey if a step at one of its ends was skipped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from flowq.core.states import StepState
from flowq.engine.queries.graph import EdgeKind, PictureEdge, PictureNode
from flowq.entrypoints.flower.pictures.layout import Layout, NodeBox, Point
from flowq.entrypoints.flower.pictures.svg import columns_of, element, label, safe
from flowq.entrypoints.flower.pictures.vertices import (
    BEHIND,
    CELL_GAP,
    HEAD,
    Drawn,
    Form,
    Vertex,
)

#: The room of a loop with its words.
LOOP_WIDTH: Final = 110.0
_LOOP_COLUMNS: Final = 13
_CONDITION_COLUMNS: Final = 26
#: Distance between layers, also of a graph that is drawn sideways, and of two lines of words.
_DROP: Final = 44.0
_SIDE_DROP: Final = 64.0
_LINE: Final = 14.0
_LETTER: Final = 6.0
#: How far an edge upwards is beside its opposite.
_ASIDE: Final = 16.0

#: Of several steps where an edge begins, the state of the first of these is shown.
_WORST_FIRST: Final = (
    *(StepState.FAILED, StepState.RETRYING, StepState.RUNNING, StepState.WAITING),
    *(StepState.CANCELLED, StepState.COMPLETED),
)

_Ends = tuple[str, str]


def drop_of(drawn: Drawn, *, sideways: bool = False) -> float:
    """Return the distance between layers that has room for the words of edges."""
    worded = _worded(drawn)
    if sideways:
        widest = max((columns_of(_words(edge)) for edge in worded.values()), default=0.0)
        return _SIDE_DROP + _LETTER * min(widest, _CONDITION_COLUMNS)
    stacked = Counter(lower for (_, lower), edge in worded.items() if edge.condition)
    return _DROP + _LINE * (max(stacked.values(), default=1) - 1)


def drawn_edges(
    drawn: Drawn, layout: Layout, prefix: str, *, sideways: bool = False
) -> tuple[list[str], list[str]]:
    """Return the lines of all edges, and the words on them, which are drawn above the nodes."""
    cells = {vertex.id: vertex.cells for vertex in drawn.vertices}
    numbers = {vertex.id: number for number, vertex in enumerate(drawn.vertices)}
    lines: list[str] = []
    routes: dict[_Ends, Sequence[Point]] = {}
    for ends, edge in drawn.edges.items():
        upper, lower = ends
        is_back = ends in drawn.back
        if is_back:
            route = [(x + _ASIDE, y) for x, y in reversed(layout.routes[lower, upper])]
            route[-1] = (route[-1][0], route[-1][1] + _behind(cells[lower]))
        else:
            route = list(layout.routes[ends])
        kind = "back" if is_back else edge.kind
        dashed = " fq-condition" if edge.condition and kind != EdgeKind.CONDITION else ""
        cls = f"fq-edge fq-{kind}{dashed}{_state(cells[upper], cells[lower])}"
        between = f"{numbers[upper]} {numbers[lower]}"
        lines.append(_line(_path(route, sideways=sideways), cls, prefix, data_ends=between))
        routes[ends] = route
    words = _conditions(_worded(drawn), routes, sideways=sideways)
    for name, edge in drawn.loops.items():
        line, text = _loop(edge, layout.places[name], _behind(cells[name]), prefix)
        lines.append(line)
        words.append(text)
    return lines, words


def box(vertex: Vertex, x: float, y: float, prefix: str) -> str:
    """Return the light box of several steps, and the arrows in it."""
    size = vertex.size
    parts = [
        element("rect", x=x, y=y, width=size.width, height=size.height, rx=12, cls="fq-batch"),
        label(x + 12, y + HEAD + 2, vertex.words, "fq-head"),
    ]
    if vertex.form is Form.SEQUENCE:
        cell = vertex.cell
        middle = cell.height / 2
        for (x1, y1), (x2, y2) in pairwise(vertex.places(x, y)):
            right = x1 + cell.width
            path = f"M{right:g} {y1 + middle:g}H{x2:g}"
            if y1 != y2:  # continue in the next line
                half = CELL_GAP / 2
                path = (
                    f"M{x1 + cell.width / 2:g} {y1 + cell.height:g}v{half:g}"
                    f"H{x2 + cell.width / 2:g}V{y2:g}"
                )
            parts.append(_line(path, "fq-edge fq-order", prefix))
    return element("g", *parts)


def arrow_head(prefix: str) -> str:
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


def _path(route: Sequence[Point], *, sideways: bool) -> str:
    path = f"M{route[0][0]:.1f} {route[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(route):
        if abs(y1 - y2 if sideways else x1 - x2) < 0.5:
            path += f"L{x2:.1f} {y2:.1f}"
        elif sideways:
            middle = (x1 + x2) / 2
            path += f"C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        else:
            middle = (y1 + y2) / 2
            path += f"C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    return path


def _state(source: Sequence[PictureNode], target: Sequence[PictureNode]) -> str:
    """Return the class of an edge: off, or the state of the steps where it begins."""
    if any(all(one.status is StepState.SKIPPED for one in cells) for cells in (source, target)):
        return " fq-off"
    states = {one.status for one in source}
    found = next((state for state in _WORST_FIRST if state in states), None)
    return f" fq-{found}" if found is not None else ""


def _behind(cells: Sequence[PictureNode]) -> float:
    """Return how far the boxes behind a vertex of several reach beyond it."""
    return BEHIND if any(node.is_many for node in cells) else 0.0


def _loop(edge: PictureEdge, place: NodeBox, behind: float, prefix: str) -> tuple[str, str]:
    """Return the line of a vertex to itself, and its words."""
    right, top = place.x + place.width + behind, place.y + place.height * 0.3
    bottom = place.y + place.height * 0.7
    path = f"M{right:.1f} {top:.1f}c30 -14 30 {bottom - top + 14:.1f} 0 {bottom - top:.1f}"
    words = edge.condition or ""
    y = place.y + place.height / 2 + 4
    text = label(right + 28, y, words, "fq-condition", columns=_LOOP_COLUMNS)
    return _line(path, "fq-edge fq-back", prefix), element("g", element("title", safe(words)), text)


def _line(path: str, cls: str, prefix: str, **more: object) -> str:
    return element("path", d=path, cls=cls, marker_end=f"url(#{prefix}-arrow)", **more)


def _worded(drawn: Drawn) -> dict[_Ends, PictureEdge]:
    """Return the edges with words; the one of a graph's step is said once, for all its edges."""
    found: dict[_Ends, PictureEdge] = {}
    said: set[tuple[str, str | None]] = set()
    for ends, edge in drawn.edges.items():
        if edge.condition is None or (
            edge.kind is EdgeKind.CONDITION and (ends[1], edge.condition) in said
        ):
            continue
        said.add((ends[1], edge.condition))
        found[ends] = edge
    return found


def _words(edge: PictureEdge) -> str:
    is_step = edge.kind is EdgeKind.CONDITION
    return f"when {edge.condition}" if is_step else str(edge.condition)


def _conditions(
    worded: Mapping[_Ends, PictureEdge],
    routes: Mapping[_Ends, Sequence[Point]],
    *,
    sideways: bool,
) -> list[str]:
    """Return the words of edges."""
    into = Counter(lower for _, lower in worded)
    out = Counter(upper for upper, _ in worded)
    placed: Counter[str] = Counter()
    found: list[str] = []
    for ends, edge in worded.items():
        upper, lower = ends
        first, last = routes[ends][0], routes[ends][-1]
        rises = not sideways and last[1] < first[1]
        if rises or (not sideways and into[lower] > 1 and out[upper] == 1):
            x, y, anchor = first[0] + 8, first[1] + (-8 if rises else 16), "start"
        else:
            aside = -10 if sideways else 8
            up = 6 if sideways else 14
            x, y = last[0] + aside, last[1] - up - _LINE * placed[lower]
            anchor = "end" if sideways else "start"
            placed[lower] += 1
        words = _words(edge)
        text = label(*(x, y, words, "fq-condition"), columns=_CONDITION_COLUMNS, text_anchor=anchor)
        found.append(element("g", element("title", safe(words)), text))
    return found

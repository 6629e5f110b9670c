"""The graph of a run, or of a flow that has not run, as SVG.

Pure: rows in, text out. Classes, all styled in `picture.css`:

    fq-graph                     the picture; `fq-fit` if it may shrink to the width of its page
    fq-node fq-<state>           a step; `fq-plain` where nothing has run
    fq-box, fq-sign              its shape; the sign of its state
    fq-key, fq-words             its two lines
    fq-rest, fq-fill fq-<state>  the bar of a map
    fq-batch, fq-head            the light box of a batch, and its words
    fq-edge fq-<kind> fq-<state> `data`, `next`, `condition` (dashed), `order`, `back` (upwards);
                                 the state where it begins, `fq-off` if it was not taken
    fq-condition                 the words of a condition
    fq-dims, fq-lit              set by `picture.js`: one step and what is before and after it

`data-vertex` numbers the nodes, `data-ends` has the numbers at the ends of an edge.
"""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from flowq.core.spec import FlowSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.queries.graph import PictureNode, RunPicture, spec_edges, spec_nodes
from flowq.entrypoints.flower.pictures.edges import (
    LOOP_WIDTH,
    arrow_head,
    box,
    drawn_edges,
    drop_of,
)
from flowq.entrypoints.flower.pictures.layout import Layout, Point, Size, layered, sideways
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
    BEHIND,
    Drawn,
    Form,
    of_graph,
    of_program,
)
from flowq.entrypoints.formatting import count, duration

#: A wider picture does not shrink to the width of a phone, since its text would be unreadable.
_FITS: Final = 520.0
#: The part of a window in which a graph is seen, and how much better it has to fit sideways.
_VIEW: Final = 1340.0, 620.0
_BETTER: Final = 1.15
_SIDE_GAP: Final = 20.0
#: The room of a letter of a name and of the second line, and what is beside them.
_LETTER: Final = 8.3
_SMALL_LETTER: Final = 6.9
_BESIDE: Final = 52.0
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
    return draw(
        drawn,
        lambda node: state_words(node, now),
        link,
        prefix=prefix,
        title=f"Graph of the run of {picture.flow_name}",
        desc=description(picture),
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
    return draw(
        of_graph(nodes, spec_edges(spec)),
        _kind_words,
        href,
        prefix=prefix,
        title=f"Graph of the flow {spec.name}",
        desc=f"{count(len(nodes))} {'step' if len(nodes) == 1 else 'steps'}, from top to bottom.",
        has_run=False,
    )


def draw(
    drawn: Drawn,
    words: Callable[[PictureNode], str],
    link: Link,
    *,
    prefix: str,
    title: str,
    desc: str,
    has_run: bool,
) -> str:
    """Draw vertices and the edges between them.

    Args:
        drawn: What to draw.
        words: The second line of a node.
        link: From a step to an address, or None.
        prefix: Begins the ids in the picture.
        title: Its name.
        desc: Its description in words.
        has_run: Whether nodes have a state.
    """
    layout, is_sideways = best_layout(drawn)
    lines, words_on_lines = drawn_edges(drawn, layout, prefix, sideways=is_sideways)
    parts = [arrow_head(prefix), *lines]
    for number, vertex in enumerate(drawn.vertices):
        place = layout.places[vertex.id]
        if vertex.form is not Form.SINGLE:
            parts.append(box(vertex, place.x, place.y, prefix))
        parts += [
            _node(
                node,
                at,
                vertex.cell,
                words(node),
                href=link(node),
                vertex=number if has_run else None,
            )
            for node, at in zip(vertex.cells, vertex.places(place.x, place.y), strict=True)
        ]
    parts += words_on_lines
    return framed(
        parts,
        prefix=prefix,
        cls="fq-graph fq-fit" if layout.width <= _FITS else "fq-graph",
        title=title,
        desc=desc,
        width=layout.width + (LOOP_WIDTH if drawn.loops else 0.0),
        height=layout.height,
    )


def best_layout(drawn: Drawn) -> tuple[Layout, bool]:
    """Return the layout that is easier to see in a window, and whether it goes sideways."""
    return _best_layout(
        tuple((vertex.id, vertex.size) for vertex in drawn.vertices),
        tuple(drawn.downwards),
        drop=drop_of(drawn),
        side_drop=drop_of(drawn, sideways=True),
        has_cycles=bool(drawn.back or drawn.loops),
    )


@lru_cache(maxsize=64)  # an open page draws the same graph each second, with other states
def _best_layout(
    boxes: tuple[tuple[str, Size], ...],
    edges: tuple[tuple[str, str], ...],
    *,
    drop: float,
    side_drop: float,
    has_cycles: bool,
) -> tuple[Layout, bool]:
    sizes = dict(boxes)
    down = layered(sizes, edges, drop=drop)
    if has_cycles or _fits(down) == 1:  # lines of cycles go beside those that go down
        return down, False
    right = sideways(sizes, edges, gap=_SIDE_GAP, drop=side_drop)
    return (right, True) if _fits(right) > _BETTER * _fits(down) else (down, False)


def _fits(layout: Layout) -> float:
    """Return at which scale a layout is seen whole."""
    return min(1.0, _VIEW[0] / max(layout.width, 1.0), _VIEW[1] / max(layout.height, 1.0))


# --- nodes ----------------------------------------------------------------------------------------


def _node(
    node: PictureNode,
    place: Point,
    size: Size,
    words: str,
    *,
    href: str | None,
    vertex: int | None,
) -> str:
    """Return a node; `vertex` is the number of its vertex, None where nothing has run."""
    x, y = place
    has_run = vertex is not None
    parts = [element("title", safe(_tooltip(node) if has_run else f"{node.key}\n{words}"))]
    shape = {"width": size.width, "height": size.height, "rx": 9}
    if node.is_many:
        parts += [
            element("rect", x=x + by, y=y + by, cls="fq-box fq-behind", **shape)
            for by in (BEHIND, BEHIND / 2)
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
    room = size.width - _BESIDE
    columns = room / _LETTER
    mark = _KINDS.get(node.kind) if has_run else None
    if mark is not None:
        parts.append(label(x + size.width - 12, y + 22, mark, "fq-kind", text_anchor="end"))
        columns -= 2
    is_bar = node.is_many and has_run
    parts.append(label(x + 40, y + (20 if is_bar else 25), node.key, "fq-key", columns=columns))
    parts.append(
        label(x + 40, y + (36 if is_bar else 43), words, "fq-words", columns=room / _SMALL_LETTER)
    )
    if is_bar:
        parts.append(progress(node, x + 40, y + 44, room, 6))
    state = f"fq-{node.status}" if has_run else "fq-plain"
    inside = element("g", *parts, cls=f"fq-node {state}", data_vertex=vertex)
    return linked(href, inside)


def state_words(node: PictureNode, now: datetime) -> str:
    """Return the second line of a node: its state, or how far several are."""
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


def description(picture: RunPicture) -> str:
    """Return what a run's graph shows in words, for those who do not see it."""
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

"""Groups the steps of a graph to vertices: single steps, and boxes of several.

Steps with the same dependencies and dependents become ready together. They are a batch, so they
share a box and one edge. Concurrent calls of a program are a batch too; sequential calls share a
box and are arranged like lines of text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from math import ceil, sqrt
from typing import Final

from flowq.engine.queries.graph import EdgeKind, PictureEdge, PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.layout import Size
from flowq.entrypoints.formatting import count

NODE: Final = Size(224.0, 58.0)
#: How far the boxes behind one of several steps reach beyond it.
BEHIND: Final = 6.0
#: Gap between the cells of a box, padding around them, height of the words above them.
CELL_GAP: Final = 18.0
_PADDING: Final = 12.0
HEAD: Final = 16.0
_MAX_COLUMNS: Final = 6
#: Minimum number of sequential calls in a box.
_MIN_SEQUENCE: Final = 4


class Form(StrEnum):
    """How the cells of a vertex belong together."""

    SINGLE = "single"
    BATCH = "batch"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Vertex:
    """One or several nodes that are laid out as one."""

    id: str
    form: Form
    cells: tuple[PictureNode, ...]
    words: str = ""

    @property
    def columns(self) -> int:
        """The number of cells in a line."""
        many = len(self.cells)
        if self.form is Form.SEQUENCE:
            return min(many, 4)
        return many if many <= 4 else min(_MAX_COLUMNS, max(4, ceil(sqrt(many))))

    @property
    def size(self) -> Size:
        """Its size."""
        if self.form is Form.SINGLE:
            return NODE
        rows = ceil(len(self.cells) / self.columns)
        return Size(
            self.columns * (NODE.width + CELL_GAP) - CELL_GAP + 2 * _PADDING,
            rows * (NODE.height + CELL_GAP) - CELL_GAP + 2 * _PADDING + HEAD,
        )

    def places(self, x: float, y: float) -> list[tuple[float, float]]:
        """Return the positions of its cells, when it is at x and y."""
        if self.form is Form.SINGLE:
            return [(x, y)]
        return [
            (
                x + _PADDING + at % self.columns * (NODE.width + CELL_GAP),
                y + _PADDING + HEAD + at // self.columns * (NODE.height + CELL_GAP),
            )
            for at in range(len(self.cells))
        ]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The vertices, and at most one edge from one to another.

    Attributes:
        vertices: What is laid out.
        edges: From one vertex to another.
        back: Those of them that close a cycle, and go up.
        loops: Edges of a vertex to itself.
    """

    vertices: tuple[Vertex, ...]
    edges: Mapping[tuple[str, str], PictureEdge]
    back: frozenset[tuple[str, str]] = frozenset()
    loops: Mapping[str, PictureEdge] = field(default_factory=dict)

    @property
    def downwards(self) -> list[tuple[str, str]]:
        """The edges without cycles, each from the upper to the lower vertex."""
        return [(b, a) if (a, b) in self.back else (a, b) for a, b in self.edges]


def of_graph(nodes: Sequence[PictureNode], edges: Iterable[PictureEdge]) -> Drawn:
    """Group the steps of a graph that have the same dependencies and dependents."""
    edges = list(edges)
    before: dict[str, list[tuple[str, EdgeKind, str | None]]] = {node.key: [] for node in nodes}
    after: dict[str, set[str]] = {node.key: set() for node in nodes}
    for edge in edges:
        before[edge.after].append((edge.before, edge.kind, edge.condition))
        after[edge.before].add(edge.after)
    groups: dict[object, list[PictureNode]] = {}
    for node in nodes:
        same = (frozenset(before[node.key]), frozenset(after[node.key]))
        groups.setdefault(same, []).append(node)
    vertices = [_vertex(group, "batch") for group in groups.values()]
    home = {node.key: vertex.id for vertex in vertices for node in vertex.cells}
    drawn: dict[tuple[str, str], PictureEdge] = {}
    for edge in edges:
        drawn.setdefault((home[edge.before], home[edge.after]), edge)
    return Drawn(tuple(vertices), drawn)


def of_program(picture: RunPicture) -> Drawn:
    """Group the calls of a program: batches, and the calls between them, in order."""
    if picture.is_collapsed:
        found = [_vertex(picture.nodes, "calls by name")] if picture.nodes else []
    else:
        found = _batches(picture.nodes)
    if picture.program is not None:
        # Its key may equal that of one of its calls.
        found.insert(0, Vertex("\0program", Form.SINGLE, (picture.program,)))
    edges = {
        (upper.id, lower.id): PictureEdge(upper.id, lower.id, EdgeKind.ORDER)
        for upper, lower in pairwise(found)
    }
    return Drawn(tuple(found), edges)


def _batches(calls: Sequence[PictureNode]) -> list[Vertex]:
    batches: dict[str, list[PictureNode]] = {}
    for call in calls:
        batches.setdefault(call.batch or call.key, []).append(call)
    found: list[Vertex] = []
    for run in _sequences(list(batches.values())):
        if len(run) < _MIN_SEQUENCE:
            found += [_vertex(group, "batch") for group in run]
        else:
            cells = tuple(call for group in run for call in group)
            words = f"{count(len(cells))} calls, one after another"
            found.append(Vertex(cells[0].key, Form.SEQUENCE, cells, words))
    return found


def _sequences(groups: Sequence[list[PictureNode]]) -> list[list[list[PictureNode]]]:
    """Group consecutive batches of one call each; any other batch is its own group."""
    found: list[list[list[PictureNode]]] = []
    for before, group in zip([None, *groups], groups, strict=False):
        if before is not None and _follows(before, group):
            found[-1].append(group)
        else:
            found.append([group])
    return found


def _follows(before: Sequence[PictureNode], after: Sequence[PictureNode]) -> bool:
    """Return whether one call was made after the other had ended, as in a loop."""
    if len(before) > 1 or len(after) > 1:
        return False
    ended, called = before[0].ended_at, after[0].created_at
    return ended is not None and called is not None and ended <= called


def _vertex(cells: Sequence[PictureNode], what: str) -> Vertex:
    if len(cells) == 1:
        return Vertex(cells[0].key, Form.SINGLE, tuple(cells))
    return Vertex(cells[0].key, Form.BATCH, tuple(cells), f"{what} · {count(len(cells))}")

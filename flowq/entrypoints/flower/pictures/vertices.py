"""Groups the steps of a graph to vertices: single steps, and boxes of several.

Five steps or more with the same dependencies and dependents become ready together, so they share a
box and one edge; fewer are drawn as they are, like the arms of a diamond. A chain of eight or more
shares a box too, in which it is arranged like lines of text. Concurrent calls of a program share a
box, and so do sequential ones. A node is as wide as its name needs, within limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from math import ceil, sqrt
from typing import Final

from flowq.core.spec import StepKind
from flowq.engine.queries.graph import EdgeKind, PictureEdge, PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.layout import Size
from flowq.entrypoints.flower.pictures.svg import columns_of
from flowq.entrypoints.formatting import count

#: The size of a node, and the room that a letter of its name has; fonts differ.
NODE_HEIGHT: Final = 58.0
_NODE_WIDTHS: Final = 192.0, 320.0
_LETTER: Final = 8.3
#: What a node has beside its name: its sign, and margins; the sign of its kind; the bar of many.
_BESIDE: Final = 54.0
_MARK: Final = 18.0
#: At least, where the second line may be long: of many, of a child run, after a retry.
_MANY: Final = 244.0
_LONG: Final = 232.0
#: How far the boxes behind one of several steps reach beyond it.
BEHIND: Final = 6.0
#: Gap between the cells of a box, padding around them, height of the words above them.
CELL_GAP: Final = 18.0
_PADDING: Final = 12.0
HEAD: Final = 16.0
_MAX_COLUMNS: Final = 6
#: Minimum number of sequential calls in a box; of equal steps of a graph, and of a chain of it.
_MIN_SEQUENCE: Final = 4
_MIN_EQUAL: Final = 5
_MIN_CHAIN: Final = 8


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
    def cell(self) -> Size:
        """The size of each of its cells: that of the widest."""
        return Size(max(map(_width, self.cells)), NODE_HEIGHT)

    @property
    def columns(self) -> int:
        """The number of cells in a line."""
        many = len(self.cells)
        if self.form is Form.SEQUENCE:
            return min(many, 4 if many <= 16 else _MAX_COLUMNS)
        return many if many <= 4 else min(_MAX_COLUMNS, max(4, ceil(sqrt(many))))

    @property
    def size(self) -> Size:
        """Its size."""
        cell = self.cell
        if self.form is Form.SINGLE:
            return cell
        rows = ceil(len(self.cells) / self.columns)
        return Size(
            self.columns * (cell.width + CELL_GAP) - CELL_GAP + 2 * _PADDING,
            rows * (cell.height + CELL_GAP) - CELL_GAP + 2 * _PADDING + HEAD,
        )

    def places(self, x: float, y: float) -> list[tuple[float, float]]:
        """Return the positions of its cells, when it is at x and y."""
        if self.form is Form.SINGLE:
            return [(x, y)]
        cell = self.cell
        return [
            (
                x + _PADDING + at % self.columns * (cell.width + CELL_GAP),
                y + _PADDING + HEAD + at // self.columns * (cell.height + CELL_GAP),
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
    """Group the steps of a graph that have the same dependencies and dependents, and chains."""
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
    vertices: dict[str, Vertex] = {}
    for chain in _chains(nodes, before, after):
        words = f"{count(len(chain))} steps, one after another"
        vertices |= dict.fromkeys(
            (node.key for node in chain), Vertex(chain[0].key, Form.SEQUENCE, chain, words)
        )
    for group in groups.values():
        parts = [group] if len(group) >= _MIN_EQUAL else [[node] for node in group]
        for part in parts:
            vertex = _vertex(part, "steps in parallel")
            for node in part:
                vertices.setdefault(node.key, vertex)
    drawn: dict[tuple[str, str], PictureEdge] = {}
    for edge in edges:
        ends = vertices[edge.before].id, vertices[edge.after].id
        if ends[0] != ends[1]:
            drawn.setdefault(ends, edge)
    in_order = dict.fromkeys(vertices[node.key].id for node in nodes)
    by_id = {vertex.id: vertex for vertex in vertices.values()}
    return Drawn(tuple(by_id[name] for name in in_order), drawn)


def _chains(
    nodes: Sequence[PictureNode],
    before: Mapping[str, Sequence[tuple[str, EdgeKind, str | None]]],
    after: Mapping[str, AbstractSet[str]],
) -> list[tuple[PictureNode, ...]]:
    """Return the long chains: steps of which each has one dependency and one dependent inside."""
    by_key = {node.key: node for node in nodes}

    def continues(key: str) -> str | None:
        """Return the step that follows in the chain."""
        if len(after[key]) != 1:
            return None
        (following,) = after[key]
        same = {one for one, _, _ in before[following]}
        is_plain = all(condition is None for _, _, condition in before[following])
        return following if same == {key} and is_plain else None

    links = {node.key: continues(node.key) for node in nodes}
    inner = set(links.values())
    found = []
    for node in nodes:
        if node.key in inner:
            continue
        chain, key = [node], links[node.key]
        while key is not None:
            chain.append(by_key[key])
            key = links[key]
        if len(chain) >= _MIN_CHAIN:
            found.append(tuple(chain))
    return found


def of_program(picture: RunPicture) -> Drawn:
    """Group the calls of a program: batches, and the calls between them, in order."""
    if picture.is_collapsed:
        found = [_vertex(picture.nodes, "calls, by name")] if picture.nodes else []
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
    groups: list[list[PictureNode]] = []
    for batch in batches.values():
        if groups and _beside(groups[-1], batch):
            groups[-1] += batch
        else:
            groups.append(batch)
    found: list[Vertex] = []
    for run in _sequences(groups):
        if len(run) < _MIN_SEQUENCE:
            found += [_vertex(group, "calls in parallel") for group in run]
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


def _beside(before: Sequence[PictureNode], after: Sequence[PictureNode]) -> bool:
    """Return whether calls of two batches were all made before any of the first had ended.

    A program sends calls apart, in batches of one, that go on apart: the members of a group.
    """
    made = [call.created_at for call in after if call.created_at is not None]
    ends = [call.ended_at for call in before if call.ended_at is not None]
    return len(made) == len(after) and (not ends or max(made) < min(ends))


def _follows(before: Sequence[PictureNode], after: Sequence[PictureNode]) -> bool:
    """Return whether one call was made after the other had ended, as in a loop."""
    if len(before) > 1 or len(after) > 1:
        return False
    ended, called = before[0].ended_at, after[0].created_at
    return ended is not None and called is not None and ended <= called


def _vertex(cells: Sequence[PictureNode], what: str) -> Vertex:
    if len(cells) == 1:
        return Vertex(cells[0].key, Form.SINGLE, tuple(cells))
    return Vertex(cells[0].key, Form.BATCH, tuple(cells), f"{count(len(cells))} {what}")


def _width(node: PictureNode) -> float:
    """Return the width of a node: that of its name, within limits."""
    least, most = _NODE_WIDTHS
    if node.is_many or node.is_map:
        least = _MANY
    elif node.attempts > 1 or node.kind is StepKind.FLOW:
        least = _LONG
    beside = _BESIDE + (_MARK if node.kind is not StepKind.STEP else 0.0)
    return min(max(beside + _LETTER * columns_of(node.key), least), most)

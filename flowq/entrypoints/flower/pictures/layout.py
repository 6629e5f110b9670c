"""Computes the layout of a directed acyclic graph in layers.

The method is that of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical
System Structures", IEEE Trans. SMC 11, 1981), in the steps of Gansner, Koutsofios, North and Vo
("A Technique for Drawing Directed Graphs", IEEE Trans. Softw. Eng. 19, 1993):

    layers       by the longest path, so that every edge goes down
    dummies      an edge over several layers passes each of them in a place of its own
    order        within a layer by the barycentre of the neighbours, while crossings get fewer
    coordinates  near the mean of the neighbours, at a distance from each other: that is isotonic
                 regression, which "pool adjacent violators" solves exactly for a layer

Pure, and the same for the same input.
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Final, TypeAlias

Edge: TypeAlias = tuple[str, str]
Point: TypeAlias = tuple[float, float]

#: Maximum dummies; with more of them, long edges are straight. Such a picture is unreadable anyway.
_MAX_DUMMIES: Final = 4000
_ORDER_ROUNDS: Final = 8
_PLACE_ROUNDS: Final = 6
_DUMMY_WIDTH: Final = 10.0
#: Weight that keeps long edges straight.
_DUMMY_WEIGHT: Final = 4.0


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a box."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class NodeBox:
    """Where a box is: its left upper corner, its size, and its layer from 0."""

    x: float
    y: float
    width: float
    height: float
    layer: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A computed layout.

    Attributes:
        places: Positions of the boxes.
        routes: Points of each edge, from the lower side of one box to the upper side of the other.
        width: Of the whole.
        height: Of the whole.
    """

    places: Mapping[str, NodeBox]
    routes: Mapping[Edge, tuple[Point, ...]]
    width: float
    height: float


@dataclass(slots=True)
class _Layers:
    """Boxes and dummies, by number, in their layers; boxes come first."""

    layer: list[int]
    width: list[float]
    weight: list[float]
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    order: list[list[int]] = field(default_factory=list)
    chains: dict[Edge, list[int]] = field(default_factory=dict)

    def join(self, upper: int, lower: int) -> None:
        self.below[upper].append(lower)
        self.above[lower].append(upper)

    def dummy(self, layer: int) -> int:
        self.layer.append(layer)
        self.width.append(_DUMMY_WIDTH)
        self.weight.append(_DUMMY_WEIGHT)
        self.above.append([])
        self.below.append([])
        return len(self.layer) - 1


def layered(
    sizes: Mapping[str, Size],
    edges: Sequence[Edge],
    *,
    gap: float = 28.0,
    drop: float = 40.0,
    margin: float = 12.0,
) -> Layout:
    """Place boxes in layers.

    Args:
        sizes: The boxes; ties keep this order.
        edges: From a box to one that comes after it.
        gap: Distance between boxes of a layer.
        drop: Minimum distance between layers.
        margin: Width of the margin.

    Raises:
        graphlib.CycleError: the edges form a cycle.
        KeyError: an edge names an unknown box.
    """
    wanted = list(dict.fromkeys(edges))
    layers = _with_dummies(sizes, wanted, _longest_paths(sizes, wanted))
    _reduce_crossings(layers)
    xs = _coordinates(layers, gap)
    left = min((x - w / 2 for x, w in zip(xs, layers.width, strict=True)), default=0.0)
    xs = [x - left + margin for x in xs]
    tops, bottoms = _rows(layers, list(sizes.values()), xs, drop, margin)
    places = {
        key: NodeBox(
            xs[number] - size.width / 2,
            (tops[at] + bottoms[at] - size.height) / 2,
            size.width,
            size.height,
            at,
        )
        for number, (key, size) in enumerate(sizes.items())
        for at in (layers.layer[number],)
    }
    routes = {
        edge: _route(places, edge, [(xs[n], layers.layer[n]) for n in chain], tops, bottoms)
        for edge, chain in layers.chains.items()
    }
    right = max((x + w / 2 for x, w in zip(xs, layers.width, strict=True)), default=0.0)
    return Layout(places, routes, right + margin, (bottoms[-1] if bottoms else 0.0) + margin)


def _longest_paths(sizes: Mapping[str, Size], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the layer of each box: below all its predecessors."""
    before: dict[str, list[str]] = {key: [] for key in sizes}
    after: dict[str, list[str]] = {key: [] for key in sizes}
    for upper, lower in edges:
        before[lower].append(upper)
        after[upper].append(lower)
    layer: dict[str, int] = {}
    for key in TopologicalSorter(before).static_order():
        layer[key] = max((layer[one] + 1 for one in before[key]), default=0)
    for key in sizes:
        # A box without predecessors is right above its first successor, not at the top.
        if not before[key] and after[key]:
            layer[key] = min(layer[one] for one in after[key]) - 1
    return layer


def _with_dummies(
    sizes: Mapping[str, Size], edges: Sequence[Edge], layer: Mapping[str, int]
) -> _Layers:
    numbers = {key: number for number, key in enumerate(sizes)}
    layers = _Layers(
        [layer[key] for key in sizes], [size.width for size in sizes.values()], [1.0] * len(sizes)
    )
    layers.above = [[] for _ in sizes]
    layers.below = [[] for _ in sizes]
    spans = {edge: layer[edge[1]] - layer[edge[0]] for edge in edges}
    too_many = sum(spans.values()) - len(spans) > _MAX_DUMMIES
    for upper, lower in edges:
        passed = () if too_many else range(layer[upper] + 1, layer[lower])
        chain = [layers.dummy(at) for at in passed]
        layers.chains[upper, lower] = chain
        if spans[upper, lower] == 1 or chain:
            for one, next_one in pairwise([numbers[upper], *chain, numbers[lower]]):
                layers.join(one, next_one)
    layers.order = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for number, at in enumerate(layers.layer):
        layers.order[at].append(number)
    return layers


# --- the order within layers ----------------------------------------------------------------------


def _reduce_crossings(layers: _Layers) -> None:
    """Order each layer by the neighbours above, then below, and keep the best order found."""
    best, fewest = [list(row) for row in layers.order], _crossings(layers)
    for turn in range(_ORDER_ROUNDS):
        if not fewest:
            break
        down = turn % 2 == 0
        rows = layers.order if down else layers.order[::-1]
        beside = layers.above if down else layers.below
        for fixed, row in pairwise(rows):
            places = {number: place for place, number in enumerate(fixed)}
            own = {number: float(place) for place, number in enumerate(row)}
            for number in row:
                near = [places[one] for one in beside[number] if one in places]
                if near:
                    own[number] = sum(near) / len(near)
            row.sort(key=own.__getitem__)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(row) for row in layers.order], crossings
    layers.order = best


def _crossings(layers: _Layers) -> int:
    found = 0
    for upper, lower in pairwise(layers.order):
        places = {number: place for place, number in enumerate(lower)}
        passed: list[int] = []
        for number in upper:
            ends = sorted(places[one] for one in layers.below[number])
            for end in ends:
                found += len(passed) - bisect_right(passed, end)
            for end in ends:
                insort(passed, end)
    return found


# --- coordinates ----------------------------------------------------------------------------------


def _coordinates(layers: _Layers, gap: float) -> list[float]:
    """Return the x coordinate of the middle of each box and dummy."""
    xs = [0.0] * len(layers.layer)
    for row in layers.order:
        _spread(layers, row, [0.0] * len(row), gap, xs)
    for turn in range(2 * _PLACE_ROUNDS + 1):
        last = turn == 2 * _PLACE_ROUNDS
        down = turn % 2 == 0
        for row in layers.order if down else layers.order[::-1]:
            wanted = []
            for number in row:
                above, below = layers.above[number], layers.below[number]
                near = [*above, *below] if last else (above if down else below)
                wanted.append(sum(xs[one] for one in near) / len(near) if near else xs[number])
            _spread(layers, row, wanted, gap, xs)
    return xs


def _spread(
    layers: _Layers, row: Sequence[int], wanted: Sequence[float], gap: float, xs: list[float]
) -> None:
    """Return positions as near to the desired ones as the order and the gaps allow.

    With the gaps subtracted, each position must be at least that of its left neighbour. The sum of
    squared distances is minimal when neighbours that violate this are pooled.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (layers.width[left] + layers.width[right]) / 2 + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of members
    for number, want, offset in zip(row, wanted, offsets, strict=True):
        mean, weight, members = want - offset, layers.weight[number], 1
        while pools and pools[-1][0] > mean:
            other, more, others = pools.pop()
            mean = (mean * weight + other * more) / (weight + more)
            weight, members = weight + more, members + others
        pools.append((mean, weight, members))
    place = 0
    for mean, _, members in pools:
        for _ in range(members):
            xs[row[place]] = mean + offsets[place]
            place += 1


def _rows(
    layers: _Layers, sizes: Sequence[Size], xs: Sequence[float], drop: float, margin: float
) -> tuple[list[float], list[float]]:
    """Return the y range of each layer; edges over a long horizontal distance get more height."""
    tops: list[float] = []
    bottoms: list[float] = []
    y = margin
    for row in layers.order:
        height = max((sizes[number].height for number in row if number < len(sizes)), default=0.0)
        tops.append(y)
        bottoms.append(y + height)
        aside = max(
            (abs(xs[number] - xs[one]) for number in row for one in layers.below[number]),
            default=0.0,
        )
        y += height + drop + min(aside * 0.06, drop)
    return tops, bottoms


def _route(
    places: Mapping[str, NodeBox],
    edge: Edge,
    dummies: Sequence[tuple[float, int]],
    tops: Sequence[float],
    bottoms: Sequence[float],
) -> tuple[Point, ...]:
    upper, lower = places[edge[0]], places[edge[1]]
    begin, end = upper.x + upper.width / 2, lower.x + lower.width / 2
    points = [(begin, upper.y + upper.height), (begin, bottoms[upper.layer])]
    for x, at in dummies:
        points += [(x, tops[at]), (x, bottoms[at])]
    points += [(end, tops[lower.layer]), (end, lower.y)]
    return tuple(dict.fromkeys((round(x, 2), round(y, 2)) for x, y in points))

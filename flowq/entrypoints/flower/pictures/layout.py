"""Computes the layout of a directed acyclic graph in layers.

The method is that of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical
System Structures", IEEE Trans. SMC 11, 1981), in the steps of Gansner, Koutsofios, North and Vo
("A Technique for Drawing Directed Graphs", IEEE Trans. Softw. Eng. 19, 1993):

    layers       by the longest path, so that every edge goes down
    dummies      an edge over several layers passes each of them in a place of its own
    order        within a layer, so that few edges cross: see `ordering`
    coordinates  near the mean of the neighbours, at a distance from each other: that is isotonic
                 regression, which "pool adjacent violators" solves exactly for a layer
    long edges   straight for as many layers as there is room

Pure, and the same for the same input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from math import inf
from typing import Final, TypeAlias

from flowq.entrypoints.flower.pictures.ordering import Layers, reduce_crossings

Edge: TypeAlias = tuple[str, str]
Point: TypeAlias = tuple[float, float]

#: Maximum dummies; with more of them, long edges are straight. Such a picture is unreadable anyway.
_MAX_DUMMIES: Final = 4000
_PLACE_ROUNDS: Final = 6


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
    reduce_crossings(layers)
    xs = _coordinates(layers, gap)
    _straighten(layers, xs, gap, boxes=len(sizes))
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


def sideways(
    sizes: Mapping[str, Size],
    edges: Sequence[Edge],
    *,
    gap: float,
    drop: float,
    margin: float = 12.0,
) -> Layout:
    """Place boxes in layers from left to right; routes go from the right side to the left side.

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
    turned = {key: Size(size.height, size.width) for key, size in sizes.items()}
    found = layered(turned, edges, gap=gap, drop=drop, margin=margin)
    return Layout(
        {key: NodeBox(p.y, p.x, p.height, p.width, p.layer) for key, p in found.places.items()},
        {edge: tuple((y, x) for x, y in route) for edge, route in found.routes.items()},
        width=found.height,
        height=found.width,
    )


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
) -> Layers:
    numbers = {key: number for number, key in enumerate(sizes)}
    layers = Layers(
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


# --- coordinates ----------------------------------------------------------------------------------


def _coordinates(layers: Layers, gap: float) -> list[float]:
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
    layers: Layers, row: Sequence[int], wanted: Sequence[float], gap: float, xs: list[float]
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


def _straighten(layers: Layers, xs: list[float], gap: float, *, boxes: int) -> None:
    """Give the dummies of an edge the same x, for as many layers in a row as have room there."""
    place = {number: at for row in layers.order for at, number in enumerate(row)}

    def room(number: int) -> tuple[float, float]:
        row, at = layers.order[layers.layer[number]], place[number]
        low, high = -inf, inf
        if at > 0:
            low = xs[row[at - 1]] + (layers.width[row[at - 1]] + layers.width[number]) / 2 + gap
        if at + 1 < len(row):
            high = xs[row[at + 1]] - (layers.width[row[at + 1]] + layers.width[number]) / 2 - gap
        return min(low, xs[number]), max(high, xs[number])

    def settle(run: Sequence[int], low: float, high: float) -> None:
        ends = [
            xs[one] for one in (layers.above[run[0]][0], layers.below[run[-1]][0]) if one < boxes
        ]
        wanted = ends[0] if ends else sum(xs[one] for one in run) / len(run)
        for number in run:
            xs[number] = min(max(wanted, low), high)

    for chain in layers.chains.values():
        run: list[int] = []
        low, high = -inf, inf
        for number in chain:
            least, most = room(number)
            if run and max(low, least) > min(high, most):
                settle(run, low, high)
                run, low, high = [], -inf, inf
            run.append(number)
            low, high = max(low, least), min(high, most)
        if run:
            settle(run, low, high)


def _rows(
    layers: Layers, sizes: Sequence[Size], xs: Sequence[float], drop: float, margin: float
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

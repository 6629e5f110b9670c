"""The order of boxes within their layers, so that few edges cross.

Sweeps down and up order each layer by the barycentre of its neighbours in the layer before. After
each sweep, neighbours within a layer change places while that removes crossings ("transpose" in
Gansner, Koutsofios, North and Vo). The best order of all sweeps is kept. A small graph is also
begun from shuffled orders, of which the first, the given one, wins ties.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final, TypeAlias

_ROUNDS: Final = 8
#: With more boxes and dummies, neighbours do not change places: it would take a second.
_MAX_TRANSPOSED: Final = 2500
_MAX_PASSES: Final = 10
#: A graph of at most this many boxes and dummies is begun from this many orders.
_FEW: Final = 90
_STARTS: Final = 12
_DUMMY_WIDTH: Final = 10.0
#: Weight that keeps long edges straight.
_DUMMY_WEIGHT: Final = 4.0

_Rows: TypeAlias = list[list[int]]


@dataclass(slots=True)
class Layers:
    """Boxes and dummies, by number, in their layers; boxes come first.

    Attributes:
        layer: The layer of each.
        width: The width of each.
        weight: How much each wants to be where its neighbours are.
        above: The neighbours of each in the layer above.
        below: The neighbours of each in the layer below.
        order: The numbers of each layer, from left to right.
        chains: The dummies of each edge.
    """

    layer: list[int]
    width: list[float]
    weight: list[float]
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    order: _Rows = field(default_factory=list)
    chains: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def join(self, upper: int, lower: int) -> None:
        """Add an edge between two layers that follow each other."""
        self.below[upper].append(lower)
        self.above[lower].append(upper)

    def dummy(self, layer: int) -> int:
        """Add a place for an edge that passes a layer; return its number."""
        self.layer.append(layer)
        self.width.append(_DUMMY_WIDTH)
        self.weight.append(_DUMMY_WEIGHT)
        self.above.append([])
        self.below.append([])
        return len(self.layer) - 1


def reduce_crossings(layers: Layers) -> None:
    """Order each layer so that few edges cross."""
    first = layers.order
    best, fewest = first, crossings(layers)
    many = len(layers.layer)
    for start in range(_STARTS if many <= _FEW else 1):
        layers.order = _shuffled(first, start)
        for turn in range(_ROUNDS):
            if not fewest:
                break
            _sweep(layers, down=turn % 2 == 0)
            if many <= _MAX_TRANSPOSED:
                _transpose(layers)
            found = crossings(layers)
            if found < fewest:
                best, fewest = [list(row) for row in layers.order], found
    layers.order = best


def crossings(layers: Layers) -> int:
    """Return how many pairs of edges cross."""
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


def _shuffled(rows: _Rows, start: int) -> _Rows:
    """Return another order to begin with; the same one for the same number, 0 for the given one."""
    copied = [list(row) for row in rows]
    if start:
        dice = Random(start)  # noqa: S311 - it hides nothing
        for row in copied:
            dice.shuffle(row)
    return copied


def _sweep(layers: Layers, *, down: bool) -> None:
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


def _transpose(layers: Layers) -> None:
    place = [0] * len(layers.layer)
    for row in layers.order:
        for at, number in enumerate(row):
            place[number] = at
    for _ in range(_MAX_PASSES):
        has_improved = False
        for row in layers.order:
            for at in range(len(row) - 1):
                left, right = row[at], row[at + 1]
                gain = sum(
                    _crossed(near[left], near[right], place)
                    - _crossed(near[right], near[left], place)
                    for near in (layers.above, layers.below)
                )
                if gain > 0:
                    row[at], row[at + 1] = right, left
                    place[left], place[right] = at + 1, at
                    has_improved = True
        if not has_improved:
            return


def _crossed(of_left: Sequence[int], of_right: Sequence[int], place: Sequence[int]) -> int:
    """Return how many edges of two neighbours in a layer cross."""
    return sum(place[one] > place[other] for one in of_left for other in of_right)

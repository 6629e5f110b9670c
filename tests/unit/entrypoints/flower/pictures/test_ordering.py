"""The order within layers: never worse than the given one, and without needless crossings."""

from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.entrypoints.flower.pictures.ordering import Layers, crossings, reduce_crossings


def layers_of(rows: list[list[int]], edges: list[tuple[int, int]]) -> Layers:
    many = sum(map(len, rows))
    layer = [at for at, row in enumerate(rows) for _ in row]
    found = Layers(layer, [1.0] * many, [1.0] * many)
    found.above = [[] for _ in range(many)]
    found.below = [[] for _ in range(many)]
    found.order = [list(row) for row in rows]
    for upper, lower in edges:
        found.join(upper, lower)
    return found


@st.composite
def layered_graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[tuple[int, int]]]:
    numbers = iter(range(1000))
    many = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    rows = [[next(numbers) for _ in range(size)] for size in many]
    pairs = [(a, b) for upper, lower in pairwise(rows) for a in upper for b in lower]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=25, unique=True)) if pairs else []
    return rows, edges


def counted(layers: Layers) -> int:
    """Count the crossings pair by pair."""
    place = {number: at for row in layers.order for at, number in enumerate(row)}
    found = 0
    for row in layers.order:
        edges = [(place[upper], place[lower]) for upper in row for lower in layers.below[upper]]
        found += sum((a - c) * (b - d) < 0 for a, b in edges for c, d in edges) // 2
    return found


@settings(max_examples=60)
@given(layered_graphs())
def test_order_is_not_worse_and_keeps_every_box(
    graph: tuple[list[list[int]], list[tuple[int, int]]],
) -> None:
    layers = layers_of(*graph)
    before = crossings(layers)
    assert before == counted(layers)

    reduce_crossings(layers)

    assert crossings(layers) <= before
    assert [set(row) for row in layers.order] == [set(row) for row in graph[0]]


def test_small_graph_has_as_few_crossings_as_there_can_be() -> None:
    rows = [[0, 1, 2, 3], [4, 5, 6]]
    edges = [(0, 5), (3, 5), (1, 4), (2, 4), (0, 4), (2, 6), (3, 6), (0, 6)]
    layers = layers_of(rows, edges)

    reduce_crossings(layers)

    assert crossings(layers) == min(
        crossings(layers_of([list(upper), list(lower)], edges))
        for upper in permutations(rows[0])
        for lower in permutations(rows[1])
    )

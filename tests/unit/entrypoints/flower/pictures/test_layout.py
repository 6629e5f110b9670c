"""Boxes in layers: what must hold for any graph, and what is nice for known ones."""

from graphlib import CycleError
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowq.entrypoints.flower.pictures.layout import Edge, Layout, Size, layered, sideways

BOX = Size(100, 40)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Size], list[Edge]]:
    """Any graph without a circle, in any order, with boxes of any size."""
    many = draw(st.integers(0, 25))
    sizes = draw(
        st.lists(
            st.builds(Size, st.floats(1, 400), st.floats(1, 200)), min_size=many, max_size=many
        )
    )
    pairs = list(combinations(range(many), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=60)) if pairs else []
    names = draw(st.permutations([f"n{at}" for at in range(many)]))
    return (
        {f"n{at}": sizes[at] for at in range(many)},
        [(names[before], names[after]) for before, after in chosen],
    )


def overlap(layout: Layout) -> list[tuple[str, str]]:
    def apart(a: str, b: str) -> bool:
        p, q = layout.places[a], layout.places[b]
        e = 1e-6
        return (
            p.x + p.width <= q.x + e
            or q.x + q.width <= p.x + e
            or p.y + p.height <= q.y + e
            or q.y + q.height <= p.y + e
        )

    return [(a, b) for a, b in combinations(layout.places, 2) if not apart(a, b)]


@settings(max_examples=150)
@given(graphs())
def test_edges_go_down_and_boxes_do_not_overlap(given: tuple[dict[str, Size], list[Edge]]) -> None:
    sizes, edges = given

    layout = layered(sizes, edges)

    assert list(layout.places) == list(sizes)
    assert overlap(layout) == []
    assert set(layout.routes) == set(edges)
    for upper, lower in edges:
        above, below = layout.places[upper], layout.places[lower]
        assert above.layer < below.layer
        assert above.y + above.height < below.y
        route = layout.routes[upper, lower]
        assert all(y1 <= y2 for (_, y1), (_, y2) in pairwise(route))
        assert route[0] == pytest.approx((above.x + above.width / 2, above.y + above.height), 1e-3)
        assert route[-1] == pytest.approx((below.x + below.width / 2, below.y), abs=0.02)
    for place in layout.places.values():
        assert place.x >= 0 <= place.y
        assert place.x + place.width <= layout.width
        assert place.y + place.height <= layout.height


@settings(max_examples=30)
@given(graphs())
def test_same_graph_has_the_same_picture(given: tuple[dict[str, Size], list[Edge]]) -> None:
    assert layered(*given) == layered(*given)


def middle(layout: Layout, key: str) -> float:
    place = layout.places[key]
    return place.x + place.width / 2


def test_diamond_is_symmetric() -> None:
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]

    layout = layered(dict.fromkeys("abcd", BOX), edges)

    assert [layout.places[key].layer for key in "abcd"] == [0, 1, 1, 2]
    assert middle(layout, "a") == pytest.approx(middle(layout, "d"))
    assert middle(layout, "b") + middle(layout, "c") == pytest.approx(2 * middle(layout, "a"))


def test_edge_over_several_layers_passes_beside_what_is_between() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]

    layout = layered(dict.fromkeys("abcd", BOX), edges)

    for key in "bc":
        place = layout.places[key]
        beside = [x for x, y in layout.routes["a", "d"] if place.y <= y <= place.y + place.height]
        assert beside
        assert all(not place.x <= x <= place.x + place.width for x in beside)


def test_crossings_that_need_not_be_are_taken_out() -> None:
    edges = [("a", "z"), ("b", "y"), ("c", "x")]

    layout = layered(dict.fromkeys("abcxyz", BOX), edges)

    upper = sorted("abc", key=lambda key: layout.places[key].x)
    lower = sorted("xyz", key=lambda key: layout.places[key].x)
    assert [dict(edges)[key] for key in upper] == lower


def test_root_is_right_above_its_dependent() -> None:
    edges = [("a", "b"), ("b", "c"), ("late", "c")]

    layout = layered(dict.fromkeys(["a", "late", "b", "c"], BOX), edges)

    assert layout.places["late"].layer == layout.places["b"].layer == 1


def test_long_edge_is_straight_where_there_is_room() -> None:
    names = [f"n{i}" for i in range(8)]
    edges = [*pairwise(names), (names[0], names[-1])]

    layout = layered(dict.fromkeys(names, BOX), edges)

    bends = {x for x, _ in layout.routes[names[0], names[-1]]}
    assert len(bends) <= 3, "out of its box, beside the others, and in"


@settings(max_examples=40)
@given(graphs())
def test_sideways_is_the_same_layout_turned(given: tuple[dict[str, Size], list[Edge]]) -> None:
    sizes, edges = given

    layout = sideways(sizes, edges, gap=20, drop=60)

    assert overlap(layout) == []
    for left, right in edges:
        before, after = layout.places[left], layout.places[right]
        route = layout.routes[left, right]
        assert route[0] == pytest.approx(
            (before.x + before.width, before.y + before.height / 2), abs=0.02
        )
        assert route[-1] == pytest.approx((after.x, after.y + after.height / 2), abs=0.02)
    for key, place in layout.places.items():
        assert (place.width, place.height) == pytest.approx((sizes[key].width, sizes[key].height))


def test_circle_is_refused() -> None:
    with pytest.raises(CycleError):
        layered(dict.fromkeys("ab", BOX), [("a", "b"), ("b", "a")])


def test_nothing_has_a_picture_too() -> None:
    assert layered({}, []).places == {}

"""What differs between two values: each place once, and equal values nowhere."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.entrypoints.flower.pages.compare import Difference, differences

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_values_differ_somewhere_unless_they_are_equal(left: Any, right: Any) -> None:
    found = list(differences(left, right))

    assert not list(differences(left, left))
    assert bool(found) == (repr_of(left) != repr_of(right))
    back = list(differences(right, left))
    assert {(one.left, one.right) for one in found if _is_plain(one)} == {
        (one.right, one.left) for one in back if _is_plain(one)
    }


def _is_plain(one: Difference) -> bool:
    return not isinstance(one.left, list | dict) and not isinstance(one.right, list | dict)


def repr_of(value: Any) -> Any:
    """A form in which 1 is not True, and the order of keys does not count."""
    if isinstance(value, dict):
        return {"dict": {key: repr_of(inner) for key, inner in value.items()}}
    if isinstance(value, list):
        return [repr_of(inner) for inner in value]
    return repr(value)


@pytest.mark.parametrize(
    "left, right, place",
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]"),
        ({"a": 1}, {"a": 1, "b": None}, "b"),
        ({"a": 1}, {"a": True}, "a"),
        ([1], [1, 2], "[1]"),
        (1, 2, ""),
    ],
)
def test_place_is_named(left: Any, right: Any, place: str) -> None:
    [one] = differences(left, right)

    assert one.place == place

"""What differs between two values: each place once, and equal values nowhere."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.states import StepState
from flowq.engine.model.rows import StepView
from flowq.entrypoints.flower.pages.compare import Difference, differences, pairs

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
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


def step_of(key: str, began: int | None, ended: int | None, **more: Any) -> StepView:
    facts: dict[str, Any] = dict.fromkeys(
        ("map_size", "execution_time_ms", "worker", "error_type", "error_message", "inputs")
    )
    at = [None if one is None else BEGIN + timedelta(seconds=one) for one in (began, ended)]
    facts |= {"key": key, "name": key, "order": 0, "status": StepState.COMPLETED, "counts": {}}
    facts |= {"attempts": 1, "recoveries": 0, "started_at": at[0], "completed_at": at[1]}
    return StepView(**{**facts, "tokens": 0, "cost": Decimal(0), "metadata": {}, **more})


def test_time_differs_only_where_both_have_ended() -> None:
    left = [step_of("slow", 0, 5), step_of("open", 0, 5), step_of("reused", 0, 5)]
    running = step_of("open", 0, None, status=StepState.RUNNING)
    right = [running, step_of("reused", None, 9, attempts=0, hits=1), step_of("slow", 0, 9)]

    slow, *others = pairs(left, right, reruns=[2])

    assert (slow.key, slow.longer, slow.differs) == ("slow", timedelta(seconds=4), False)
    assert [(one.key, one.longer) for one in others] == [
        ("open", timedelta(0)),
        ("reused", timedelta(0)),
    ]
    assert [(one.differs, set(one.reused)) for one in others] == [(True, set()), (False, {2})]

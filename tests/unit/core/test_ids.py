"""Ids: what derives from one another, and what stands between two of them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core import ids
from flowq.core.ids import RunId

MOMENT = datetime(2026, 3, 1, 12, 30, 0, 250_000, UTC)
RUN = RunId(UUID(int=ids.earliest_id(MOMENT).int | 7 << 76 | 2 << 62 | 77))


def test_derived_ids_keep_the_moment_of_their_run_and_are_like_no_other() -> None:
    node = ids.node_id(RUN, "fetch")
    found = [node, ids.item_id(node, 0), ids.item_id(node, 1), ids.child_run_id(node)]

    first, last = ids.ids_of_same_moment(RUN)
    assert all(first <= one <= last for one in found)
    assert all(one.version == 7 for one in found)
    assert 5 == len({RUN, *found})
    assert node == ids.node_id(RUN, "fetch")


def test_moments_are_adjacent() -> None:
    first, last = ids.ids_of_same_moment(RUN)

    assert ids.earliest_id(MOMENT) == first
    assert ids.earliest_id(MOMENT.replace(microsecond=251_000)).int == last.int + 1


@given(st.uuids(), st.integers(1, 36))
def test_id_is_among_those_with_its_prefix(one: UUID, length: int) -> None:
    text = str(one)[:length]

    span = ids.ids_with_prefix(text.upper())

    assert span is not None
    assert span[0] <= one <= span[1]
    assert str(span[0]).startswith(text.rstrip("-"))
    assert str(span[1]).startswith(text.rstrip("-"))


@pytest.mark.parametrize("text", ["", "-", "0g", "failed", "0" * 33, "%"])
def test_other_text_begins_no_id(text: str) -> None:
    assert ids.ids_with_prefix(text) is None

"""The grid of a map: each item is one cell, in the colour of its state, and 5,000 are small."""

import re

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.states import StepState
from flowq.entrypoints.flower.pictures.items import COLUMNS, item_grid

states = st.dictionaries(st.integers(0, 350), st.sampled_from(StepState), min_size=1)


def cells(svg: str, first: int) -> dict[int, str]:
    """Return the state of each index, as a browser would draw the paths."""
    found: dict[int, str] = {}
    for state, path in re.findall(r'data-status="(\w+)" d="([^"]+)"', svg):
        x = y = 0
        for right, down, length in re.findall(r"m(-?\d+) (\d+)h(\d+)", path):
            x, y = x + int(right), y + int(down)
            for cell in range(int(length)):
                assert x + cell < COLUMNS
                assert found.setdefault(first + y * COLUMNS + x + cell, state) == state
            x += int(length)
    return found


@given(states, st.sampled_from([0, 5000]))
def test_every_item_is_one_cell_of_its_state(given: dict[int, StepState], first: int) -> None:
    listed = sorted((first + index, state) for index, state in given.items())

    assert dict(listed) == cells(item_grid("m", listed, first=first), first)


def test_picture_of_5000_items_is_small_whatever_their_states() -> None:
    ends = (StepState.COMPLETED, StepState.FAILED)
    svg = item_grid("<m>", [(index, ends[index % 2]) for index in range(5000)], first=0)

    assert len(svg) < 50_000
    assert 'aria-label="Items of &lt;m&gt;: 2,500 completed, 2,500 failed"' in svg
    assert item_grid("m", [], first=0) == ""

"""The grid of the items of a map: a cell is an item, its colour the state.

Cells of one state are one path, and neighbours one line of it, dashed into cells: a cell costs six
bytes at most, so that 5,000 items are a small picture. `items.js` names the cell under the pointer
and opens its item; without it the rows below the grid do that.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from flowq.core.states import StepState
from flowq.entrypoints.flower.pictures.svg import safe
from flowq.entrypoints.formatting import count

#: Cells of a line: the hundreds of an index are its line.
COLUMNS: Final = 100
#: Pixels of a cell, where there is room.
_CELL: Final = 10


def item_grid(key: str, states: Sequence[tuple[int, StepState]], *, first: int) -> str:
    """Return the states of items as an SVG picture; an index without a state is left empty.

    Args:
        key: The key of the map.
        states: Index and state of each item, by index.
        first: The index of the first cell.
    """
    if not states:
        return ""
    lines = (states[-1][0] - first) // COLUMNS + 1
    width = min(COLUMNS, states[-1][0] - first + 1)
    numbers = Counter(state for _, state in states)
    said = ", ".join(f"{count(numbers[one])} {one}" for one in StepState if numbers[one])
    paths = "".join(
        f'<path data-status="{state}" d="{_path(states, state, first)}">'
        f"<title>{count(number)} {state}</title></path>"
        for state, number in numbers.items()
    )
    return (
        f'<svg class="flowq-cells" role="img" aria-label="Items of {safe(key)}: {said}" '
        f'data-first="{first}" viewBox="0 0 {width} {lines}" '
        f'width="{width * _CELL}" height="{lines * _CELL}">'
        f'<g transform="translate(.1 .5)">{paths}</g></svg>'
    )


def _path(states: Sequence[tuple[int, StepState]], wanted: StepState, first: int) -> str:
    """Return the cells of one state as lines from left to right, each relative to the last one."""
    cells = [index - first for index, state in states if state is wanted]
    drawn, at_x, at_y = [], 0, 0
    # Neighbours in a line have the same difference to their rank.
    for _, group in groupby(enumerate(cells), lambda one: (one[1] - one[0], one[1] // COLUMNS)):
        run = [cell for _, cell in group]
        y, x = divmod(run[0], COLUMNS)
        drawn.append(f"m{x - at_x} {y - at_y}h{len(run)}")
        at_x, at_y = x + len(run), y
    return "".join(drawn)

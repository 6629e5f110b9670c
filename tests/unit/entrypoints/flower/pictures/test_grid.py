"""The grid of a flow: what a cell says and where it leads, and bars as wide as its columns."""

import re
from decimal import Decimal
from html import unescape
from typing import Any

from flowq.core.states import RunState, StepState
from flowq.engine.queries.flow_page import FlowGrid, GridCell, GridRun
from flowq.entrypoints.flower.page import STATIC
from flowq.entrypoints.flower.pictures.grid import COLUMN, grid_rows, trend
from tests.contract.records.queries.test_run_page import BEGAN

A: Any = "run-a"
B: Any = "run-b"
GRID = FlowGrid(
    ("load<b>", "call"),
    (
        GridRun(A, RunState.COMPLETED, BEGAN, 1500, Decimal(2), 1, {}),
        GridRun(
            B,
            RunState.RUNNING,
            BEGAN,
            None,
            Decimal(0),
            0,
            {
                "load<b>": GridCell(StepState.FAILED, 1, "load<b>", 20),
                "call": GridCell(StepState.WAITING, 3, None, None),
            },
        ),
    ),
)


def address(*parts: Any) -> str:
    return "/".join(map(str, parts))


def test_a_cell_says_its_state_and_leads_to_its_step() -> None:
    rows = grid_rows(GRID, address)
    assert "<b>" not in rows.body
    links = re.findall(r'href="([^"]+)" title="([^"]+)" aria-label="\2">(.)<', unescape(rows.body))
    assert links == [
        ("flow-step/run-b/load<b>", "load<b>: failed, 20 ms", "✗"),
        ("flow-run-tab/run-b/steps?text=call", "call: waiting, 3 calls", "◌"),
    ]
    assert 2 == rows.body.count("<td></td>")
    assert 'href="flow-run/run-a"' in rows.head


def test_bars_are_as_wide_as_the_columns() -> None:
    bars = trend(GRID, "Duration")
    assert f'width="{2 * COLUMN}"' in bars
    assert "the oldest first: 1.5 s, not finished" in bars
    assert f".flowq-grid td {{ width: {COLUMN}px" in (STATIC / "grid.css").read_text()
    assert "$2.00 + 1 unknown" in trend(GRID, "Cost")
    assert "" == trend(FlowGrid((), GRID.runs[1:]), "Cost")

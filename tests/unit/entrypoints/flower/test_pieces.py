"""Small parts of pages."""

from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest
import uuid_utils.compat as uuids

from flowq.core.ids import RunId, node_id
from flowq.entrypoints.flower import pieces
from flowq.entrypoints.flower.run_asked import Asked
from flowq.entrypoints.flower.run_tabs import ROWS, Turn, turned


def test_task_of_flowq_is_known_by_its_ids() -> None:
    run_id = RunId(uuids.uuid7())
    own = SimpleNamespace(uuid=str(node_id(run_id, "a")), root_id=str(run_id))

    assert run_id == pieces.run_of_task(own)


@pytest.mark.parametrize(
    "own, root",
    [
        (uuid4(), uuid4()),
        (uuids.uuid7(), uuid4()),
        (uuid4(), uuids.uuid7()),
        (node_id(RunId(uuids.uuid7()), "a"), uuids.UUID("01900000-0000-7000-8000-000000000000")),
        ("advance-x", uuids.uuid7()),
        (uuids.uuid7(), None),
    ],
)
def test_task_of_others_has_no_run(own: object, root: object) -> None:
    assert pieces.run_of_task(SimpleNamespace(uuid=str(own), root_id=root)) is None
    assert pieces.run_of_task(SimpleNamespace(uuid=str(own))) is None


def test_state_is_told_by_sign_and_name() -> None:
    assert "✗" in pieces.badge("failed")
    assert ">failed<" in pieces.badge("failed")
    assert "data-cell" not in pieces.badge("failed", cell=False)


@pytest.mark.parametrize(
    "cost, unknown, calls, said",
    [
        ("0.5", 0, 3, "$0.5000"),
        ("0", 0, 0, "$0"),
        ("0", 2, 2, "unknown"),
        ("0.5", 2, 3, "$0.5000 + 2 unknown"),
        ("0", 1, 2, "$0 + 1 unknown"),
    ],
)
def test_unknown_cost_is_not_called_nothing(cost: str, unknown: int, calls: int, said: str) -> None:
    assert said == pieces.paid(Decimal(cost), unknown, calls)


def test_share_is_of_a_bar() -> None:
    assert [0.0, 33.3, 100.0, 0.0] == [
        pieces.share(*pair) for pair in ((0, 9), (1, 3), (7, 5), (1, 0))
    ]


def test_json_is_cut_to_what_can_be_read() -> None:
    text = pieces.as_json({str(number): "x" * 1000 for number in range(1000)})

    assert len(text) < 5000
    assert "1,000 characters" in text


@pytest.mark.parametrize(
    "found, asked, rows, turn",
    [
        (range(5), Asked(), range(5), Turn()),
        (range(ROWS + 1), Asked(), range(ROWS), Turn(None, ROWS - 1)),
        (range(10, 11 + ROWS), Asked(after=9), range(10, 10 + ROWS), Turn(10, 9 + ROWS)),
        (range(10, 12), Asked(after=9), range(10, 12), Turn(10, None)),
        (range(ROWS), Asked(before=ROWS), range(ROWS), Turn(None, ROWS - 1)),
        (range(ROWS + 1), Asked(before=ROWS + 1), range(1, ROWS + 1), Turn(1, ROWS)),
        (range(0), Asked(after=7), range(0), Turn()),
    ],
)
def test_pages_lead_to_those_beside_them(
    found: range, asked: Asked, rows: range, turn: Turn
) -> None:
    assert (list(rows), turn) == turned(list(found), asked, int)

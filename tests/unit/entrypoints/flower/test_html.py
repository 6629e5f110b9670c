"""Small parts of pages."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest
import uuid_utils.compat as uuids

from flowq.core.ids import RunId, node_id
from flowq.core.states import RunState
from flowq.entrypoints.flower import html
from flowq.entrypoints.flower.pages.run.request import RunQuery
from flowq.entrypoints.flower.pages.run.tabs import ROWS, PageLinks, page_links
from flowq.entrypoints.flower.templates import run_of_task


def test_task_of_flowq_is_known_by_its_ids() -> None:
    run_id = RunId(uuids.uuid7())
    own = SimpleNamespace(uuid=str(node_id(run_id, "a")), root_id=str(run_id))

    assert run_id == run_of_task(own)


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
    assert run_of_task(SimpleNamespace(uuid=str(own), root_id=root)) is None
    assert run_of_task(SimpleNamespace(uuid=str(own))) is None


def test_state_is_shown_by_sign_and_name() -> None:
    assert "✗" in html.state("failed")
    assert ">failed<" in html.state("failed")
    assert "data-cell" not in html.state("failed", cell=False)


def test_unknown_cost_is_never_nothing() -> None:
    assert "$0" == html.cost(Decimal(0), 0)
    assert "unknown" in html.cost(Decimal(0), 5)
    assert "5 calls of models have an unknown cost" in html.cost(Decimal(0), 5)
    assert "$" not in html.cost(Decimal(0), 5)
    assert "$1.00 + 2 unknown" in html.cost(Decimal(1), 2)


def test_bar_says_in_words_what_it_shows() -> None:
    assert "1 of 3" in html.progress(1, 3)
    assert "width:33.3%" in html.progress(1, 3)
    assert 'aria-valuenow="33.3"' in html.progress(1, 3)
    assert "0 of 0" in html.progress(0, 0)


def test_time_of_a_running_run_increases() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    then = now - timedelta(seconds=5)

    assert "5.0 s" in html.elapsed(RunState.RUNNING, then, None, now)
    assert "data-since" in html.elapsed(RunState.RUNNING, then, None, now)
    assert "1.5 s" == html.elapsed(RunState.FAILED, then, 1500, now)
    assert "" == html.elapsed(RunState.PENDING, None, None, now)


def test_bar_is_as_long_as_its_share() -> None:
    found = [html.percent(*pair) for pair in ((0, 9), (1, 3), (7, 5), (1, 0), (-1, 5))]

    assert [0.0, 33.3, 100.0, 0.0, 0.0] == found


def test_json_is_cut_to_what_can_be_read() -> None:
    text = html.as_json({str(number): "x" * 1000 for number in range(1000)})

    assert len(text) < 5000
    assert "1,000 characters" in text


@pytest.mark.parametrize(
    "found, asked, rows, turn",
    [
        (range(5), RunQuery(), range(5), PageLinks()),
        (range(ROWS + 1), RunQuery(), range(ROWS), PageLinks(None, ROWS - 1)),
        (range(10, 11 + ROWS), RunQuery(after=9), range(10, 10 + ROWS), PageLinks(10, 9 + ROWS)),
        (range(10, 12), RunQuery(after=9), range(10, 12), PageLinks(10, None)),
        (range(ROWS), RunQuery(before=ROWS), range(ROWS), PageLinks(None, ROWS - 1)),
        (range(ROWS + 1), RunQuery(before=ROWS + 1), range(1, ROWS + 1), PageLinks(1, ROWS)),
        (range(0), RunQuery(after=7), range(0), PageLinks()),
    ],
)
def test_pages_lead_to_those_beside_them(
    found: range, asked: RunQuery, rows: range, turn: PageLinks
) -> None:
    assert (list(rows), turn) == page_links(list(found), asked, int)

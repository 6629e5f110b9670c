"""What the address of the list of runs asks for."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.queries.lists import Cursor, RunFilter
from flowq.entrypoints.flower.pages.filters import parse

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
RUN = RunId(UUID("01a1fe43-13eb-714e-8000-000000000001"))


def test_nothing_is_asked_for() -> None:
    query = parse({"text": "  ", "state": ""}, NOW)

    assert RunFilter(children=False) == query.wanted
    assert {} == query.problems
    assert query.cursor is None
    assert "" == query.address()


def test_all_filters() -> None:
    given = {
        "state": "failed",
        "flow": "a b/c",
        "user": "ada",
        "text": "50%",
        "from": "2026-01-01",
        "to": "2026-01-02T03:00+01:00",
        "children": "hidden",
    }

    query = parse(given, NOW)

    assert {} == query.problems
    assert (
        RunFilter(
            states=frozenset({RunState.FAILED}),
            flow_name="a b/c",
            user_id="ada",
            text="50%",
            since=datetime(2026, 1, 1, tzinfo=UTC),
            until=datetime(2026, 1, 2, 2, tzinfo=UTC),
            children=False,
        )
        == query.wanted
    )


def test_open_and_within() -> None:
    query = parse({"state": "open", "within": "week"}, NOW)

    assert OPEN_RUN_STATES == query.wanted.states
    assert NOW - timedelta(days=7) == query.wanted.since
    assert query.wanted.until is None


@pytest.mark.parametrize(
    "given, field",
    [
        ({"state": "done"}, "state"),
        ({"within": "year"}, "within"),
        ({"children": "grown"}, "children"),
        ({"within": "day", "from": "2026-01-01"}, "within"),
        ({"from": "yesterday"}, "from"),
        ({"from": "0001-01-01"}, "from"),
        ({"to": "9999-12-31T23:59-10:00"}, "to"),
        ({"to": "1969-01-01"}, "to"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "to"),
        ({"text": "x" * 201}, "text"),
        ({"flow": "x" * 201}, "flow"),
        ({"before": "here"}, "page"),
        ({"before": str(RUN), "after": str(RUN)}, "page"),
    ],
)
def test_what_cannot_be_read_is_said(given: dict[str, str], field: str) -> None:
    query = parse(given, NOW)

    assert [field] == list(query.problems)
    assert query.problems[field].endswith(".")


def test_pages_keep_filters() -> None:
    query = parse({"state": "failed", "text": "a&b", "before": str(RUN), "other": "x"}, NOW)

    assert Cursor(RUN) == query.cursor
    assert Cursor(RUN, is_after=True) == parse({"after": str(RUN)}, NOW).cursor
    assert "?state=failed&text=a%26b" == query.address()
    assert f"?state=failed&text=a%26b&after={RUN}" == query.page(RUN, after=True)
    assert "?user=ada&text=a%26b" == query.address(state=None, user="ada")


@pytest.mark.parametrize(
    "given, has_children",
    [
        ({}, False),
        ({"state": "running"}, False),
        ({"user": "ann"}, False),
        ({"text": "0199"}, True),
        ({"flow": "shop.price"}, True),
        ({"text": "0199", "children": "hidden"}, False),
        ({"children": "shown"}, True),
    ],
)
def test_child_runs_are_listed_when_something_is_searched(
    given: dict[str, str],
    has_children: object,
) -> None:
    assert parse(given, NOW).wanted.children is has_children

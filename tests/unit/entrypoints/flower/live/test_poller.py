"""A list of runs is read once for all its pages, and they receive exactly its runs."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from flowq.client.followers import Notifier
from flowq.core.errors import DatabaseUnavailable
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.engine.queries.lists import ListedRun, RunsPage
from flowq.entrypoints.flower.live import poller as module
from flowq.entrypoints.flower.live.hub import RunSink
from flowq.entrypoints.flower.live.poller import RunList, RunPoller, TooManyLists
from flowq.entrypoints.flower.pages.filters import ListQuery

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_run(number: int, status: RunState = RunState.RUNNING) -> ListedRun:
    return ListedRun(
        id=RunId(UUID(int=number)),
        flow_name="f",
        status=status,
        user_id=None,
        created_at=NOW,
        started_at=None,
        completed_at=None,
        execution_time_ms=None,
        total=3,
        done=0,
        tokens=0,
        cost=Decimal(0),
        error=None,
        is_child=False,
    )


def ids(numbers: Iterable[int]) -> list[str]:
    return [str(UUID(int=number)) for number in numbers]


def received(listed: RunList, seen: str = "") -> tuple[list[str] | None, list[str]]:
    """Return the ids of the list, if they are new, and the runs that have changed."""
    lines = listed.since(seen).lines
    [order] = [line["ids"] for line in lines.get("list", [])] or [None]
    return order, [line["id"] for line in lines.get("runs", [])]


def test_page_receives_a_run_that_is_listed_below_others() -> None:
    listed = RunList(ListQuery)
    listed.put([a_run(9), a_run(5)], {})
    seen = listed.since("").id

    listed.put([a_run(9), a_run(7), a_run(5)], {})

    assert (ids([9, 7, 5]), ids([7])) == received(listed, seen)


def test_page_receives_what_has_left_the_list_and_a_new_page_does_not() -> None:
    listed = RunList(ListQuery)
    listed.put([a_run(9), a_run(5)], {})
    seen = listed.since("").id

    listed.put([a_run(9)], {})

    assert (ids([9]), []) == received(listed, seen)
    assert (ids([9]), ids([9])) == received(listed)


def test_only_a_change_is_sent() -> None:
    listed = RunList(ListQuery)
    listed.put([a_run(9)], {})
    seen = listed.since("").id

    listed.put([a_run(9)], {})
    assert not listed.since(seen)
    listed.put([a_run(9)], {a_run(9).id: (1, 3, Usage(10))})

    [line] = listed.since(seen).lines["runs"]
    assert (1, 10) == (line["done"], line["tokens"])
    assert (None, ids([9])) == received(listed, seen)


def test_pages_with_one_address_share_a_list_until_the_last_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_LISTS", 1)
    engine: Any = object()
    poller = RunPoller(lambda: engine, dict)

    async def run() -> None:
        (one, first), (same, second) = (poller.join("a", ListQuery) for _ in range(2))
        assert one is same
        with pytest.raises(TooManyLists):
            poller.join("b", ListQuery)
        poller.leave("a", one, first)
        assert one is poller.join("a", ListQuery)[0]
        for wakeup in [*one.notifier._wakeups]:
            poller.leave("a", one, wakeup)
        assert one is not poller.join("b", ListQuery)[0]
        assert second not in one.notifier._wakeups

    asyncio.run(run())


def test_pages_are_told_since_when_the_database_does_not_answer() -> None:
    answers: list[Any] = [DatabaseUnavailable("no"), DatabaseUnavailable("no"), [], []]
    listed = RunList(ListQuery)
    run = RunSink(Notifier(), shows_content=False)
    poller = RunPoller(lambda: engine, dict)

    class Records:
        def autocommit(self, read: Callable[[Any], Any]) -> Any:
            if isinstance(answers[0], Exception):
                raise answers[0]
            found = {"runs_page": RunsPage(), "states": {}, "progress": {}}
            asked = {name: lambda *_, of=name, **__: found[of] for name in found}
            return read(SimpleNamespace(overview=SimpleNamespace(**asked)))

    engine: Any = SimpleNamespace(records=Records())
    said = []
    while answers:
        poller._poll({a_run(1).id: run}, [listed])
        answers.pop(0)
        said.append([one.since("").lines.get("stale") for one in (listed, run)])

    assert [None, None] != said[0] == said[1], "it is the time of the first failure"
    assert said[0][0] == said[0][1]
    assert [[{}], [{}]] == said[2] == said[3]

"""Coroutines that wait for the ends of runs: one thread asks for all of them."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from flowq.core.errors import DatabaseUnavailable, FlowqError
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.ports import Records
from flowq.engine.runtime import run_ends as module
from flowq.engine.runtime.run_ends import RunEndWatcher


class Rows:
    """Answers with states, one answer after the other; the last one again and again."""

    def __init__(self, *answers: Mapping[RunId, RunState] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[set[RunId]] = []
        self.open = threading.Event()
        self.open.set()

    def autocommit(self, work: Callable[[Any], Any]) -> Any:
        return work(SimpleNamespace(runs=self))

    def states(self, run_ids: Sequence[RunId]) -> Mapping[RunId, RunState]:
        self.asked.append(set(run_ids))
        assert self.open.wait(60)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ends(rows: Rows) -> RunEndWatcher:
    return RunEndWatcher(cast(Records, rows))


def threads() -> int:
    return sum(thread.name == "flowq-ends" for thread in threading.enumerate())


def test_one_thread_asks_for_all_runs_and_ends_with_the_last_waiter() -> None:
    runs = [RunId(uuid4()) for _ in range(200)]
    running, done = dict.fromkeys(runs, RunState.RUNNING), dict.fromkeys(runs, RunState.COMPLETED)
    rows = Rows(running, running, done)
    waited = ends(rows)

    async def wait_for_all() -> list[RunState | None]:
        rows.open.clear()  # the first answer comes when all of them wait
        waiting = asyncio.gather(*(waited.ended(run_id) for run_id in runs))
        assert 1 == threads()
        rows.open.set()
        return await waiting

    assert [RunState.COMPLETED] * 200 == asyncio.run(wait_for_all())
    assert len(rows.asked) <= 4  # the first look may come before the last of them
    for thread in [one for one in threading.enumerate() if one.name == "flowq-ends"]:
        thread.join(60)
    assert 0 == threads()

    async def wait_again() -> RunState | None:
        return await waited.ended(runs[0])

    assert RunState.COMPLETED is asyncio.run(wait_again())


def test_outage_is_waited_out_and_a_run_that_is_gone_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.01)
    rows = Rows(DatabaseUnavailable("away"), DatabaseUnavailable("away"), {})

    async def wait() -> RunState | None:
        return await ends(rows).ended(RunId(uuid4()))

    assert asyncio.run(wait()) is None
    assert 3 == len(rows.asked)


@pytest.mark.parametrize("error", [ValueError("a fault"), FlowqError("too new")])
def test_what_no_waiting_mends_is_raised_where_it_is_awaited(error: Exception) -> None:
    async def wait() -> None:
        with pytest.raises(type(error), match=str(error)):
            await ends(Rows(error)).ended(RunId(uuid4()))

    asyncio.run(wait())


def test_who_has_left_is_asked_for_no_more() -> None:
    left, stays = RunId(uuid4()), RunId(uuid4())
    rows = Rows({left: RunState.RUNNING, stays: RunState.RUNNING})
    waited = ends(rows)

    async def wait() -> None:
        staying = waited.ended(stays)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await waited.ended(left)
        async with asyncio.timeout(60):
            while {stays} not in rows.asked:  # noqa: ASYNC110 - asked in another thread
                await asyncio.sleep(0.01)
        rows.answers = [{stays: RunState.FAILED}]
        assert RunState.FAILED is await staying

    asyncio.run(wait())

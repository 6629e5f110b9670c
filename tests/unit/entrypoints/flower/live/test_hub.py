"""One reader however many pages; it ends with the last, and begins again when it fails."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from queue import Queue
from typing import Any
from uuid import uuid4

import pytest

from flowq.client import followers
from flowq.client.followers import TooManyRuns
from flowq.core.errors import DatabaseUnavailable, RunNotFound
from flowq.core.events import Event, StepCompleted, WorkflowCompleted, WorkflowStarted
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.entrypoints.flower.live.hub import Hub
from flowq.entrypoints.flower.live.poller import RunPoller

RUN = RunId(uuid4())


@dataclass
class Readers:
    """In place of `follow`: tells what it is given, and counts who reads."""

    script: Queue[Event | Exception | None] = field(default_factory=Queue)
    begun: int = 0
    now: int = 0

    def follow(
        self, _engine: object, run_id: RunId, *, stopped: Callable[[], bool]
    ) -> Iterator[Event]:
        self.begun += 1
        self.now += 1
        try:
            yield WorkflowStarted(
                run_id=run_id, timestamp=datetime.now(UTC), flow_name="f", total_steps=2
            )
            while not stopped():
                if self.script.empty():
                    threading.Event().wait(0.005)
                    continue
                event = self.script.get()
                if isinstance(event, Exception):
                    raise event
                if event is None:
                    return
                yield event
        finally:
            self.now -= 1

    def step(self, key: str) -> None:
        self.script.put(StepCompleted(run_id=RUN, timestamp=datetime.now(UTC), step=key, attempt=1))

    def end(self) -> None:
        self.script.put(WorkflowCompleted(run_id=RUN, timestamp=datetime.now(UTC), flow_name="f"))
        self.script.put(None)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    readers = Readers()
    monkeypatch.setattr(followers, "follow", readers.follow)
    monkeypatch.setattr(RunPoller, "_poll", lambda *_: None)
    monkeypatch.setattr(followers, "_AGAIN", 0.01)
    return readers


def a_hub(most_runs: int = 5) -> Hub:
    engine: Any = object()
    return Hub(lambda: engine, shows_content=False, most_runs=most_runs)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Let a test be awaited."""

    @wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(test(**given))

    return run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.005)


def keys(source: Any, seen: str = "") -> list[str]:
    return [line["key"] for line in source.since(seen).lines.get("steps", [])]


@in_loop
async def test_twenty_pages_of_a_run_have_one_reader_that_ends_with_the_last(
    readers: Readers,
) -> None:
    hub = a_hub()
    pages = [hub.run(RUN, RunState.RUNNING) for _ in range(20)]
    sources = [page.__enter__() for page in pages]
    readers.step("a")
    for source, wakeup in sources:
        await until(lambda source=source: keys(source) == ["a"])  # type: ignore[misc]
        await asyncio.wait_for(wakeup.wait(), 60)
    assert (1, 1) == (readers.begun, readers.now)

    for page in pages[:-1]:
        page.__exit__(None, None, None)
    readers.step("b")
    await until(lambda: keys(sources[-1][0]) == ["a", "b"])
    assert RUN in hub._followers.sinks()

    pages[-1].__exit__(None, None, None)
    assert {} == hub._followers.sinks()
    await until(lambda: readers.now == 0)


@in_loop
async def test_slow_page_gets_less_and_holds_up_nobody(readers: Readers) -> None:
    with a_hub().run(RUN, RunState.RUNNING) as (source, wakeup):
        await until(lambda: bool(source.since("").lines))
        seen = source.since("").id
        for number in range(300):
            readers.step(f"step {number % 3}")
        await until(readers.script.empty)
        await until(lambda: len(keys(source, seen)) == 3)
        assert wakeup.is_set()


@in_loop
async def test_end_of_the_run_is_the_end_of_its_pages(readers: Readers) -> None:
    with a_hub().run(RUN, RunState.RUNNING) as (source, wakeup):
        readers.end()
        await until(lambda: source.over)
        await asyncio.wait_for(wakeup.wait(), 60)
        assert source.since("").lines["run"][0]["ended"]


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), ValueError("a fault")])
@in_loop
async def test_reader_that_fails_begins_anew_and_pages_receive_everything(
    readers: Readers, error: Exception
) -> None:
    with a_hub().run(RUN, RunState.RUNNING) as (source, _):
        readers.step("a")
        await until(lambda: keys(source) == ["a"])
        seen = source.since("").id
        readers.script.put(error)
        await until(lambda: readers.begun == 2)
        readers.step("a")
        readers.step("b")

        await until(lambda: keys(source, seen) == ["a", "b"])
        assert 1 == readers.now


@in_loop
async def test_run_that_is_gone_is_not_read_again(readers: Readers) -> None:
    with a_hub().run(RUN, RunState.RUNNING) as (source, _):
        readers.script.put(RunNotFound("gone"))
        await until(lambda: source.over)
        assert 1 == readers.begun


@in_loop
async def test_too_many_runs_are_refused_until_one_is_left(readers: Readers) -> None:
    hub = a_hub(most_runs=1)
    with hub.run(RUN, RunState.RUNNING):
        with hub.run(RUN, RunState.RUNNING):  # of this one there may be any number
            pass
        with pytest.raises(TooManyRuns), hub.run(RunId(uuid4()), RunState.RUNNING):
            pass
    with hub.run(RunId(uuid4()), RunState.RUNNING):
        pass

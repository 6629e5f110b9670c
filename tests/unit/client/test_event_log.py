"""A log gives each reader every entry once, in order, however slow or late the reader is."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from flowq.client import followers as module
from flowq.client.event_log import Entry, EventLog, read
from flowq.client.followers import Followers, TooManyRuns
from flowq.core.errors import DatabaseUnavailable, RunNotFound
from flowq.core.events import Event, StepCompleted
from flowq.core.ids import RunId

RUN = RunId(uuid4())
Log = EventLog[str]


def event(place: str) -> Event:
    return StepCompleted(run_id=RUN, timestamp=datetime.now(UTC), id=place, step=place, attempt=1)


class Source:
    """In place of `follow`: tells what it is given, from the first on, whenever it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places: list[str] = []
        self.ended = False
        self.error: Exception | None = None
        self.begun = 0
        self.now = 0
        self.taken = 0  #: What the reader that came last has had.
        monkeypatch.setattr(module, "follow", self.follow)
        monkeypatch.setattr(module, "_AGAIN", 0.01)
        monkeypatch.setattr(module, "_LOOK", 0.01)

    def follow(
        self, _engine: object, _run: RunId, *, stopped: Callable[[], bool]
    ) -> Iterator[Event]:
        self.begun += 1
        self.now += 1
        try:
            received = 0
            while True:
                while received < len(self.places):
                    received += 1
                    yield event(self.places[received - 1])
                self.taken = received
                if self.error is not None:
                    error, self.error = self.error, None
                    raise error
                if self.ended or stopped():
                    return
                threading.Event().wait(0.001)
        finally:
            self.now -= 1


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(monkeypatch)


def entries(event: Event) -> Iterable[Entry[str]]:
    yield Entry(str(event.id), str(event.id))


def followers(*, most: int = 5, max_entries: int = 1_000, **options: Any) -> Followers[Log]:
    engine: Any = object()

    def make(_: RunId, notifier: module.Notifier) -> Log:
        return EventLog(notifier, lambda: entries, max_entries=max_entries)

    return Followers(lambda: engine, make, most=most, **options)


async def received(by: Followers[Log], after: str | None = None) -> list[str]:
    return [entry.data async for page in read(by, RUN, after) for entry in page]


def places(count: int, begin: int = 0) -> list[str]:
    return [f"e{number}" for number in range(begin, begin + count)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.002)


def test_readers_that_come_at_any_time_read_the_same(source: Source) -> None:
    async def main() -> None:
        by = followers()
        early = asyncio.create_task(received(by))
        for number in range(50):
            source.places.append(f"e{number}")
            await asyncio.sleep(0)
        late = [asyncio.create_task(received(by, f"e{after}")) for after in (0, 30, 49)]
        await asyncio.sleep(0)
        source.ended = True
        assert places(50) == await early
        assert [places(49, 1), places(19, 31), []] == [await each for each in late]
        assert 1 == source.begun

    asyncio.run(main())


def test_an_unknown_id_means_that_all_is_sent(source: Source) -> None:
    source.places, source.ended = places(5), True
    assert places(5) == asyncio.run(received(followers(), "of another life"))


@pytest.mark.parametrize("after", [None, "e10", "e4000", "unknown"])
def test_a_reader_of_a_log_that_is_too_long_reads_all_of_it(
    source: Source, after: str | None
) -> None:
    source.places, source.ended = places(5_000), True
    first = int(after[1:]) + 1 if after and after[0] == "e" else 0

    found = asyncio.run(received(followers(max_entries=700), after))
    assert places(5_000 - first, first) == found


def test_a_slow_reader_loses_nothing_and_holds_up_nobody(source: Source) -> None:
    async def main() -> None:
        by = followers(max_entries=600)
        source.places.extend(places(20_000))
        source.ended = True
        async with aclosing(read(by, RUN)) as slow:
            found = [entry.data for _ in range(2) for entry in await anext(slow)]
            assert places(20_000) == await received(by)
            async for page in slow:
                found += [entry.data for entry in page]
        assert places(20_000) == found

    asyncio.run(main())


def test_a_reader_that_comes_back_again_and_again_reads_each_entry_once(source: Source) -> None:
    dice = random.Random(7)

    async def main() -> None:
        by = followers(linger=60.0, max_entries=100)
        found: list[str] = []
        source.places.extend(places(300))
        while len(found) < 2_000:
            pages = read(by, RUN, found[-1] if found else None)
            async with aclosing(pages):
                async for page in pages:
                    found += [entry.data for entry in page]
                    if dice.random() < 0.5:
                        break
            source.places.extend(places(100, len(source.places)))
        assert places(len(found)) == found
        by.close()

    asyncio.run(main())


def test_a_failure_is_not_noticed_by_readers(source: Source) -> None:
    async def main() -> None:
        by = followers()
        reader = asyncio.create_task(received(by))
        source.places.extend(places(10))
        await until(lambda: source.begun == 1)
        for error in (DatabaseUnavailable("away"), ValueError("a fault")):
            before = source.begun
            source.error = error
            await until(lambda before=before: source.begun > before)  # type: ignore[misc]
            source.places.extend(places(10, len(source.places)))
        source.ended = True
        assert places(30) == await reader

    asyncio.run(main())


def test_what_is_repeated_after_a_failure_is_sent_to_readers(source: Source) -> None:
    """The stream is lost, and its events have other ids now."""

    async def main() -> None:
        reader = asyncio.create_task(received(followers()))
        source.places.extend(places(3))
        await until(lambda: source.taken == 3)
        source.places = ["start", "new"]
        source.error, source.ended = DatabaseUnavailable("away"), True
        assert [*places(3), "start", "new"] == await reader

    asyncio.run(main())


@pytest.mark.parametrize("retry", [True, False])
def test_a_run_that_is_gone_ends_its_readers(source: Source, *, retry: bool) -> None:
    source.error = RunNotFound("gone")
    with pytest.raises(RunNotFound):
        asyncio.run(received(followers(retry=retry)))
    assert 1 == source.begun


def test_readers_hear_of_a_failure_where_they_want_to(source: Source) -> None:
    source.error = DatabaseUnavailable("away")
    with pytest.raises(DatabaseUnavailable):
        asyncio.run(received(followers(retry=False)))


def test_a_follower_ends_with_its_last_reader(source: Source) -> None:
    async def main() -> None:
        by = followers()
        source.places.extend(places(3))
        async with aclosing(read(by, RUN)) as first, aclosing(read(by, RUN)) as second:
            for pages in (first, second):
                await anext(pages)
            await until(lambda: source.now == 1)
        await until(lambda: source.now == 0)
        assert 1 == source.begun

    asyncio.run(main())


def test_a_follower_that_waits_for_readers_makes_room_for_another_run(source: Source) -> None:
    async def main() -> None:
        by = followers(most=1, linger=60.0)
        async with aclosing(read(by, RUN)) as pages:
            await anext(pages)
            with pytest.raises(TooManyRuns):
                await anext(read(by, RunId(uuid4())))
        await until(lambda: source.now == 1)
        async with aclosing(read(by, RunId(uuid4()))) as pages:
            await anext(pages)
        by.close()
        await until(lambda: source.now == 0)

    asyncio.run(main())


def test_nothing_is_yielded_when_nothing_comes(source: Source) -> None:
    async def main() -> None:
        source.places.extend(places(1))
        async with asyncio.timeout(60), aclosing(read(followers(), RUN, idle=0.01)) as pages:
            sizes = [len(await anext(pages))]
            while not sum(sizes):
                sizes.append(len(await anext(pages)))
            sizes += [len(await anext(pages)) for _ in range(2)]
        assert 0 == sizes[0]
        assert [1, 0, 0] == sizes[-3:]

    asyncio.run(main())

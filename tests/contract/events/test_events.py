"""What all `Events` do: what is published is read, and nobody is ever the worse for silence."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
import uuid_utils.compat as uuids
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.events.outbox import EventFields, Outbox
from flowq.adapters.events.redis import RedisEvents
from flowq.core.errors import RedisUnavailable
from flowq.core.events import (
    BatchStarted,
    Event,
    StepCompleted,
    StepFailed,
    StepStarted,
    StreamChunk,
    WorkflowCompleted,
    WorkflowStarted,
)
from flowq.core.ids import BatchId, RunId
from flowq.engine.ports import Events, StreamPage
from tests.tools.waiting import wait_until

LONG = 120.0
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
SHORT = 0.2


@pytest.fixture
def valkey_client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url.replace("redis+socket://", "unix://")) as client:
        yield client


@pytest.fixture
def lonely_client() -> Iterator[redis.Redis]:
    """A client whose Redis is away: nothing listens on its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            yield client


@pytest.fixture(params=["memory", "valkey"])
def events(request: pytest.FixtureRequest) -> Events:
    if request.param == "memory":
        return MemoryEvents()
    return RedisEvents(request.getfixturevalue("valkey_client"))


@pytest.fixture(params=["memory", "valkey"])
def short_events(request: pytest.FixtureRequest) -> Events:
    """Events whose streams are cut soon; Redis cuts by the page, which is 100 entries."""
    if request.param == "memory":
        return MemoryEvents(max_entries=10)
    return RedisEvents(request.getfixturevalue("valkey_client"), max_entries=10)


def forget(events: Events) -> None:
    """Lose all streams."""
    if isinstance(events, MemoryEvents):
        events.forget()
    else:
        assert isinstance(events, RedisEvents)
        for key in events._client.scan_iter("flowq:run:*:events"):
            events._client.delete(key)
        # Entries are numbered by the clock: within this millisecond the same numbers come again.
        lost = _milliseconds(events)
        wait_until(lambda: _milliseconds(events) > lost, what="a millisecond is over")


def _milliseconds(events: RedisEvents) -> int:
    seconds, microseconds = events._client.time()
    return int(seconds * 1000 + microseconds // 1000)


@pytest.fixture
def run_id() -> RunId:
    return RunId(uuids.uuid7())


def ended(run_id: RunId) -> WorkflowCompleted:
    return WorkflowCompleted(run_id=run_id, timestamp=NOW, flow_name="sums")


def seconds_waited(events: Events, run_id: RunId, longest: float) -> float:
    with events.listening(run_id) as wait:
        started = time.monotonic()
        wait(longest)
        return time.monotonic() - started


def test_an_end_before_the_wait_is_seen(events: Events, run_id: RunId) -> None:
    """From the moment of listening: between looking at the row and waiting nothing is missed."""
    with events.listening(run_id) as wait:
        publish(events, ended(run_id))
        started = time.monotonic()
        wait(LONG)

    assert time.monotonic() - started < LONG / 2


def test_all_who_wait_are_woken(events: Events, run_id: RunId) -> None:
    waiting = 3
    with ThreadPoolExecutor(waiting) as pool:
        waits = [pool.submit(seconds_waited, events, run_id, LONG) for _ in range(waiting)]
        while not all(wait.done() for wait in waits):
            # Again and again: who begins to listen late hears one of the next.
            publish(events, ended(run_id))
            time.sleep(0.02)

        assert all(wait.result() < LONG / 2 for wait in waits)


def test_a_wait_without_an_end_times_out(events: Events, run_id: RunId) -> None:
    waited = seconds_waited(events, run_id, SHORT)

    assert SHORT * 0.9 <= waited < LONG / 2


def test_the_end_of_another_run_wakes_nobody(events: Events, run_id: RunId) -> None:
    with events.listening(run_id) as wait:
        publish(events, ended(RunId(uuids.uuid7())))
        started = time.monotonic()
        wait(SHORT)

    assert time.monotonic() - started >= SHORT * 0.9


def test_an_end_that_nobody_waits_for_is_no_error(events: Events, run_id: RunId) -> None:
    publish(events, ended(run_id))
    publish(events, ended(run_id))


# --- the stream ----------------------------------------------------------------------------------


def publish(events: Events, event: Event) -> None:
    """Publish an event that one has; it gets another time."""
    own = event.model_dump(exclude={"run_id", "timestamp", "event_type", "id", "rebuilt"})
    events.publish(type(event), event.run_id, **own)


def started(run_id: RunId, step: str, attempt: int = 1) -> StepStarted:
    return StepStarted(run_id=run_id, timestamp=NOW, step=step, attempt=attempt, worker="w")


def piece(run_id: RunId, text: str, offset: int, step: str = "speak") -> StreamChunk:
    return StreamChunk(
        run_id=run_id, timestamp=NOW, step=step, attempt=1, stream=0, offset=offset, text=text
    )


def read_all(events: Events, run_id: RunId, after: str | None = None) -> list[Event]:
    return in_time(events.read(run_id, after))


def in_time(page: StreamPage) -> list[Event]:
    """Return what was read, all of one time."""
    events = [event for entry in page.entries for event in entry.events]
    return [event.model_copy(update={"timestamp": NOW}) for event in events]


def publish_all(events: Events, *expected: Event) -> None:
    for event in expected:
        publish(events, event)
    events.flush()


def test_what_was_published_is_read_as_it_was(events: Events, run_id: RunId) -> None:
    expected: list[Event] = [
        WorkflowStarted(run_id=run_id, timestamp=NOW, flow_name="sums", total_steps=3),
        BatchStarted(run_id=run_id, timestamp=NOW, batch=BatchId("n1"), steps=("a", "ß"), items=2),
        started(run_id, "a"),
        StepCompleted(
            run_id=run_id,
            timestamp=NOW,
            step="a",
            index=3,
            attempt=1,
            tokens=7,
            cost=Decimal("0.000123"),
        ),
        StepFailed(run_id=run_id, timestamp=NOW, step="b", attempt=2, error_message="\u2028 \x01"),
        piece(run_id, "some text", 0),
        ended(run_id),
    ]
    publish_all(events, *expected)

    assert read_all(events, run_id) == expected


def test_a_stream_that_nobody_wrote_is_empty_and_whole(events: Events, run_id: RunId) -> None:
    assert events.read(run_id) == StreamPage(())


def test_reading_continues_after_an_entry(events: Events, run_id: RunId) -> None:
    for step in ("a", "b", "c"):
        publish_all(events, started(run_id, step))
    entries = events.read(run_id).entries

    assert read_all(events, run_id, entries[0].id) == [started(run_id, "b"), started(run_id, "c")]
    assert events.read(run_id, entries[-1].id) == StreamPage(())


def test_runs_do_not_hear_each_other(events: Events, run_id: RunId) -> None:
    other = RunId(uuids.uuid7())
    publish_all(events, started(run_id, "a"), started(other, "b"), started(run_id, "c"))

    assert read_all(events, run_id) == [started(run_id, "a"), started(run_id, "c")]
    assert read_all(events, other) == [started(other, "b")]


def test_a_reader_that_waits_is_woken(events: Events, run_id: RunId) -> None:
    publish_all(events, started(run_id, "a"))
    last = events.read(run_id).entries[-1].id
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = pool.submit(events.read, run_id, last, LONG)
        publish_all(events, started(run_id, "b"))

        assert in_time(waiting.result()) == [started(run_id, "b")]
    assert time.monotonic() - began < LONG / 2


def test_a_reader_waits_no_longer_than_it_said(events: Events, run_id: RunId) -> None:
    began = time.monotonic()

    assert events.read(run_id, None, SHORT) == StreamPage(())
    assert SHORT * 0.9 <= time.monotonic() - began < LONG / 2


def test_a_reader_learns_that_the_stream_is_another(events: Events, run_id: RunId) -> None:
    publish_all(events, started(run_id, "a"))
    last = events.read(run_id).entries[-1].id
    forget(events)
    assert not events.read(run_id, last).whole

    publish_all(events, started(run_id, "b"))
    assert not events.read(run_id, last).whole
    assert events.read(run_id, events.read(run_id).entries[-1].id).whole


def test_a_stream_keeps_the_newest_entries(short_events: Events, run_id: RunId) -> None:
    for attempt in range(1, 301):
        publish_all(short_events, started(run_id, "a", attempt))

    kept = [
        event.attempt
        for event in read_all(short_events, run_id)
        if event.event_type == "STEP_STARTED"
    ]
    assert kept == list(range(301 - len(kept), 301))
    assert 10 <= len(kept) < 300


def test_publishing_from_many_threads_loses_nothing(events: Events, run_id: RunId) -> None:
    def publish_all(thread: int) -> None:
        for attempt in range(1, 101):
            publish(events, started(run_id, f"s{thread}", attempt))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish_all, range(4)))
    events.flush()

    found = [
        (one.step, one.attempt) for one in read_all(events, run_id) if isinstance(one, StepStarted)
    ]
    assert sorted(found) == sorted((f"s{n}", a) for n in range(4) for a in range(1, 101))
    for thread in range(4):
        assert [a for step, a in found if step == f"s{thread}"] == list(range(1, 101))


# --- Redis ---------------------------------------------------------------------------------------


def test_pieces_of_text_leave_as_one(valkey_client: redis.Redis, run_id: RunId) -> None:
    """Also when two steps of a run take turns; each text stays in its order."""
    events = RedisEvents(valkey_client, interval=3600)
    publish_all(
        events,
        piece(run_id, "one ", 0, "a"),
        piece(run_id, "eins ", 0, "b"),
        piece(run_id, "two", 4, "a"),
        piece(run_id, "zwei", 5, "b"),
        piece(run_id, "lost before", 99, "b"),
    )

    assert read_all(events, run_id) == [
        piece(run_id, "one two", 0, "a"),
        piece(run_id, "eins zwei", 0, "b"),
        piece(run_id, "lost before", 99, "b"),
    ]


def test_events_leave_together_and_by_themselves(valkey_client: redis.Redis, run_id: RunId) -> None:
    interval = 0.2
    events = RedisEvents(valkey_client, interval=interval)
    began = time.monotonic()
    for attempt in range(1, 51):
        publish(events, started(run_id, "a", attempt))
    took = time.monotonic() - began
    wait_until(lambda: len(read_all(events, run_id)) == 50, what="all have left")

    assert len(events.read(run_id).entries) <= 2 + took / interval


def test_the_end_of_a_run_leaves_at_once(valkey_client: redis.Redis, run_id: RunId) -> None:
    events = RedisEvents(valkey_client, interval=3600)
    publish(events, started(run_id, "a"))
    publish(events, ended(run_id))

    wait_until(lambda: len(read_all(events, run_id)) == 2, what="the end has left")


def test_streams_are_forgotten_after_a_while(valkey_client: redis.Redis, run_id: RunId) -> None:
    events = RedisEvents(valkey_client, ttl=timedelta(seconds=100))
    publish_all(events, started(run_id, "a"))

    assert 0 < valkey_client.ttl(f"flowq:run:{run_id}:events") <= 100


def test_events_of_a_newer_flowq_are_left_out(valkey_client: redis.Redis, run_id: RunId) -> None:
    events = RedisEvents(valkey_client)
    known = started(run_id, "a").model_dump(mode="json") | {"colour": "red"}
    text = json.dumps([{"event_type": "STEP_DREAMT", "step": "a"}, known])
    valkey_client.xadd(f"flowq:run:{run_id}:events", {"events": text})

    assert read_all(events, run_id) == [started(run_id, "a")]


def test_a_queue_that_is_full_drops_counts_and_says_so(run_id: RunId) -> None:
    sent: list[tuple[list[EventFields], set[RunId]]] = []

    def send(grouped: dict[RunId, list[EventFields]], missing: Any) -> set[RunId]:
        sent.append((grouped[run_id], set(missing)))
        return set()

    outbox = Outbox(send, interval=3600, limit=3)
    for attempt in range(1, 6):
        outbox.put(run_id, {"event_type": "STEP_STARTED", "attempt": attempt})
    outbox.flush()
    outbox.put(run_id, {"event_type": "STEP_STARTED", "attempt": 6})
    outbox.flush()

    assert outbox.dropped == 2
    assert [[fact["attempt"] for fact in facts] for facts, _ in sent] == [[1, 2, 3], [6]]
    assert [missing for _, missing in sent] == [{run_id}, set()]


# --- Redis is away -------------------------------------------------------------------------------


def test_redis_away_only_waits(lonely_client: redis.Redis, run_id: RunId) -> None:
    """The row is asked again after each wait, so a wait must neither raise nor spin."""
    waited = seconds_waited(RedisEvents(lonely_client), run_id, SHORT)

    assert SHORT * 0.9 <= waited < LONG / 2


def test_redis_away_loses_the_ring_and_says_so(
    lonely_client: redis.Redis, run_id: RunId, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "flowq"):
        events = RedisEvents(lonely_client)
        publish(events, ended(run_id))
        events.flush()

    assert ["events are dropped, runs continue without them"] == [
        record.getMessage().partition(":")[0] for record in caplog.records
    ]
    assert events.dropped == 1


def test_reader_recovers_when_redis_is_back(valkey_client: redis.Redis, run_id: RunId) -> None:
    events = RedisEvents(valkey_client)
    with events.listening(run_id) as wait:
        valkey_client.client_kill_filter(_type="pubsub")
        started = time.monotonic()
        wait(SHORT)
        assert time.monotonic() - started >= 0.09, "it must not spin while Redis is away"
        wait(SHORT)  # may return at once, since it has subscribed anew
        publish(events, ended(run_id))
        wait(LONG)

    assert time.monotonic() - started < LONG / 2


def test_redis_away_drops_counts_and_says_later_what_is_missing(
    valkey_client: redis.Redis, run_id: RunId, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = RedisEvents(valkey_client, interval=3600)

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(redis.client.Pipeline, "execute", away)
        publish_all(events, started(run_id, "a"), started(run_id, "b"))
        with pytest.raises(RedisUnavailable, match="cannot be read: gone"):
            events.read(run_id)
    assert events.dropped == 2

    def is_asked_again() -> bool:
        publish_all(events, started(run_id, "c"))
        return bool(events.read(run_id).entries)

    wait_until(is_asked_again, what="Redis is asked again")
    page = events.read(run_id)
    assert [entry.lost for entry in page.entries] == [True]
    assert in_time(page) == [started(run_id, "c")]


def test_redis_that_is_full_costs_only_events(
    valkey_client: redis.Redis, run_id: RunId, caplog: pytest.LogCaptureFixture
) -> None:
    valkey_client.config_set("maxmemory", 1)
    try:
        events = RedisEvents(valkey_client, interval=3600)
        with caplog.at_level(logging.WARNING, "flowq"):
            publish_all(events, started(run_id, "a"))
    finally:
        valkey_client.config_set("maxmemory", 0)

    assert events.dropped == 1
    assert "events are dropped" in caplog.text

"""What all `Events` do: who waits for a run is woken, and nobody is ever the worse for silence."""

import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import uuid_utils.compat as uuids
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.events.redis import RedisEvents
from flowq.core.ids import RunId
from flowq.engine.ports import Events

LONG = 20.0
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


@pytest.fixture
def run_id() -> RunId:
    return RunId(uuids.uuid7())


def seconds_waited(events: Events, run_id: RunId, longest: float) -> float:
    with events.listening(run_id) as wait:
        started = time.monotonic()
        wait(longest)
        return time.monotonic() - started


def test_an_end_before_the_wait_is_heard(events: Events, run_id: RunId) -> None:
    """From the moment of listening: between looking at the row and waiting nothing is missed."""
    with events.listening(run_id) as wait:
        events.run_ended(run_id)
        started = time.monotonic()
        wait(LONG)

    assert time.monotonic() - started < LONG / 2


def test_all_who_wait_are_woken(events: Events, run_id: RunId) -> None:
    waiting = 3
    with ThreadPoolExecutor(waiting) as pool:
        waits = [pool.submit(seconds_waited, events, run_id, LONG) for _ in range(waiting)]
        while not all(wait.done() for wait in waits):
            # Again and again: who begins to listen late hears one of the next.
            events.run_ended(run_id)
            time.sleep(0.02)

        assert all(wait.result() < LONG / 2 for wait in waits)


def test_a_wait_without_an_end_times_out(events: Events, run_id: RunId) -> None:
    waited = seconds_waited(events, run_id, SHORT)

    assert SHORT * 0.9 <= waited < LONG / 2


def test_the_end_of_another_run_wakes_nobody(events: Events, run_id: RunId) -> None:
    with events.listening(run_id) as wait:
        events.run_ended(RunId(uuids.uuid7()))
        started = time.monotonic()
        wait(SHORT)

    assert time.monotonic() - started >= SHORT * 0.9


def test_an_end_that_nobody_waits_for_is_no_error(events: Events, run_id: RunId) -> None:
    events.run_ended(run_id)
    events.run_ended(run_id)


# --- Redis is away -------------------------------------------------------------------------------


def test_redis_away_only_waits(lonely_client: redis.Redis, run_id: RunId) -> None:
    """The row is asked again after each wait, so a wait must neither raise nor spin."""
    waited = seconds_waited(RedisEvents(lonely_client), run_id, SHORT)

    assert SHORT * 0.9 <= waited < LONG / 2


def test_redis_away_loses_the_ring_and_says_so(
    lonely_client: redis.Redis, run_id: RunId, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "flowq"):
        RedisEvents(lonely_client).run_ended(run_id)

    assert [f"ends of runs are not announced, the first is {run_id}"] == [
        record.getMessage().partition(":")[0] for record in caplog.records
    ]


def test_redis_that_went_away_is_heard_again(valkey_client: redis.Redis, run_id: RunId) -> None:
    events = RedisEvents(valkey_client)
    with events.listening(run_id) as wait:
        valkey_client.client_kill_filter(_type="pubsub")
        started = time.monotonic()
        wait(SHORT)
        assert time.monotonic() - started >= 0.09, "it must not spin while Redis is away"
        wait(SHORT)  # may return at once, since it has subscribed anew
        events.run_ended(run_id)
        wait(LONG)

    assert time.monotonic() - started < LONG / 2

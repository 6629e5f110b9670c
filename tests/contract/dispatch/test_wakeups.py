"""Requests for a pass of a sweeper: one takes each, many are one, and none costs more than time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from flowq.adapters.dispatch.wakeups import RedisWakeups
from flowq.core.errors import RedisUnavailable


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        yield client


def test_request_is_taken_by_one_that_waits(client: redis.Redis) -> None:
    taken: list[int] = []
    deadline = time.monotonic() + 60

    def wait(number: int) -> None:
        """Wait as a sweeper does, until one has taken the request; then once more."""
        wakeups, was_taken = RedisWakeups(client), False
        while not was_taken and time.monotonic() < deadline:
            was_taken = bool(taken)
            if wakeups.wait(20):
                taken.append(number)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(wait, number) for number in range(3)]
        RedisWakeups(client).request()
        for one in waiting:
            one.result()

    assert len(taken) == 1


def test_requests_that_nobody_waits_for_are_one(client: redis.Redis) -> None:
    wakeups = RedisWakeups(client, "shop:")
    for _ in range(100):
        wakeups.request()

    assert wakeups.wait(1)
    assert not wakeups.wait(0.01)
    assert not client.keys("*flowq:sweep*")


def test_request_is_forgotten_and_named_by_the_prefix(client: redis.Redis) -> None:
    RedisWakeups(client, "shop:").request()

    (key,) = client.keys("*flowq:sweep*")
    assert key == b"shop:flowq:sweep"
    assert 0 < client.ttl(key) <= 60
    assert not RedisWakeups(client).wait(0.01)


def test_nobody_waits_longer_than_asked(client: redis.Redis) -> None:
    begun = time.monotonic()
    assert not RedisWakeups(client).wait(0.05)
    assert 0.04 < time.monotonic() - begun < 30


def test_redis_that_is_away_is_said() -> None:
    wakeups = RedisWakeups(redis.Redis(unix_socket_path="/nowhere/valkey.sock"))
    for ask in (wakeups.request, lambda: wakeups.wait(1)):
        with pytest.raises(RedisUnavailable, match="nowhere"):
            ask()

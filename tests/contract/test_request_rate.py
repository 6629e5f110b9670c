"""A rate of requests: room for so many at once, which comes back bit by bit, for each caller."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from flowq.adapters.request_rate import RequestRate
from tests.tools.waiting import wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        yield client


def test_so_many_have_room_and_the_next_waits_for_the_room_of_one(client: redis.Redis) -> None:
    servers = [RequestRate(client, 4, HOUR) for _ in range(2)]

    assert [0, 0, 0, 0] == [servers[number % 2].take("ann") for number in range(4)]
    for rate in servers:
        assert 0 <= 900 - rate.take("ann") < 60  # a refused request takes nothing
    assert 0 == servers[0].take("bob")


def test_room_comes_back(client: redis.Redis) -> None:
    rate = RequestRate(client, 2, timedelta(seconds=0.2))
    while rate.take("ann") == 0:  # a slow machine may get some back meanwhile
        pass

    wait_until(lambda: rate.take("ann") == 0, what="there is room again")


def test_key_is_named_by_the_prefix_and_expires(client: redis.Redis) -> None:
    RequestRate(client, 10, HOUR, "shop:").take("ann")

    (key,) = client.keys("*flowq:requests*")
    assert key == b"shop:flowq:requests:ann"
    assert 0 < client.pttl(key) <= HOUR.total_seconds() * 100


def test_all_are_let_in_while_redis_is_away(caplog: pytest.LogCaptureFixture) -> None:
    rate = RequestRate(redis.Redis(unix_socket_path="/nowhere/valkey.sock"), 1, HOUR)

    assert [0, 0, 0] == [rate.take("ann") for _ in range(3)]
    assert 1 == len(caplog.messages)

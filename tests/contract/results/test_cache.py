"""What every `ResultCache` does: it keeps values for a while, and is never why something fails."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import fakeredis
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowq.adapters.results.memory import MemoryCache
from flowq.adapters.results.redis import RedisCache
from flowq.engine.ports import ResultCache
from tests.tools.waiting import wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def valkey_client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url.replace("redis+socket://", "unix://")) as client:
        yield client


@pytest.fixture(params=["memory", "fakeredis", "valkey"])
def cache(request: pytest.FixtureRequest) -> ResultCache:
    if request.param == "memory":
        return MemoryCache()
    if request.param == "fakeredis":
        return RedisCache(fakeredis.FakeRedis(), HOUR)
    return RedisCache(request.getfixturevalue("valkey_client"), HOUR)


@pytest.fixture
def key() -> Callable[[int], str]:
    prefix = uuid4().hex
    return lambda number: f"flowq:result:{prefix}:{number}"


def test_values_come_back_in_the_order_of_keys(
    cache: ResultCache, key: Callable[[int], str]
) -> None:
    values = {key(n): bytes([n]) * n for n in range(5)}
    for each, data in values.items():
        cache.put(each, data)
    keys = [key(n) for n in (3, 0, 9, 1, 3)]
    assert [b"\x03" * 3, b"", None, b"\x01", b"\x03" * 3] == cache.get_many(keys)


def test_no_keys_are_no_question(cache: ResultCache) -> None:
    assert [] == cache.get_many([])


def test_the_last_value_counts(cache: ResultCache, key: Callable[[int], str]) -> None:
    cache.put(key(1), b"old")
    cache.put(key(1), b"new")
    assert [b"new"] == cache.get_many([key(1)])


def test_any_bytes_come_back(cache: ResultCache, key: Callable[[int], str]) -> None:
    data = bytes(range(256)) * 4096
    cache.put(key(1), data)
    assert [data] == cache.get_many([key(1)])


def test_many_keys_are_read_at_once(cache: ResultCache, key: Callable[[int], str]) -> None:
    for number in range(0, 1001, 2):
        cache.put(key(number), str(number).encode())
    found = cache.get_many([key(number) for number in range(1001)])
    assert [None if n % 2 else str(n).encode() for n in range(1001)] == found


def test_threads_may_share_one(cache: ResultCache, key: Callable[[int], str]) -> None:
    def work(number: int) -> None:
        for _ in range(50):
            cache.put(key(number), bytes([number]))
            assert [bytes([number])] == cache.get_many([key(number)])
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 8 == len(done)


# --- Redis alone -------------------------------------------------------------------------------


def test_values_in_redis_end(valkey_client: redis.Redis, key: Callable[[int], str]) -> None:
    RedisCache(valkey_client, HOUR).put(key(1), b"x")
    assert 0 < int(valkey_client.pttl(key(1))) <= 3_600_000

    cache = RedisCache(valkey_client, timedelta(milliseconds=50))
    cache.put(key(2), b"x")
    wait_until(lambda: cache.get_many([key(2)]) == [None], timeout=60, what="the value ends")


def test_an_outage_is_no_failure_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fakeredis.FakeServer()
    cache = RedisCache(fakeredis.FakeRedis(server=server), HOUR)
    now = [100.0]
    monkeypatch.setattr("flowq.adapters.breaker.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "flowq"):
        for _ in range(2):
            server.connected = False
            for _ in range(3):
                cache.put("a", b"x")
                assert [None] * 450 == cache.get_many(["a"] * 450)
                now[0] += 5
            server.connected = True
            cache.put("a", b"x")
            assert [b"x"] == cache.get_many(["a"])
    assert ["WARNING", "INFO"] * 2 == [record.levelname for record in caplog.records]


def test_after_a_failure_redis_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try may take a timeout: an attempt must pay one, not ten."""
    now = [100.0]
    monkeypatch.setattr("flowq.adapters.breaker.monotonic", lambda: now[0])
    client = fakeredis.FakeRedis()
    tried = []

    def refuse(*args: object, **options: object) -> None:
        tried.append(now[0])
        raise redis.TimeoutError

    monkeypatch.setattr(client, "set", refuse)
    cache = RedisCache(client, HOUR)
    for _ in range(10):
        cache.put("a", b"x")
        now[0] += 0.3
    assert 2 == len(tried)


def test_nothing_listening_is_an_outage() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            cache = RedisCache(client, HOUR)
            cache.put("a", b"x")
            assert [None] == cache.get_many(["a"])


# --- memory alone ------------------------------------------------------------------------------


def test_a_full_memory_forgets_what_was_used_longest_ago() -> None:
    cache = MemoryCache(max_bytes=3)
    for name in "abc":
        cache.put(name, b"x")
    cache.get_many(["a"])
    cache.put("d", b"x")
    assert [b"x", None, b"x", b"x"] == cache.get_many(list("abcd"))
    cache.put("e", b"12345")
    assert [None] == cache.get_many(["e"])
    cache.put("f", b"1")
    assert [b"1"] == cache.get_many(["f"])

"""Caches of pipelines: one suite for memory and Redis, and what only Redis has to stand."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import redis

from flowq import bootstrap
from flowq.adapters.expiring import ExpiringValues
from flowq.pipeline import CacheBackend, MemoryCache, RedisCache
from tests.tools.waiting import wait_until


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """The Redis of this process."""
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        monkeypatch.setattr(
            bootstrap, "expiring_values", lambda prefix: ExpiringValues(client, f"shop[1]:{prefix}")
        )
        yield client


@pytest.fixture(params=["redis", "memory"])
def cache(request: pytest.FixtureRequest) -> CacheBackend:
    if request.param == "memory":
        return MemoryCache()
    request.getfixturevalue("client")
    return RedisCache()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_values_are_kept_replaced_and_deleted(cache: CacheBackend) -> None:
    assert run(cache.get("a")) is None
    run(cache.set("a", {"x": ["é", 1.5, None]}, 60))
    run(cache.set("b", {"x": 2}, 60))
    assert {"x": ["é", 1.5, None]} == run(cache.get("a"))
    run(cache.set("a", {"x": 3}, 60))
    run(cache.delete("b"))
    run(cache.delete("c"))
    assert ({"x": 3}, None) == (run(cache.get("a")), run(cache.get("b")))
    run(cache.clear())
    run(cache.clear())
    assert run(cache.get("a")) is None


def test_values_expire(cache: CacheBackend) -> None:
    run(cache.set("a", {"x": 1}, 0.05))
    wait_until(lambda: run(cache.get("a")) is None, what="it has expired")


def test_what_is_kept_is_not_what_the_caller_changes(cache: CacheBackend) -> None:
    value: dict[str, Any] = {"x": [1]}
    run(cache.set("a", value, 60))
    value["x"].append(2)
    assert {"x": [1]} == run(cache.get("a"))


def test_caches_of_one_name_are_one_and_others_are_not(client: redis.Redis) -> None:
    run(RedisCache("one").set("a", {"x": 1}, 60))
    run(RedisCache("two").set("a", {"x": 2}, 60))
    assert {"x": 1} == run(RedisCache("one").get("a"))

    run(RedisCache("one").clear())
    assert (None, {"x": 2}) == (run(RedisCache("one").get("a")), run(RedisCache("two").get("a")))
    assert [b"shop[1]:flowq:pipeline:two:a"] == client.keys("*flowq:pipeline*")
    assert 0 < client.pttl("shop[1]:flowq:pipeline:two:a") <= 60_000


@pytest.mark.parametrize("text", [b"", b"no json", b"[1]", b"\xff"])
def test_what_others_have_written_is_nothing(client: redis.Redis, text: bytes) -> None:
    client.set("shop[1]:flowq:pipeline:results:a", text)
    assert run(RedisCache().get("a")) is None


def test_without_redis_nothing_is_kept_and_one_line_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = ExpiringValues(redis.Redis(unix_socket_path="/nowhere/valkey.sock"), "x:")
    monkeypatch.setattr(bootstrap, "expiring_values", lambda _: away)

    for _ in range(3):
        run(RedisCache().set("a", {"x": 1}, 60))
        assert run(RedisCache().get("a")) is None
    run(RedisCache().clear())
    assert 1 == len(caplog.messages)

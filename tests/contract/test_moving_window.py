"""At most so many requests in any window, however many processes count them."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from flowq.adapters.moving_window import MemoryWindow, RedisWindow
from flowq.core.errors import RedisUnavailable
from tests.tools.waiting import wait_until

HOUR = 3600.0


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        yield client


@pytest.fixture(params=["redis", "memory"])
def window(request: pytest.FixtureRequest) -> RedisWindow | MemoryWindow:
    if request.param == "memory":
        return MemoryWindow()
    return RedisWindow(request.getfixturevalue("client"), "shop[1]:")


def test_so_many_are_taken_and_a_refused_one_takes_nothing(
    window: RedisWindow | MemoryWindow,
) -> None:
    assert [0, 0, 0] == [window.take("ann", 3, HOUR) for _ in range(3)]
    for _ in range(3):
        assert 3500 < window.take("ann", 3, HOUR) <= 3600
    assert (0, 3) == (window.left("ann", 3, HOUR), window.left("bob", 3, HOUR))
    assert 0 == window.take("bob", 3, HOUR)
    assert 0 == window.take("ann", 4, HOUR)  # another limit counts by itself


def test_they_can_be_forgotten(window: RedisWindow | MemoryWindow) -> None:
    for caller in ("ann", "bob"):
        window.take(caller, 1, HOUR)
    window.take("ann", 2, HOUR)

    window.forget(1, HOUR, "ann")
    assert (1, 0) == (window.left("ann", 1, HOUR), window.left("bob", 1, HOUR))
    window.forget(1, HOUR)
    window.forget(1, HOUR)
    assert (1, 1) == (window.left("bob", 1, HOUR), window.left("ann", 2, HOUR))


def test_memory_forgets_callers_that_do_not_come_again() -> None:
    window = MemoryWindow()
    assert 0 == window.take("ann", 1, HOUR)
    for number in range(5_000):
        assert 0 == window.take(f"caller {number}", 1, 0.000_001)

    assert len(window._taken) <= 1024  # what it keeps is not seen otherwise
    assert 0 < window.take("ann", 1, HOUR)


def test_no_window_ever_has_more(window: RedisWindow | MemoryWindow) -> None:
    """Threads take turns for some windows; 11 that were certainly taken within one are too many."""
    taken: list[tuple[float, float]] = []
    deadline = time.monotonic() + 60

    def work() -> None:
        while len(taken) < 50 and time.monotonic() < deadline:
            before = time.monotonic()
            if window.take("ann", 10, 0.3) == 0:
                taken.append((before, time.monotonic()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert len(taken) >= 50
    taken.sort()
    for at in range(len(taken) - 10):
        latest = max(after for _, after in taken[at : at + 11])
        assert latest - taken[at][0] >= 0.3


def test_room_comes_back(window: RedisWindow | MemoryWindow) -> None:
    while window.take("ann", 2, 0.2) == 0:
        pass

    wait_until(lambda: window.take("ann", 2, 0.2) == 0, what="there is room again")


def test_key_is_named_by_the_prefix_and_expires(client: redis.Redis) -> None:
    RedisWindow(client, "shop:").take("user:ann", 60, 60.0)

    (key,) = client.keys("*flowq:rate*")
    assert key == b"shop:flowq:rate:60/60:user:ann"
    assert 0 < client.pttl(key) <= 60_000


def test_without_redis_nothing_passes() -> None:
    window = RedisWindow(redis.Redis(unix_socket_path="/nowhere/valkey.sock"))

    for ask in (window.take, window.left):
        with pytest.raises(RedisUnavailable, match="cannot be counted"):
            ask("ann", 1, HOUR)

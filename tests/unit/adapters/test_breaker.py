"""A server that is away is asked now and then, by one caller."""

import pytest

from flowq.adapters import breaker
from flowq.adapters.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker, "monotonic", clock)
    return clock


def test_server_that_works_is_always_asked(clock: Clock) -> None:
    one = CircuitBreaker(patience=5)
    assert one.allows()
    assert not one.record_success()
    assert one.allows()


def test_server_that_failed_is_left_alone_for_a_second(clock: Clock) -> None:
    one = CircuitBreaker(patience=5)
    assert one.record_failure()
    assert not one.allows()
    clock.now += 1.1
    assert one.allows()


def test_one_caller_at_a_time_finds_out_whether_it_is_back(clock: Clock) -> None:
    one = CircuitBreaker(patience=5)
    one.record_failure()
    clock.now += 1.1
    assert [one.allows(), one.allows()] == [True, False]
    clock.now += 5.1  # the first has never come back
    assert one.allows()


def test_pauses_grow_to_five_seconds_and_are_forgotten_when_it_works(clock: Clock) -> None:
    one = CircuitBreaker(patience=5)
    pauses = []
    for _ in range(5):
        one.record_failure()
        began = clock.now
        while not one.allows():
            clock.now += 0.25
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 5, 5]
    assert one.record_success()
    assert one.allows()
    assert one.record_failure()

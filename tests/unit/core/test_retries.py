"""Retries: a table from facts to delays."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.retries import RetryPolicy, error_type_names, retry_delay

STEADY = RetryPolicy(max_attempts=10, jitter=0)


def seconds(delay: timedelta | None) -> float | None:
    return None if delay is None else delay.total_seconds()


@pytest.mark.parametrize(
    "policy, attempt, delay",
    [
        (RetryPolicy(), 1, None),
        (STEADY, 1, 1),
        (STEADY, 2, 2),
        (STEADY, 5, 16),
        (STEADY, 9, 256),
        (STEADY, 10, None),
        (STEADY, 11, None),
        (RetryPolicy(max_attempts=99, jitter=0), 10, 300),
        (RetryPolicy(max_attempts=10**6, jitter=0), 10**5, 300),
        (RetryPolicy(max_attempts=3, jitter=0, backoff=1), 2, 1),
        (RetryPolicy(max_attempts=3, jitter=0, initial_delay=timedelta(0)), 2, 0),
    ],
)
def test_delays_grow_to_the_limit(policy: RetryPolicy, attempt: int, delay: float | None) -> None:
    """The first delay, then so many times longer, never past the limit, until attempts are used."""
    found = retry_delay(policy, attempt=attempt, error_types=("OSError",), chance=0.5)

    assert delay == seconds(found)


@pytest.mark.parametrize(
    "retry_on, retried",
    [
        ((), True),
        (("ConnectionResetError",), True),
        (("OSError",), True),
        (("builtins.ConnectionError",), True),
        (("ValueError",), False),
        (("ValueError", "OSError"), True),
    ],
)
def test_only_listed_errors_are_retried(retry_on: tuple[str, ...], *, retried: bool) -> None:
    """By class or base class, with or without module; all when none is listed."""
    policy = RetryPolicy(max_attempts=2, retry_on=retry_on)
    names = error_type_names(ConnectionResetError())

    assert retried == (retry_delay(policy, attempt=1, error_types=names, chance=0) is not None)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.integers(1, 50))
def test_jitter_takes_away_its_share_at_most(chance: float, jitter: float, attempt: int) -> None:
    """Chance shortens a delay by up to the jitter, and never makes it longer."""
    policy = RetryPolicy(max_attempts=100, jitter=jitter)
    whole = retry_delay(
        RetryPolicy(max_attempts=100, jitter=0), attempt=attempt, error_types=(), chance=0
    )

    delay = retry_delay(policy, attempt=attempt, error_types=(), chance=chance)

    assert whole is not None
    assert delay is not None
    tick = timedelta(microseconds=1)
    assert whole * (1 - jitter) - tick <= delay <= whole


class Own(ValueError):
    pass


def test_error_names_go_from_class_to_base() -> None:
    """Both names of each class, without the bases that every error has."""
    assert (
        "Own",
        f"{__name__}.Own",
        "ValueError",
        "builtins.ValueError",
        "Exception",
        "builtins.Exception",
    ) == error_type_names(Own())


@pytest.mark.parametrize(
    "attempt, asked, delay",
    [
        (1, 0, 1),
        (1, 1, 1),
        (1, 7, 7),
        (5, 7, 16),
        (1, 3600, 3600),
        (1, 10**7, 86_400),
        (10, 7, None),
    ],
)
def test_a_provider_is_given_the_time_it_asks_for(
    attempt: int, asked: float, delay: float | None
) -> None:
    """It comes before the policy's limit, up to a day; it does not make one more attempt."""
    at_least = timedelta(seconds=asked)

    found = retry_delay(STEADY, attempt=attempt, error_types=(), chance=0.5, at_least=at_least)

    assert delay == seconds(found)


@given(
    chance=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 8),
    asked=st.floats(0, 10_000),
)
def test_chance_never_shortens_what_was_asked_for(
    chance: float, jitter: float, attempt: int, asked: float
) -> None:
    policy = RetryPolicy(max_attempts=10, jitter=jitter)
    at_least = timedelta(seconds=asked)

    found = retry_delay(policy, attempt=attempt, error_types=(), chance=chance, at_least=at_least)

    assert found is not None
    assert found >= at_least - timedelta(microseconds=1)


@given(
    st.floats(1, allow_infinity=False),
    st.integers(1, 10**12),
    st.timedeltas(timedelta(0), timedelta(days=36_500)),
)
def test_no_policy_overflows(backoff: float, attempt: int, first: timedelta) -> None:
    policy = RetryPolicy(max_attempts=10**13, initial_delay=first, backoff=backoff, jitter=0)

    delay = retry_delay(policy, attempt=attempt, error_types=(), chance=0.0)

    assert delay is not None
    assert timedelta(0) <= delay <= policy.max_delay
    assert delay == policy.max_delay or delay >= first

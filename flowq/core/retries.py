"""Decides whether a failed attempt is followed by another, and when. Pure.

Exponential backoff with jitter; names follow Temporal's RetryPolicy, since many know them. The
first delay is `initial_delay`, each further one `backoff` times longer, none longer than
`max_delay`; jitter shortens a delay by up to its share, so that a thousand failed calls are not
retried in the same second.
"""

from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

#: The longest wait that a server can ask for.
_MAX_SERVER_DELAY: Final = timedelta(days=1)


class RetryPolicy(BaseModel):
    """How often, when and after which errors a step is retried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: int = Field(default=1, ge=1)  #: Attempts in all, including the first.
    initial_delay: timedelta = timedelta(seconds=1)  #: The delay before the second attempt.
    #: How many times longer each further delay is.
    backoff: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    max_delay: timedelta = timedelta(minutes=5)  #: No delay is longer.
    jitter: float = Field(default=0.2, ge=0, le=1)  #: Share by which a delay may be shortened.
    #: Names of exception classes, also of base classes; empty means every exception.
    retry_on: tuple[str, ...] = ()


def retry_delay(
    policy: RetryPolicy,
    *,
    attempt: int,
    error_types: tuple[str, ...],
    chance: float,
    at_least: timedelta | None = None,
) -> timedelta | None:
    """Decide whether and when a failed attempt is retried.

    Args:
        attempt: The number of the attempt that failed, from 1.
        error_types: Names of the error's class and of its bases, see `error_type_names`.
        chance: A random number in [0, 1), which makes the jitter.
        at_least: The delay that a server asked for, e.g. by `Retry-After`. It has priority over
            `max_delay`, up to a day; jitter is added to it, since many clients get the same value.

    Returns:
        The delay before the next attempt, or None when there is none.
    """
    if attempt >= policy.max_attempts:
        return None
    if policy.retry_on and not set(policy.retry_on) & set(error_types):
        return None
    delay = _grown(policy, attempt)
    if at_least is not None and at_least > delay * (1 - policy.jitter):
        return min(at_least, _MAX_SERVER_DELAY) + delay * policy.jitter * chance
    return delay * (1 - policy.jitter * chance)


def _grown(policy: RetryPolicy, attempt: int) -> timedelta:
    """Return the delay after an attempt, without jitter."""
    first, most = policy.initial_delay.total_seconds(), policy.max_delay.total_seconds()
    try:
        seconds = first * policy.backoff ** (attempt - 1)
    except OverflowError:  # 2.0 ** 2000: max_delay applies long before
        seconds = most if first else 0.0
    return policy.max_delay if seconds >= most else timedelta(seconds=seconds)


def error_type_names(error: BaseException) -> tuple[str, ...]:
    """Return the names under which a policy may list an error: short and with its module."""
    names: list[str] = []
    for cls in type(error).__mro__:
        if cls in (object, BaseException):
            continue
        names += [cls.__qualname__, f"{cls.__module__}.{cls.__qualname__}"]
    return tuple(names)

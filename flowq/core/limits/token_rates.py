"""Rates of tokens: how much of one is used, and who may begin. Pure.

How many tokens an attempt uses is known only afterwards. So its answers are charged to *spans*, a
twentieth of the rate's time each, and an attempt may begin while the spans of the last minute, say,
have used less than the rate. A span counts until its last moment lies back for the rate's time.

What begins reserves what such attempts have used on average, until it ends: otherwise everyone who
waits would begin when there is room for one. What a dead worker has reserved is free with its span.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from flowq.core.limits.slots import Limit

_SPANS: Final = 20
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Use:
    """What was used of a rate of tokens within one span.

    Attributes:
        began_at: The span's beginning.
        used: Tokens that were used, and those that are reserved.
        tokens: Those that were used.
        attempts: How many ended.
    """

    began_at: datetime
    used: int
    tokens: int
    attempts: int


def span_of(limit: Limit) -> timedelta:
    """Return the piece of time over which tokens are added up."""
    assert limit.per is not None
    return limit.per / _SPANS


def span_at(limit: Limit, now: datetime) -> datetime:
    """Return when the span began in which `now` lies; the same for all workers."""
    return now - (now - _EPOCH) % span_of(limit)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an attempt has reserved that may begin."""

    limit: Limit
    span: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class TokenUses:
    """What was used of a rate of tokens lately.

    Attributes:
        limit: The rate.
        now: When that was read.
        spans: Those of the last few of the rate's times, the oldest first.
    """

    limit: Limit
    now: datetime
    spans: Sequence[Use]

    @property
    def _counting(self) -> list[Use]:
        """The spans whose last moment lies within the rate's time."""
        assert self.limit.per is not None
        before = self.now - self.limit.per - span_of(self.limit)
        return [use for use in self.spans if use.began_at > before]

    @property
    def used(self) -> int:
        """What counts now, used or reserved."""
        return sum(use.used for use in self._counting)

    @property
    def each(self) -> int:
        """What an attempt is taken to use: the average; as long as there is none, a 20th of all."""
        attempts = sum(use.attempts for use in self.spans)
        if not attempts:
            return max(1, self.limit.slots // _SPANS)
        return max(1, round(sum(use.tokens for use in self.spans) / attempts))

    @property
    def room(self) -> int:
        """How many attempts may begin now."""
        left = self.limit.slots - self.used
        return max(0, -(-left // self.each))

    @property
    def delay(self) -> timedelta:
        """How long it is until one may begin, if nobody gives back what is reserved."""
        assert self.limit.per is not None
        used = self.used
        free_at = self.now
        for use in self._counting:
            if used < self.limit.slots:
                break
            used -= use.used
            free_at = use.began_at + span_of(self.limit) + self.limit.per
        return max(free_at - self.now, timedelta(0))

"""Rates of tokens: their usage, and how many attempts may begin. Pure.

How many tokens an attempt uses is known only afterwards. So usage is charged to *spans*, a
twentieth of the rate's period each, and an attempt may begin while the spans of the last period, a
minute for example, have used less than the rate. A span counts until its end is one period ago.

An attempt that begins reserves the average usage until it ends: otherwise all waiting attempts
would begin when there is capacity for one. Reservations of a dead worker expire with their span.
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
    """The usage of a rate of tokens in one span.

    Attributes:
        began_at: The begin of the span.
        used: Used and reserved tokens.
        tokens: Used tokens.
        attempts: How many attempts ended.
    """

    began_at: datetime
    used: int
    tokens: int
    attempts: int


def span_of(limit: Limit) -> timedelta:
    """Return the length of a span."""
    assert limit.per is not None
    return limit.per / _SPANS


def span_at(limit: Limit, now: datetime) -> datetime:
    """Return the begin of the span of `now`; the same for all workers."""
    return now - (now - _EPOCH) % span_of(limit)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of an attempt that may begin."""

    limit: Limit
    span: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class TokenUses:
    """The recent usage of a rate of tokens.

    Attributes:
        now: When it was read.
        spans: Those of the last few periods, the oldest first.
    """

    limit: Limit
    now: datetime
    spans: Sequence[Use]

    @property
    def _counting(self) -> list[Use]:
        """The spans that end within the last period."""
        assert self.limit.per is not None
        before = self.now - self.limit.per - span_of(self.limit)
        return [use for use in self.spans if use.began_at > before]

    @property
    def used(self) -> int:
        """The tokens that count now, used or reserved."""
        return sum(use.used for use in self._counting)

    @property
    def each(self) -> int:
        """The expected usage of an attempt: the average; without one, 5 % of the rate."""
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
        """The time until one may begin, if no reservation is released."""
        assert self.limit.per is not None
        used = self.used
        free_at = self.now
        for use in self._counting:
            if used < self.limit.slots:
                break
            used -= use.used
            free_at = use.began_at + span_of(self.limit) + self.limit.per
        return max(free_at - self.now, timedelta(0))

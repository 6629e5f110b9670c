"""Who may begin under a rate of tokens, and when."""

from datetime import UTC, datetime, timedelta

import pytest

from flowq.core.limits.slots import Limit
from flowq.core.limits.token_rates import TokenUses, Use, span_at, span_of

MINUTE = Limit("tokens/60:x", 1000, timedelta(minutes=1))
NOW = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)


def ago(seconds: float, used: int, tokens: int | None = None, attempts: int = 1) -> Use:
    began = NOW - timedelta(seconds=seconds)
    return Use(began, used, used if tokens is None else tokens, attempts)


def uses(*spans: Use) -> TokenUses:
    return TokenUses(MINUTE, NOW, spans)


def test_time_is_cut_into_the_same_spans_everywhere() -> None:
    assert span_of(MINUTE) == timedelta(seconds=3)
    begins = {span_at(MINUTE, NOW + timedelta(seconds=n / 10)) for n in range(30)}
    assert begins == {NOW}
    assert span_at(MINUTE, NOW + timedelta(seconds=3)) == NOW + timedelta(seconds=3)


def test_use_counts_until_its_last_moment_is_older_than_the_period() -> None:
    assert uses(ago(62.9, 400)).used == 400
    assert uses(ago(63, 400)).used == 0
    assert uses(ago(90, 400), ago(62, 10), ago(0, 1)).used == 11


def test_as_many_begin_as_fit_by_their_average() -> None:
    assert uses(ago(6, 300, attempts=3), ago(3, 300, attempts=3)).each == 100
    assert uses(ago(6, 300, attempts=3), ago(3, 300, attempts=3)).room == 4
    assert uses(ago(6, 950, attempts=10)).room == 1, "it may begin while anything is left"
    assert uses(ago(6, 1000, attempts=10)).room == 0
    assert uses(ago(6, 1700, attempts=10)).room == 0


def test_reservations_count_but_do_not_change_the_average() -> None:
    found = uses(ago(3, 500, tokens=200, attempts=2))
    assert (found.used, found.each, found.room) == (500, 100, 5)


def test_before_anything_is_known_an_attempt_counts_a_twentieth() -> None:
    assert (uses().each, uses().room) == (50, 20)
    assert TokenUses(Limit("tokens/60:x", 3, timedelta(minutes=1)), NOW, []).room == 3


def test_past_use_still_counts_for_the_average() -> None:
    assert uses(ago(100, 800, attempts=2)).each == 400


@pytest.mark.parametrize(
    "spans,seconds",
    [
        ([], 0),
        ([ago(40, 999)], 0),
        ([ago(40, 1000)], 23),
        ([ago(60, 400), ago(40, 300), ago(2, 600)], 3),
        ([ago(60, 400), ago(40, 300), ago(2, 1600)], 61),
    ],
)
def test_delay_lasts_until_enough_has_passed(spans: list[Use], seconds: float) -> None:
    assert uses(*spans).delay == timedelta(seconds=seconds)

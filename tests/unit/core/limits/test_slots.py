"""Keys and rates of limits."""

from datetime import timedelta
from typing import Any

import pytest

from flowq.core.limits.slots import LimitSpec, limit_of, names_in, parse_rate


@pytest.mark.parametrize(
    "text,rate",
    [
        ("60/minute", (60, timedelta(minutes=1), False)),
        ("10 per second", (10, timedelta(seconds=1), False)),
        (" 1000/h ", (1000, timedelta(hours=1), False)),
        ("5/seconds", (5, timedelta(seconds=1), False)),
        ("7/day", (7, timedelta(days=1), False)),
        ("90000 tokens/minute", (90_000, timedelta(minutes=1), True)),
        ("2_000_000 tokens per day", (2_000_000, timedelta(days=1), True)),
        ("1token/s", (1, timedelta(seconds=1), True)),
    ],
)
def test_rate_is_read(text: str, rate: Any) -> None:
    assert rate == parse_rate(text)


@pytest.mark.parametrize(
    "text", ["", "60", "60/", "/minute", "1.5/s", "-1/s", "60/ages", "9 words/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        parse_rate(text)


def test_key_names_parameters() -> None:
    assert {"customer", "model"} == names_in("{customer} with {model.name} {{literal}}")
    for wrong in ("{}", "{", "{0}", "{a b}"):
        with pytest.raises(ValueError, match=r".+"):
            names_in(wrong)


def test_limits_of_other_kinds_never_meet() -> None:
    at_once = LimitSpec(key="openai", slots=3)
    rate = LimitSpec(key="openai", slots=3, per=timedelta(seconds=1))

    minute = LimitSpec(key="openai", slots=3, per=timedelta(minutes=1), tokens=True)
    day = LimitSpec(key="openai", slots=9, per=timedelta(days=1), tokens=True)

    limits = [limit_of(spec, {}) for spec in (at_once, rate, minute, day)]
    assert len({limit.key for limit in limits}) == 4
    assert [limit.counts_tokens for limit in limits] == [False, False, True, True]


@pytest.mark.parametrize("value", ["x" * 500, "nul \0", "line\nbreak", "half \ud800"])
def test_any_argument_makes_a_key_that_databases_take(value: str) -> None:
    spec = LimitSpec(key="user {user}", slots=1, per=timedelta(days=31), tokens=True)

    key = limit_of(spec, {"user": value}).key

    assert len(key) <= 200
    assert key.isprintable()
    assert key != limit_of(spec, {"user": value + "!"}).key

"""Keys and rates of limits."""

from datetime import timedelta
from typing import Any

import pytest

from flowq.core.limits import LimitSpec, limit_of, names_in, parse_rate


@pytest.mark.parametrize(
    "text,rate",
    [
        ("60/minute", (60, timedelta(minutes=1))),
        ("10 per second", (10, timedelta(seconds=1))),
        (" 1000/h ", (1000, timedelta(hours=1))),
        ("5/seconds", (5, timedelta(seconds=1))),
        ("7/day", (7, timedelta(days=1))),
    ],
)
def test_rate_is_read(text: str, rate: Any) -> None:
    assert rate == parse_rate(text)


@pytest.mark.parametrize("text", ["", "60", "60/", "/minute", "1.5/s", "-1/s", "60/ages"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rate"):
        parse_rate(text)


def test_key_names_parameters() -> None:
    assert {"customer", "model"} == names_in("{customer} with {model.name} {{literal}}")
    for wrong in ("{}", "{", "{0}", "{a b}"):
        with pytest.raises(ValueError, match=r".+"):
            names_in(wrong)


def test_limits_of_other_kinds_never_meet() -> None:
    at_once = LimitSpec(key="openai", slots=3)
    rate = LimitSpec(key="openai", slots=3, per=timedelta(seconds=1))

    assert limit_of(at_once, {}).key != limit_of(rate, {}).key


@pytest.mark.parametrize("value", ["x" * 500, "nul \0", "line\nbreak", "half \ud800"])
def test_any_argument_makes_a_key_that_databases_take(value: str) -> None:
    spec = LimitSpec(key="user {user}", slots=1)

    key = limit_of(spec, {"user": value}).key

    assert len(key) <= 200
    assert key.isprintable()
    assert key != limit_of(spec, {"user": value + "!"}).key

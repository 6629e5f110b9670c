"""What providers answer, as errors that are retried or final."""

from datetime import UTC, datetime, timedelta

import pytest

from flowq.core.errors import ModelRefused, ModelUnavailable
from flowq.core.usage import CostStatus
from flowq.llm.failures import failure, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        (None, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT"}, 60),
        ({"retry-after": "Fri, 02 Jan 2026 03:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
    ],
)
def test_retry_after(headers: dict[str, str] | None, seconds: float | None) -> None:
    wanted = None if seconds is None else timedelta(seconds=seconds)

    assert wanted == retry_after(headers, now=NOW)


def test_a_date_is_meant_by_the_clock_of_the_server() -> None:
    headers = {
        "retry-after": "Fri, 02 Jan 2026 03:05:05 GMT",
        "date": "Fri, 02 Jan 2026 03:05:00 GMT",
    }

    assert timedelta(seconds=5) == retry_after(headers)
    assert retry_after({"retry-after": headers["retry-after"]}) is None


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_what_may_pass_is_retried(status: int) -> None:
    from pydantic_ai.exceptions import ModelHTTPError

    error = ModelHTTPError(status, "gpt", headers={"Retry-After": "3"})

    known, cost = failure(error, "openai", "gpt")

    assert isinstance(known, ModelUnavailable)
    assert timedelta(seconds=3) == known.retry_after
    assert CostStatus.UNBILLED is cost


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_does_not_pass_is_final(status: int) -> None:
    from pydantic_ai.exceptions import ModelHTTPError

    known, cost = failure(ModelHTTPError(status, "gpt"), "openai", "gpt")

    assert isinstance(known, ModelRefused)
    assert CostStatus.UNBILLED is cost


def test_of_a_lost_connection_nobody_knows_what_it_cost() -> None:
    from pydantic_ai.exceptions import ModelAPIError

    for error in (ModelAPIError("gpt", "Connection error."), ConnectionResetError("reset")):
        known, cost = failure(error, "openai", "gpt")
        assert isinstance(known, ModelUnavailable)
        assert known.retry_after is None
        assert CostStatus.UNKNOWN is cost

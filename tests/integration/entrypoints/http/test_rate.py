"""A user who sends more requests than FLOWQ_HTTP_RATE is refused for a time; nobody else is."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from flowq import bootstrap
from flowq.adapters.request_rate import RequestRate
from flowq.core.errors import InvalidSetting
from flowq.entrypoints.http.settings import HttpSettings, http_settings
from tests.tools.http_service import client
from tests.tools.playing import Stage


@pytest.fixture(autouse=True)
def _redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as found:

        def request_rate(number: int, period: timedelta) -> RequestRate:
            return RequestRate(found, number, period)

        monkeypatch.setattr(bootstrap, "request_rate", request_rate)
        yield


def test_too_many_requests_are_refused_by_all_servers(played: Stage) -> None:
    servers = [client(http_rate="2 per hour") for _ in range(2)]
    ann, bob = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}

    assert 200 == servers[0].get("/api/runs", headers=ann).status_code
    assert 200 == servers[1].get("/api/runs", headers=ann).status_code
    for http in servers:
        refused = http.post("/send_data", content=b"{", headers=ann)
        assert (429, "TooManyRequests") == (refused.status_code, refused.json()["error"])
        assert 1_700 < int(refused.headers["Retry-After"]) <= 1_800
        assert 200 == http.get("/api/runs", headers=bob).status_code
    assert {200} == {servers[0].get("/health").status_code for _ in range(5)}


@pytest.mark.parametrize("rate", ["many", "10", "0/minute", "10 tokens/minute"])
def test_what_is_no_rate_is_refused(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    http_settings.cache_clear()
    monkeypatch.setenv("FLOWQ_HTTP_RATE", rate)
    with pytest.raises(InvalidSetting, match="FLOWQ_HTTP_RATE") as refused:
        http_settings()
    assert "600/minute" in str(refused.value.hint)
    http_settings.cache_clear()


def test_no_rate_is_the_default() -> None:
    assert HttpSettings().http_rate is None

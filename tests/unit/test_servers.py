"""Which servers the settings name, and what is refused where there is no Redis."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from flowq import bootstrap, errors, servers
from flowq.adapters.events.unstreamed import UnstreamedEvents
from flowq.settings import Settings

RABBIT = "amqp://u:SECRET@rabbit:5672/shop"
REDIS = "redis://given:6379/3"


def chosen(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name in ("FLOWQ_BROKER_URL", "FLOWQ_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(f"FLOWQ_{name}", value)
    return Settings()


@pytest.mark.parametrize(
    "given, broker, redis",
    [
        ({}, "redis+socket", "redis+socket"),
        ({"REDIS_URL": REDIS}, REDIS, REDIS),
        ({"BROKER_URL": RABBIT}, RABBIT, None),
        ({"BROKER_URL": RABBIT, "REDIS_URL": REDIS}, RABBIT, REDIS),
        ({"BROKER_URL": "redis://one/1"}, "redis://one:6379/1", "redis://one:6379/1"),
        ({"BROKER_URL": "redis://one/1", "REDIS_URL": REDIS}, "redis://one:6379/1", REDIS),
        ({"BROKER_URL": "  "}, "redis+socket", "redis+socket"),
    ],
)
def test_broker_and_redis(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], broker: str, redis: str | None
) -> None:
    """One server by default; apart where the settings say so."""
    found = servers.of_settings(chosen(monkeypatch, **given))

    assert found.broker.celery_url.startswith(broker)
    assert (found.redis is None) is (redis is None)
    assert found.redis is None or found.redis.celery_url.startswith(str(redis))


@pytest.mark.parametrize("url", ["rabbit:5672", "amqp://a,b", "sqs://key@", "amqp://h?x=1"])
def test_wrong_broker_is_refused_by_its_own_name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FLOWQ_BROKER_URL", url)
    bootstrap.settings.cache_clear()
    with pytest.raises(errors.InvalidSetting, match="FLOWQ_BROKER_URL"):
        bootstrap.settings()


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process uses RabbitMQ, no Redis, and no app of a user."""
    monkeypatch.setattr(bootstrap, "_process", bootstrap._ProcessState())
    chosen(monkeypatch, BROKER_URL=RABBIT)
    bootstrap.settings.cache_clear()
    yield
    bootstrap.settings.cache_clear()


@pytest.mark.usefixtures("_alone")
def test_without_a_redis_everything_is_in_the_rows() -> None:
    assert bootstrap.embedded() is None
    assert bootstrap.redis_address() is None
    assert bootstrap.wakeups() is None
    assert not bootstrap.has_redis()
    cache, events = servers.in_redis(None, bootstrap.settings(), "")
    assert cache is None
    assert isinstance(events, UnstreamedEvents)
    app = bootstrap.app()
    assert RABBIT == app.conf.broker_url
    assert app.conf.result_backend is None
    assert "check FLOWQ_BROKER_URL" in servers.broker_hint(app, bootstrap.settings())


REFUSED: dict[str, Callable[[], object]] = {
    "FLOWQ_HTTP_RATE": lambda: bootstrap.request_rate(3, timedelta(seconds=1)),
    "a rate limit over all processes": bootstrap.moving_window,
    "a cache over all processes": lambda: bootstrap.expiring_values("x:"),
    "needs a Redis": bootstrap.redis_client,
}


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_a_redis_is_refused_by_name(name: str) -> None:
    with pytest.raises(errors.InvalidSetting, match=name) as caught:
        REFUSED[name]()

    assert "set FLOWQ_REDIS_URL" in (caught.value.hint or "")
    assert "SECRET" not in str(caught.value)

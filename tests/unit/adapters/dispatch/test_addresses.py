"""An app that flowq is put on before it has a broker: which one it gets, and when it is refused."""

import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from flowq import bootstrap, servers
from flowq.adapters.dispatch.addresses import (
    Servers,
    broker_redis,
    check_app,
    set_default_broker,
)
from flowq.core.addresses.amqp import read_amqp
from flowq.core.addresses.redis import RedisAddress, read_redis
from flowq.core.errors import InvalidSetting
from tests.tools.session.processes import run

_TLS = "rediss://:pw@given:6380/2?ssl_cert_reqs=none&socket_timeout=9"


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False)
    given = read_redis(_TLS)
    set_default_broker(app, lambda: Servers(given, given, "tenant:"))
    yield app
    app.close()


def test_app_without_a_broker_is_given_flowqs_redis(app: Celery) -> None:
    """With all that belongs to it; its chords are there too."""
    check_app(app)

    assert "rediss://:pw@given:6380/2" == app.conf.broker_url == app.conf.result_backend
    assert {"ssl_cert_reqs": "none"} == app.conf.broker_use_ssl
    assert "tenant:" == app.conf.broker_transport_options["global_keyprefix"]
    found = broker_redis(app)
    assert found is not None
    assert read_redis(_TLS).hosts == found.hosts


def _conf(app: Celery) -> None:
    app.conf["broker_url"] = "redis://own/1"


def _update(app: Celery) -> None:
    app.conf.update(broker_url="redis://own/1")


def _object(app: Celery) -> None:
    app.config_from_object({"broker_url": "redis://own/1"})


def _late(app: Celery) -> None:
    assert app.conf.broker_url.startswith("rediss://")  # whoever looks loads the configuration
    app.conf["broker_url"] = "redis://own/1"


@pytest.mark.parametrize("set_it", [_conf, _update, _object, _late])
def test_broker_that_is_set_later_is_the_apps(
    app: Celery, set_it: Callable[[Celery], None]
) -> None:
    """And nothing of the other one is in its way."""
    set_it(app)

    check_app(app)
    assert "redis://own/1" == app.conf.broker_url
    assert not app.conf.broker_use_ssl
    assert {} == app.conf.broker_transport_options
    assert "own" == app.connection_for_write().hostname
    found = broker_redis(app)
    assert found is not None
    assert "tcp" == found.kind


def test_broker_of_the_environment_is_the_apps(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://own/1")

    check_app(app)
    assert not app.conf.broker_use_ssl


def test_app_that_gets_none_is_refused() -> None:
    """At its first use, with what to write."""
    app = Celery("shop", set_as_current=False)
    set_default_broker(app, lambda: None)

    with pytest.raises(InvalidSetting, match="'shop' has no broker") as caught:
        check_app(app)

    hint = "Celery('shop', broker=…), or set FLOWQ_REDIS_URL or FLOWQ_BROKER_URL"
    assert hint == caught.value.hint


@pytest.mark.parametrize(
    "broker, says",
    [
        ("redis://:SECRET@a;redis://:SECRET@b", "names 2 servers"),
        (["redis://:SECRET@a", "redis://:SECRET@b"], "is a list"),
    ],
)
def test_broker_that_cannot_keep_results_says_what_to_set(broker: Any, says: str) -> None:
    """What is wrong is the app's, and FLOWQ_REDIS_URL is where else they may be kept."""
    app = Celery("shop", set_as_current=False)
    app.conf["broker_url"] = broker

    with pytest.raises(InvalidSetting, match=says) as caught:
        broker_redis(app)

    assert "the broker of app 'shop'" in str(caught.value)
    assert "set FLOWQ_REDIS_URL" in (caught.value.hint or "")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "broker", ["amqp://u:p@rabbit//", ["amqp://u:p@one//", "amqp://u:p@two//"], "memory://"]
)
def test_broker_that_is_no_redis_leaves_results_to_the_rows(broker: Any) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf["broker_url"] = broker

    assert broker_redis(app) is None


@pytest.mark.parametrize("redis", [None, read_redis("redis://given/3")], ids=["alone", "beside"])
def test_app_without_a_broker_is_given_rabbitmq(redis: RedisAddress | None) -> None:
    """And the Redis for its chords, if there is one; none of the options of Redis as a broker."""
    app = Celery("shop", set_as_current=False)
    given = Servers(read_amqp("amqps://u:p@rabbit/shop?ssl_ca_certs=/ca.pem"), redis, "tenant:")
    set_default_broker(app, lambda: given)
    check_app(app)

    assert "amqps://u:p@rabbit/shop" == app.conf.broker_url
    tls = {"ca_certs": "/ca.pem", "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "rabbit"}
    assert tls == app.conf.broker_use_ssl
    assert {} == app.conf.broker_transport_options
    assert (redis and redis.celery_url) == app.conf.result_backend
    assert broker_redis(app) is None


def test_sentinels_of_an_app_are_found() -> None:
    """Their options are beside the URL there."""
    app = Celery("shop", broker="sentinel://a;sentinel://b:7/3", set_as_current=False)
    login = {"master_name": "m", "sentinel_kwargs": {"password": "p"}}
    app.conf.broker_transport_options = login

    address = broker_redis(app)
    assert address is not None

    assert ("m", {"password": "p"}, 3) == (address.master_name, address.sentinel, address.db)


@pytest.mark.parametrize(
    "url, says",
    [
        ("amqp://u:p@rabbit//", "check that this broker runs, and the broker_url of app 'shop'"),
        ("redis://given/0", "check FLOWQ_REDIS_URL"),
    ],
)
def test_hint_names_what_is_wrong(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOWQ_REDIS_URL is not to blame for a RabbitMQ that is away."""
    monkeypatch.setenv("FLOWQ_REDIS_URL", "redis://given:6379/0")
    bootstrap.settings.cache_clear()
    app = Celery("shop", set_as_current=False)
    app.conf["broker_url"] = read_redis(url).celery_url if url.startswith("redis") else url
    try:
        assert says in servers.broker_hint(app, bootstrap.settings())
    finally:
        monkeypatch.undo()
        bootstrap.settings.cache_clear()


def test_app_whose_configuration_raises_starts_no_run(tmp_path: Path) -> None:
    """The caller gets an error of flowq's, and nothing was recorded."""
    source = """
import flowq
from celery import Celery

app = Celery("shop")
app.config_from_object("no_such_module")
flowq.install(app)


@flowq.step
def one() -> int:
    return 1


@flowq.flow
def f() -> int:
    return one()


try:
    f.enqueue()
except flowq.errors.InvalidSetting as error:
    print(error)
"""
    (tmp_path / "shop.py").write_text(source)

    done = run([sys.executable, "shop.py"], cwd=tmp_path)

    assert "the configuration of app 'shop' cannot be loaded" in done.stdout, done.stderr
    assert not (tmp_path / ".flowq").exists()


def test_worker_of_such_an_app_does_not_begin(tmp_path: Path) -> None:
    """It says why in one line, and ends with an error."""
    source = "import flowq\nfrom celery import Celery\napp = flowq.install(Celery('shop'))\n"
    (tmp_path / "shop.py").write_text(source)

    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "solo"]
    done = run(command, cwd=tmp_path)

    assert 0 != done.returncode
    assert "this worker cannot start: app 'shop' has no broker" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".flowq").exists()

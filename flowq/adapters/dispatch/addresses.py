"""Brokers of Celery apps: an address in Celery's words, an app's own, and one for an app without.

`install()` may come before an app has its broker, so nothing is read there. Celery asks for the
broker when the app's configuration is loaded, at its first use: an app that names none is then
given flowq's servers, as defaults that whatever is set later comes before. What cannot work is
refused when a worker starts and before the first run is recorded.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from celery import Celery

from flowq.core.addresses.amqp import AmqpAddress, is_amqp, read_amqp
from flowq.core.addresses.redis import RedisAddress, read_redis
from flowq.core.errors import InvalidSetting
from flowq.core.text.masking import without_secrets

#: Celery's names of what its result backend takes from settings, by redis-py's.
_OF_RESULTS: Final = {
    "client_name": "redis_client_name",
    "health_check_interval": "redis_backend_health_check_interval",
    "max_connections": "redis_max_connections",
    "retry_on_timeout": "redis_retry_on_timeout",
    "socket_connect_timeout": "redis_socket_connect_timeout",
    "socket_keepalive": "redis_socket_keepalive",
    "socket_timeout": "redis_socket_timeout",
}
_TRANSPORTS: Final = {"broker_transport_options", "result_backend_transport_options"}
_REDIS: Final = ("redis", "unix", "sentinel")
#: What each app without a broker was given.
_given: WeakKeyDictionary[Celery, dict[str, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Servers:
    """What an app of Celery uses.

    Attributes:
        broker: Where its messages go.
        redis: Where its chords are counted; None: nowhere, so no batch is a chord.
        prefix: What all names in Redis begin with.
    """

    broker: RedisAddress | AmqpAddress
    redis: RedisAddress | None
    prefix: str = ""


def read_broker(url: str, name: str = "FLOWQ_BROKER_URL") -> RedisAddress | AmqpAddress:
    """Read the URL of a broker: a Redis, or one that speaks AMQP.

    Raises:
        InvalidSetting: it is neither, or is wrong; the error says what to write.
    """
    return read_amqp(url, name) if is_amqp(url) else read_redis(url, name)


def server_settings(servers: Servers) -> dict[str, Any]:
    """Return the settings of Celery that put an app's broker and results where they are."""
    broker, redis, prefix = servers.broker, servers.redis, servers.prefix
    of_broker = (
        _amqp_settings(broker) if isinstance(broker, AmqpAddress) else _redis_broker(broker, prefix)
    )
    return of_broker | (_result_settings(redis, prefix) if redis is not None else {})


def _amqp_settings(address: AmqpAddress) -> dict[str, Any]:
    settings: dict[str, Any] = {"broker_url": address.celery_url}
    if address.tls:
        tls = {name.removeprefix("ssl_"): said for name, said in address.tls.items()}
        required = ssl.VerifyMode[f"CERT_{tls.pop('cert_reqs').upper()}"]
        # py-amqp checks a name only if it is given one; kombu puts that of the node in for None.
        name = urlsplit(address.celery_url).hostname if ";" not in address.celery_url else None
        checked = {} if required is ssl.CERT_NONE else {"server_hostname": name}
        settings["broker_use_ssl"] = {**tls, **checked, "cert_reqs": required}
    return settings


def _redis_broker(address: RedisAddress, prefix: str) -> dict[str, Any]:
    # Who may use the channels of one prefix alone may not subscribe to patterns of others.
    by_name = {"fanout_patterns": False} if prefix else {}
    settings: dict[str, Any] = {
        "broker_url": address.celery_url,
        "broker_transport_options": {**_shared(address, prefix), **by_name, **address.options},
    }
    return settings | ({"broker_use_ssl": dict(address.tls)} if address.tls else {})


def _result_settings(address: RedisAddress, prefix: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "result_backend": address.celery_url,
        "result_backend_transport_options": _shared(address, prefix),
    }
    if address.tls:
        settings["redis_backend_use_ssl"] = dict(address.tls)
    # A unix socket refuses the option; the broker's client leaves it out by itself.
    of_results = {**address.options}
    if address.kind == "unix":
        of_results.pop("socket_keepalive", None)
    return settings | {_OF_RESULTS[name]: said for name, said in of_results.items()}


def _shared(address: RedisAddress, prefix: str) -> dict[str, Any]:
    """Return the options that the transports of broker and results have in common."""
    shared: dict[str, Any] = {"global_keyprefix": prefix} if prefix else {}
    if address.kind == "sentinel":
        login = dict(address.sentinel)
        others = login.pop("min_other_sentinels", 0)
        shared |= {"master_name": address.master_name, "min_other_sentinels": others}
        times = {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}
        shared["sentinel_kwargs"] = {**times, **login}
    return shared


def configure_servers(app: Celery, servers: Servers) -> None:
    """Put an app on its servers; what it says of its transports already is kept beside that."""
    settings = server_settings(servers)
    for name in _TRANSPORTS & settings.keys():
        settings[name] = {**app.conf.get(name, {}), **settings[name]}
    app.conf.update(settings)


def set_default_broker(app: Celery, find: Callable[[], Servers | None]) -> None:
    """Have an app use flowq's servers if it turns out to name no broker.

    Args:
        app: The app; what is set on it later comes before this.
        find: Finds the servers, when they are needed; None when there are none to give.
    """

    def give(source: Any, **_: Any) -> None:
        found = None if source.broker_write_url or source.broker_read_url else find()
        if found is not None:
            _given[app] = server_settings(found)
            source.add_defaults(_given[app])

    if app.configured:  # type: ignore[attr-defined]  # the published types lack it
        give(app.conf)
    else:
        app.on_after_configure.connect(give, weak=False)


def load_config(app: Celery) -> None:
    """Load the configuration of an app, which is the user's code.

    Raises:
        InvalidSetting: that failed.
    """
    try:
        _ = app.conf.broker_write_url
    except Exception as error:
        raise InvalidSetting(
            f"the configuration of app {app.main!r} cannot be loaded: "
            f"{type(error).__name__}: {error}",
            hint=f"celery -A {app.main or 'module'} report",
        ) from error


def check_app(app: Celery) -> None:
    """Find out, without asking a server, whether messages can be sent through an app.

    Raises:
        InvalidSetting: they cannot, whatever server answers; says what to set.
    """
    load_config(app)
    url = app.conf.broker_write_url
    if not url:
        raise InvalidSetting(
            f"app {app.main!r} has no broker",
            hint=f"Celery({app.main!r}, broker=…), or set FLOWQ_REDIS_URL or FLOWQ_BROKER_URL",
        )
    given = _given.get(app)
    if given and given["broker_url"] != url:
        given.clear()  # it was set after all: what belongs to the other one is in its way
    # Neither error is kept as a cause: Python's about an address quote pieces of its password.
    try:
        app.connection_for_write().get_transport_cls()
    except Exception as error:  # noqa: BLE001 - of Celery, kombu, a client library or Python
        raise _unusable("broker", "broker_url", app, error, broker_urls(app)) from None
    try:
        _ = app.backend
    except Exception as error:  # noqa: BLE001 - likewise
        urls = [str(app.conf.result_backend)]
        raise _unusable("result backend", "result_backend", app, error, urls) from None


def broker_urls(app: Celery) -> list[str]:
    """Return the addresses of an app's broker; none when its configuration cannot be loaded."""
    try:
        urls: Any = app.conf.broker_write_url or []
    except Exception:  # noqa: BLE001 - whoever asks tells of that
        return []
    return [urls] if isinstance(urls, str) else [str(url) for url in urls]


def broker_redis(app: Celery) -> RedisAddress | None:
    """Return where the broker of an app is, for clients of flowq's own; None if it is no Redis.

    Raises:
        InvalidSetting: it is a Redis, and not one address that all clients can use.
    """
    url: Any = app.conf.broker_write_url  # text, or a list of texts
    urls = [url] if isinstance(url, str) else [str(one) for one in url or ()]
    if not any(one.startswith(_REDIS) for one in urls):
        return None
    name = f"the broker of app {app.main!r}"
    hint = "set FLOWQ_REDIS_URL to the Redis that is to keep small results and events"
    if not isinstance(url, str):
        raise InvalidSetting(
            f"small results and events are kept in one Redis, and {name} is a list", hint=hint
        )
    transport = app.conf.broker_transport_options or {}
    tls = app.conf.broker_use_ssl
    try:
        return read_redis(
            url, name, tls=tls if isinstance(tls, dict) else None, sentinel=_sentinel(transport)
        )
    except InvalidSetting as error:
        raise InvalidSetting(error.message, hint=f"{error.hint}; or {hint}") from None


def broker_prefix(app: Celery) -> str:
    """Return what all keys begin with that an app's broker writes."""
    return str((app.conf.broker_transport_options or {}).get("global_keyprefix", ""))


def _sentinel(transport: dict[str, Any]) -> dict[str, Any]:
    login = transport.get("sentinel_kwargs") or {}
    known = {f"sentinel_{name}": login[name] for name in ("username", "password") if name in login}
    for name in ("master_name", "min_other_sentinels"):
        if transport.get(name):
            known[name] = transport[name]
    return known


def _unusable(
    what: str, setting: str, app: Celery, error: Exception, urls: list[str]
) -> InvalidSetting:
    text = without_secrets(" ".join(str(error).split()), *urls)
    return InvalidSetting(
        f"the {what} of app {app.main!r} cannot be used: {type(error).__name__}: {text}",
        hint=f"check its {setting} and what that needs to be installed; "
        f"celery -A {app.main or 'module'} report",
    )

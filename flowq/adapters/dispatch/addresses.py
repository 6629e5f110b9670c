"""Brokers of Celery apps: an address in Celery's words, an app's own, and one for an app without.

`install()` may come before an app has its broker, so nothing is read there. Celery asks for the
broker when the app's configuration is loaded, at its first use: an app that names none is then
given flowq's Redis, as defaults that whatever is set later comes before. What cannot work is
refused when a worker starts and before the first run is recorded.
"""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from celery import Celery

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
_TRANSPORTS: Final = ("broker_transport_options", "result_backend_transport_options")
#: What each app without a broker was given.
_given: WeakKeyDictionary[Celery, dict[str, Any]] = WeakKeyDictionary()


def address_settings(address: RedisAddress, prefix: str = "") -> dict[str, Any]:
    """Return the settings of Celery that put broker and results on a Redis.

    Args:
        address: Where it is.
        prefix: What all keys and channels begin with.
    """
    shared: dict[str, Any] = {"global_keyprefix": prefix} if prefix else {}
    if address.kind == "sentinel":
        login = dict(address.sentinel)
        others = login.pop("min_other_sentinels", 0)
        shared |= {"master_name": address.master_name, "min_other_sentinels": others}
        times = {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}
        shared["sentinel_kwargs"] = {**times, **login}
    # Who may use the channels of one prefix alone may not subscribe to patterns of others.
    by_name = {"fanout_patterns": False} if prefix else {}
    settings: dict[str, Any] = {
        "broker_url": address.celery_url,
        "result_backend": address.celery_url,
        "broker_transport_options": {**shared, **by_name, **address.options},
        "result_backend_transport_options": shared,
    }
    if address.tls:
        settings |= {
            "broker_use_ssl": dict(address.tls),
            "redis_backend_use_ssl": dict(address.tls),
        }
    # A unix socket refuses the option; the broker's client leaves it out by itself.
    of_results = {**address.options}
    if address.kind == "unix":
        of_results.pop("socket_keepalive", None)
    return settings | {_OF_RESULTS[name]: said for name, said in of_results.items()}


def configure_addresses(app: Celery, address: RedisAddress, prefix: str = "") -> None:
    """Put an app on a Redis; what it says of its transports already is kept beside that."""
    settings = address_settings(address, prefix)
    for name in _TRANSPORTS:
        settings[name] = {**app.conf.get(name, {}), **settings[name]}
    app.conf.update(settings)


def set_default_broker(app: Celery, find: Callable[[], tuple[RedisAddress, str] | None]) -> None:
    """Have an app use a Redis if it turns out to name no broker.

    Args:
        app: The app; what is set on it later comes before this.
        find: Finds the Redis and the prefix of its keys, when that is needed; None when there is
            none to give.
    """

    def give(source: Any, **_: Any) -> None:
        found = None if source.broker_write_url or source.broker_read_url else find()
        if found is not None:
            _given[app] = address_settings(*found)
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
            hint=f"Celery({app.main!r}, broker=…), or set FLOWQ_REDIS_URL",
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


def broker_address(app: Celery) -> RedisAddress:
    """Return where the broker of an app is, for clients of flowq's own.

    Raises:
        InvalidSetting: it is no Redis, or not one address.
    """
    url: Any = app.conf.broker_write_url  # text, or a list of texts
    name = f"the broker of app {app.main!r}"
    hint = "set FLOWQ_REDIS_URL to the Redis that is to keep small results and events"
    if not isinstance(url, str) or not url.startswith(("redis", "unix", "sentinel")):
        scheme = str(url).partition(":")[0] if isinstance(url, str) else "a list of them"
        raise InvalidSetting(
            f"small results and events are kept in Redis, and {name}, {scheme}, is none", hint=hint
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

"""One URL of Redis, read once: the dialects of Celery's broker, its results and redis-py."""

from typing import Any
from urllib.parse import quote

import kombu
import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from flowq.adapters.dispatch.addresses import Servers, server_settings
from flowq.adapters.redis_client import redis_client
from flowq.core.addresses.redis import RedisAddress, read_redis
from flowq.core.errors import InvalidSetting

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_HOSTS = st.sampled_from(["localhost", "127.0.0.1", "[::1]", "[fe80::1]", "redis.example.com"])
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "health_check_interval": st.integers(0, 99),
    "socket_timeout": st.floats(0.1, 60),
    "socket_connect_timeout": st.floats(0.1, 60),
    "socket_keepalive": st.sampled_from(["1", "true", "False"]),
    "retry_on_timeout": st.sampled_from(["0", "yes"]),
    "max_connections": st.integers(1, 99),
    "client_name": st.just("shop"),
}
_OPTIONS = st.fixed_dictionaries({}, optional=_VALUES)
_TLS = st.fixed_dictionaries(
    {},
    optional={
        "ssl_cert_reqs": st.sampled_from(
            ["required", "optional", "none", "CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"]
        ),
        "ssl_ca_certs": st.sampled_from(["/etc/ca.pem", "/a b/ca.pem"]),
        "ssl_check_hostname": st.sampled_from(["true", "false"]),
    },
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Addresses that can be read, in all their forms."""
    user, password = draw(st.none() | _TEXT), draw(st.none() | _TEXT)
    login = quote(user or "", safe="")
    login += f":{quote(password, safe='')}" if password else ""
    login += "@" if login else ""
    kind = draw(st.sampled_from(["redis", "rediss", "unix", "redis+socket"]))
    options = dict(draw(_OPTIONS))
    db = draw(st.none() | st.integers(0, 15))
    where = draw(st.sampled_from(["db", "virtual_host", "path"]))
    if kind in {"unix", "redis+socket"}:
        place = quote(f"/run/{draw(_TEXT).replace('/', '-')}.sock")
        where = "db" if where == "path" else where
    else:
        place = draw(_HOSTS) + draw(st.sampled_from(["", ":6380"]))
    if kind == "rediss":
        options |= draw(_TLS)
    if db is not None and where == "path":
        place += f"/{db}"
    elif db is not None:
        options[where] = db
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in options.items())
    return f"{kind}://{login}{place}" + (f"?{query}" if query else "")


def _seen(connection: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a connection of redis-py: its address and its user."""
    asked = {
        name: str(connection[name])
        for name in ("host", "port", "path", "username", "password", "ssl_ca_certs")
        if connection.get(name)
    }
    reqs = str(connection.get("ssl_cert_reqs", "")).rpartition("_")[2].lower()
    numbers = {"0": "none", "1": "optional", "2": "required"}
    return asked | {"db": int(connection["db"]), "tls": numbers.get(reqs, reqs)}


@given(urls())
def test_three_clients_of_one_url_go_to_one_place(url: str) -> None:
    """Celery's broker, its result backend and flowq's own client; with the same login and TLS."""
    address = read_redis(url)
    app = Celery("test", set_as_current=False)
    app.conf.update(server_settings(Servers(address, address)))

    own = redis_client(address, 5).connection_pool.connection_kwargs
    backend: Any = app.backend
    results = backend.connparams
    connection: Any = app.connection_for_write()
    channel = connection.transport.Channel
    broker = channel._connparams(_Unconnected(connection))

    assert _seen(own) == _seen(results) == _seen(broker)
    for name, value in address.options.items():
        assert value == broker.get(name, value)
        assert value == results.get(name, value)
    assert isinstance(connection, kombu.Connection)


class _Unconnected:
    """As much of a channel of kombu's as it reads to make its connections; none is made."""

    def __init__(self, client: Any) -> None:
        self.connection = client.transport
        channel = client.transport.Channel
        for name in channel.from_transport_options:
            setattr(self, name, client.transport_options.get(name, getattr(channel, name, None)))
        self.connection_class = channel.connection_class
        self.connection_class_ssl = channel.connection_class_ssl
        self._process_credential_provider = lambda *_: None
        self._prepare_virtual_host = lambda host: channel._prepare_virtual_host(self, host)
        self._filter_tcp_connparams = channel._filter_tcp_connparams.__get__(self)


@given(urls())
def test_celery_form_is_read_as_itself(url: str) -> None:
    """What flowq writes for Celery it reads as the same place."""
    address = read_redis(url)

    again = read_redis(address.celery_url)

    place = ("kind", "hosts", "path", "db", "username", "password")
    assert [getattr(address, name) for name in place] == [getattr(again, name) for name in place]


def test_tls_asks_for_a_certificate_by_default() -> None:
    assert {"ssl_cert_reqs": "required"} == read_redis("rediss://host").tls
    assert {"ssl_cert_reqs": "none"} == read_redis("rediss://host?ssl_cert_reqs=CERT_NONE").tls


def test_sentinels() -> None:
    url = "sentinel://:pw@one ; sentinel://:pw@two:26380/3?master_name=shop&sentinel_password=s"
    assert RedisAddress(
        "sentinel",
        hosts=(("one", 26379), ("two", 26380)),
        db=3,
        password="pw",
        master_name="shop",
        sentinel={"password": "s"},
    ) == read_redis(url)


REFUSED = {
    "": "no scheme",
    "127.0.0.1:6391": "no scheme",
    "localhost:6379/0": "no scheme",
    "user:SECRET@host:6379": "no scheme",
    "valkey://u:SECRET@host": "not a Redis scheme",
    "mysql+pymysql://u:SECRET@host": "not a Redis scheme",
    "redis://u:SECRET/x@host": "port that is not a number",
    "redis://u:SECRET?x@host": "port that is not a number",
    "redis://u:SECRET#x@host": "port that is not a number",
    "redis://u:SECRET[x@host": "wrong host",
    "redis://u/SECRET@host": "not percent-encoded",
    "redis://u:12/SECRET@host": "not percent-encoded",
    "redis://host:SECRET": "port that is not a number",
    "redis://host:99999": "port that is not a number",
    "redis://host:0": "port 0",
    "redis://host/SECRET": "wrong db",
    "redis://host/1?db=2": "two databases",
    "redis://host#SECRET": "a # in it",
    "redis://:SECRET@a;redis://:SECRET@b": "names 2 servers",
    "redis://one,two": "several servers",
    "redis://one;two": "several servers",
    "redis://ho st": "space",
    "redis://:SEC\nRET@host": "line break",
    "redis://host?SECRET=1": "an option",
    "redis://host?password=": "wrong password",
    "redis://host?socket_timeout=SECRET": "wrong socket_timeout",
    "redis://host?socket_timeout=nan": "wrong socket_timeout",
    "redis://host?socket_timeout=1&socket_timeout=2": "twice",
    "redis://host?protocol=3": "do not both support",
    "redis://host?ssl_cert_reqs=required": "TLS options",
    "rediss://host?ssl_cert_reqs=SECRET": "wrong ssl_cert_reqs",
    "unix://host/socket": "not name a socket",
    "unix://": "not name a socket",
    "sentinel://one;sentinel://two": "what the sentinels call",
    "sentinel://one;redis://two": "names 2 servers",
    "sentinel://one?master_name=m&ssl_cert_reqs=none": "TLS behind sentinels",
    "redis://one?master_name=m": "sentinel options",
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_not_all_clients_can_do_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidSetting, match=REFUSED[url]) as caught:
        read_redis(url)

    assert "SECRET" not in str(caught.value)
    assert caught.value.hint
    assert str(caught.value).startswith("FLOWQ_REDIS_URL ")


@given(
    st.text(max_size=40)
    | st.text("redis:/@?#%;=[].0123SECRET", max_size=40).map("redis://{}".format)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error than flowq's, whatever stands in the variable."""
    try:
        address = read_redis(text)
    except InvalidSetting:
        return
    redis_client(address, 1)


def test_misspelt_option_is_named() -> None:
    with pytest.raises(InvalidSetting, match="did you mean socket_timeout"):
        read_redis("redis://host?socket_timout=1")

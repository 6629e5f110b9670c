"""Addresses of AMQP brokers: read as kombu reads them, or refused by name without their secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection

from flowq.core.addresses.amqp import AmqpAddress, is_amqp, read_amqp
from flowq.core.errors import InvalidSetting

_HOSTS = st.sampled_from(["rabbit", "rabbit.example.com", "10.0.0.7", "localhost"])
_WORDS = st.text("abcXYZ019-_~", min_size=1, max_size=8)


@given(
    host=_HOSTS,
    port=st.none() | st.integers(1, 65_535),
    login=st.none() | st.tuples(_WORDS, _WORDS),
    vhost=st.sampled_from(["", "/", "//", "/shop", "/%2Fshop"]),
)
def test_address_is_passed_on_unchanged(
    host: str, port: int | None, login: tuple[str, str] | None, vhost: str
) -> None:
    """With what kombu finds in it."""
    user = f"{login[0]}:{login[1]}@" if login else ""
    url = f"amqp://{user}{host}{f':{port}' if port else ''}{vhost}"

    address = read_amqp(f" {url} ")

    assert AmqpAddress(url) == address
    connection = Connection(address.celery_url)
    assert (host, login and login[1]) == (connection.hostname, connection.password)
    assert (
        login is None
        or login[1] not in f"{str(address).removeprefix('amqp://')}{address!r}"
        or (login[1] in url.partition("@")[2])
    )


def test_nodes_of_a_cluster() -> None:
    address = read_amqp("amqp://u:p@one:5673/shop ; amqp://u:p@two/shop")

    assert "amqp://u:p@one:5673/shop;amqp://u:p@two/shop" == address.celery_url
    assert ["one", "two"] == [
        Connection(url).hostname for url in Connection(address.celery_url).alt
    ]
    assert "amqp://one:5673/shop;amqp://two/shop" == str(address)


def test_tls_checks_the_certificate_unless_told_otherwise() -> None:
    url = "amqps://u:p@rabbit/?ssl_ca_certs=/etc/ca.pem"
    assert {"ssl_cert_reqs": "required"} == read_amqp("amqps://rabbit").tls
    assert {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem"} == read_amqp(url).tls
    assert {"ssl_cert_reqs": "none"} == read_amqp("amqps://h?ssl_cert_reqs=CERT_NONE").tls
    assert {} == read_amqp("amqp://rabbit").tls


def test_schemes() -> None:
    assert is_amqp(" AMQPS://rabbit")
    assert not is_amqp("redis://rabbit")
    assert not is_amqp("amqp")


@pytest.mark.parametrize(
    "url, says",
    [
        ("redis://h", "not the address of an AMQP broker"),
        ("amqp:h", "not the address of an AMQP broker"),
        ("amqp://", "does not name one host"),
        ("amqp://u:SECRET@a,b//", "does not name one host"),
        ("amqp://u:SECRET@h:port//", "port that is not a number"),
        ("amqp://u:SEC/RET@h//", "(port that is not a number|not percent-encoded)"),
        ("amqp://u:SECRET#@h", "(port that is not a number|not percent-encoded)"),
        ("amqp://u:SECRET@h:0", "port 0"),
        ("amqp://u:SECRET@h/a b", "a space"),
        ("amqp://u:SECRET@h?heartbeat=9", "the option heartbeat"),
        ("amqp://u:SECRET@h?SECRET=9", "an option"),
        ("amqp://u:SECRET@h?ssl_ca_certs=x", "does not use TLS"),
        ("amqps://u:SECRET@h?ssl_cert_reqs=maybe", "wrong ssl_cert_reqs"),
        ("amqps://u:SECRET@h?ssl_keyfile=a&ssl_keyfile=b", "twice"),
        ("amqps://u:SECRET@h;amqp://u:SECRET@h", "with TLS and without"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(url: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says) as caught:
        read_amqp(url)

    assert caught.value.message.startswith("FLOWQ_BROKER_URL")
    assert caught.value.hint
    assert "SEC" not in str(caught.value)

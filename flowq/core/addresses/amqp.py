"""The URL of an AMQP broker, such as RabbitMQ, as FLOWQ_BROKER_URL has it.

kombu hands what it finds in the query of such a URL to its client, which ignores what it does not
know. So a wrong option would be lost in silence; here it is refused. TLS options have the names
that they have for Redis. No error repeats a part of the URL that may be a secret.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from flowq.core.errors import InvalidSetting
from flowq.core.text.masking import SEPARATOR, masked

_SCHEMES: Final = ("amqp", "amqps")
_FORMS: Final = "amqp://user:password@host:5672/vhost, or amqps://… with TLS"
_QUOTE: Final = "percent-encode user and password: / is %2F, @ is %40, : is %3A, # is %23"
_TLS: Final = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile")
_CERT_REQS: Final = ("required", "optional", "none")


@dataclass(frozen=True)
class AmqpAddress:
    """The address of an AMQP broker.

    Attributes:
        celery_url: As Celery writes it; the nodes of a cluster are separated by `;`.
        tls: TLS options with `amqps`, always with `ssl_cert_reqs`; empty without TLS.
    """

    celery_url: str = field(repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return masked(self.celery_url)


def is_amqp(url: str) -> bool:
    """Return whether an address has a scheme of AMQP."""
    scheme, colon, _ = url.strip().partition("://")
    return bool(colon) and scheme.lower() in _SCHEMES


def read_amqp(url: str, name: str = "FLOWQ_BROKER_URL") -> AmqpAddress:
    """Read the URL of an AMQP broker.

    Args:
        url: One address, or those of the nodes of a cluster separated by `;`.
        name: The setting, for errors.

    Raises:
        InvalidSetting: it cannot be read; the error says what to write.
    """
    urls = SEPARATOR.split(url.strip())
    parts = [_split(one, name) for one in urls]
    if len({part.scheme for part in parts}) > 1:
        raise InvalidSetting(f"{name} has nodes with TLS and without", hint="use amqps:// for all")
    options = _options(parts, name)
    if parts[0].scheme == "amqp" and options:
        raise InvalidSetting(f"{name} has TLS options, but does not use TLS", hint="use amqps://…")
    tls = {"ssl_cert_reqs": "required", **options} if parts[0].scheme == "amqps" else {}
    return AmqpAddress(";".join(one.partition("?")[0] for one in urls), tls)


def _split(url: str, name: str) -> SplitResult:
    if not is_amqp(url):
        raise InvalidSetting(f"{name} is not the address of an AMQP broker", hint=f"use {_FORMS}")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise InvalidSetting(
            f"{name} has a space or a line break in it", hint="write %20 for a space"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidSetting(
            f"{name} has a wrong host, or a port that is not a number", hint=_QUOTE
        ) from None
    if "@" in url.partition("://")[2][len(parts.netloc) :] or "#" in url or port == 0:
        raise InvalidSetting(
            f"{name} has a user or password that is not percent-encoded, or port 0", hint=_QUOTE
        )
    if not parts.hostname or re.search(r"[;,]", parts.hostname):
        raise InvalidSetting(f"{name} does not name one host in each address", hint=f"use {_FORMS}")
    return parts


def _options(parts: Sequence[SplitResult], name: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for part in parts:
        for key, text in parse_qsl(part.query, keep_blank_values=True):
            if key not in _TLS:
                said = f"the option {key}" if re.fullmatch(r"[a-z_]{1,30}", key) else "an option"
                raise InvalidSetting(
                    f"{name} has {said}, which flowq does not know",
                    hint=f"there are {', '.join(_TLS)}; for others set the app's "
                    "broker_transport_options",
                )
            if given.setdefault(key, text) != text or not text:
                raise InvalidSetting(f"{name} gives {key} twice, or empty", hint="give it once")
    reqs = given.get("ssl_cert_reqs", "required").removeprefix("CERT_").lower()
    if reqs not in _CERT_REQS:
        raise InvalidSetting(
            f"{name} has a wrong ssl_cert_reqs", hint=f"it is {', '.join(_CERT_REQS)}"
        )
    return {**given, "ssl_cert_reqs": reqs} if "ssl_cert_reqs" in given else given

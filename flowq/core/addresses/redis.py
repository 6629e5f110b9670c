"""The one parser of Redis URLs.

Celery's broker, Celery's result backend and redis-py read URLs in three dialects: each refuses or
ignores options that another one needs. So flowq parses a URL here, once, into a `RedisAddress`,
from which `flowq.adapters.redis_client` and `flowq.adapters.dispatch.addresses` make the options of
each. What not all of them support is refused here, with the reason, before anything is recorded. No
error repeats a part of the URL that may be a secret.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from flowq.core.errors import InvalidSetting
from flowq.core.text.masking import SEPARATOR, masked

Kind: TypeAlias = Literal["tcp", "tls", "unix", "sentinel"]

_KINDS: Final[Mapping[str, Kind]] = {
    "redis": "tcp",
    "rediss": "tls",
    "unix": "unix",
    "redis+socket": "unix",
    "sentinel": "sentinel",
}
_SCHEMES: Final[Mapping[Kind, str]] = {"tcp": "redis", "tls": "rediss", "sentinel": "sentinel"}
_PORTS: Final[Mapping[Kind, int]] = {"tcp": 6379, "tls": 6379, "sentinel": 26379}
_FORMS: Final = (
    "redis://host:6379/0, rediss://… with TLS, unix:///path/to/socket, or "
    "sentinel://one:26379;sentinel://two:26379/0?master_name=…"
)
_QUOTE: Final = "percent-encode user and password: / is %2F, @ is %40, : is %3A, # is %23"


@dataclass(frozen=True)
class RedisAddress:
    """The address of Redis, and how to connect.

    Attributes:
        kind: How to connect.
        hosts: Hosts and ports, those of the sentinels if there are any; none with `unix`.
        path: The socket, with `unix`.
        db: Number of the database.
        username: The login.
        password: The same.
        master_name: The server's name for the sentinels.
        sentinel: Options of redis-py's connections to sentinels.
        tls: TLS options of redis-py's connections; always with `ssl_cert_reqs`.
        options: Other options of connections, by redis-py's names.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    master_name: str = ""
    sentinel: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return masked(self.celery_url)

    @property
    def celery_url(self) -> str:
        """The address as Celery writes it, for broker and result backend; without options."""
        login = quote(self.username or "", safe="")
        if self.password is not None:
            login += f":{quote(self.password, safe='')}"
        login += "@" if login else ""
        if self.kind == "unix":
            number = f"?virtual_host={self.db}" if self.db else ""
            return f"redis+socket://{login}{quote(self.path)}{number}"
        scheme = _SCHEMES[self.kind]
        return ";".join(
            f"{scheme}://{login}{_bracketed(host)}:{port}/{self.db}" for host, port in self.hosts
        )


def read_redis(
    url: str,
    name: str = "FLOWQ_REDIS_URL",
    *,
    tls: Mapping[str, Any] | None = None,
    sentinel: Mapping[str, Any] | None = None,
) -> RedisAddress:
    """Read the URL of a Redis, in Celery's or in redis-py's dialect.

    Args:
        url: One address, or those of sentinels separated by `;`.
        name: The setting, for errors.
        tls: TLS options beside the URL, as in Celery's `broker_use_ssl`.
        sentinel: Options of sentinels that may be missing in the URL.

    Raises:
        InvalidSetting: it cannot be read by all of them; the error says what to write.
    """
    try:
        return _read(SEPARATOR.split(url.strip()), dict(tls or {}), dict(sentinel or {}))
    except _Refused as error:
        raise InvalidSetting(f"{name} {error.why}", hint=error.hint) from None


class _Refused(Exception):
    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def _read(urls: Sequence[str], tls: dict[str, Any], others: dict[str, Any]) -> RedisAddress:
    parts = [_split(url) for url in urls]
    first, kind = parts[0], _KINDS[parts[0].scheme]
    if len(parts) > 1 and {part.scheme for part in parts} != {"sentinel"}:
        raise _Refused(
            f"names {len(parts)} servers, and nothing says which one is the primary",
            "name one address that follows the primary, or sentinels: sentinel://…;sentinel://…",
        )
    options = {**(others if kind == "sentinel" else {}), **_options(parts)}
    own_tls = {key: options.pop(key) for key in list(options) if key.startswith("ssl_")}
    if kind == "tcp" and tls and not own_tls:
        kind = "tls"  # as in Celery, with `broker_use_ssl`
    of_sentinels = {
        key.removeprefix("sentinel_"): options.pop(key)
        for key in ("sentinel_username", "sentinel_password", "min_other_sentinels")
        if key in options
    }
    address = RedisAddress(
        kind,
        () if kind == "unix" else tuple(_host(part, kind) for part in parts),
        unquote(first.path) if kind == "unix" else "",
        _db("" if kind == "unix" else parts[-1].path, options),
        options.pop("username", None) or (unquote(first.username or "") or None),
        options.pop("password", None) or (unquote(first.password or "") or None),
        options.pop("master_name", ""),
        of_sentinels,
        {"ssl_cert_reqs": "required", **tls, **own_tls} if kind == "tls" else own_tls,
        options,
    )
    _check(address, first)
    return address


def _check(address: RedisAddress, first: SplitResult) -> None:
    """Refuse options that exclude each other."""
    if address.kind == "unix" and (first.hostname or not first.path.strip("/")):
        raise _Refused("does not name a socket", "write three slashes: unix:///path/to/socket")
    if address.kind == "sentinel" and address.tls:
        raise _Refused(
            "asks for TLS behind sentinels, which flowq does not support",
            "name the server: rediss://…",
        )
    if address.kind != "tls" and address.tls:
        raise _Refused("has TLS options, but its scheme does not use TLS", "use rediss://…")
    if address.kind == "sentinel" and not address.master_name:
        raise _Refused(
            "does not say what the sentinels call the server",
            "add ?master_name=…, as in the sentinels' `sentinel monitor NAME …`",
        )
    if address.kind != "sentinel" and (address.master_name or address.sentinel):
        raise _Refused("has sentinel options, but does not name a sentinel", "use sentinel://…")


def _split(url: str) -> SplitResult:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise _Refused("has a space or a line break in it", "remove it, or write %20 for a space")
    scheme, colon, rest = url.partition("://")
    if not colon:
        raise _Refused("has no scheme", f"use {_FORMS}")
    if scheme.lower() not in _KINDS:
        named = f"the scheme {scheme[:20]}://" if scheme.isalnum() else "a scheme"
        raise _Refused(f"has {named} which is not a Redis scheme", f"use {_FORMS}")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no port
    except ValueError:
        raise _Refused("has a wrong host, or a port that is not a number", _QUOTE) from None
    if "@" in rest[len(parts.netloc) :] and ("@" not in parts.netloc or "@" not in parts.query):
        raise _Refused("has a user or password that is not percent-encoded", _QUOTE)
    if parts.fragment or url.endswith("#"):
        raise _Refused("has a # in it", _QUOTE)
    return parts


def _host(parts: SplitResult, kind: Kind) -> tuple[str, int]:
    host = unquote(parts.hostname or "") or "localhost"
    if re.search(r"[;,/\s]", host):
        raise _Refused("names several servers in one host", f"use {_FORMS}")
    if parts.port == 0:
        raise _Refused("has the port 0", "e.g. redis://localhost:6379/0")
    return host, parts.port or _PORTS[kind]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")


def _db(path: str, options: dict[str, Any]) -> int:
    said = {options.pop(key) for key in ("db", "virtual_host") if key in options}
    in_path = unquote(path).strip("/")
    if in_path:
        said.add(_option("db", in_path))
    if len(said) > 1:
        raise _Refused(
            "names two databases, in the path and in ?db=",
            "write the database in the path or as ?db=, not both",
        )
    number: int = said.pop() if said else 0
    return number


def _options(parts: Sequence[SplitResult]) -> dict[str, Any]:
    given: dict[str, str] = {}
    for part in parts:
        for key, text in parse_qsl(part.query, keep_blank_values=True):
            if given.setdefault(key, text) != text:
                raise _Refused("gives one of its options twice", "say it once")
    return {key: _option(key, text) for key, text in given.items()}


def _option(key: str, text: str) -> Any:
    known = _OPTIONS.get(key)
    if known is None:
        near = get_close_matches(key, _OPTIONS, n=1)
        name = f"the option {key}" if re.fullmatch(r"[a-z_]{1,30}", key) else "an option"
        raise _Refused(
            f"has {name} which Celery and redis-py do not both support",
            f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(_OPTIONS))}",
        )
    read, what = known
    try:
        return read(text)
    except (ValueError, KeyError):
        raise _Refused(f"has a wrong {key}", f"it is {what}") from None


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise ValueError
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _answer(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
        text.lower()
    ]


def _cert_reqs(text: str) -> str:
    reqs = text.removeprefix("CERT_").lower()
    return {"none": "none", "optional": "optional", "required": "required"}[reqs]


_WHOLE: Final = _whole, "a whole number"
_SECONDS: Final = _seconds, "a number of seconds"
_TEXT: Final = _text, "a text"
_ANSWER: Final = _answer, "true or false"
#: The parser of each option, and its type; options that redis-py and both clients of Celery know.
_OPTIONS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "db": _WHOLE,
    "virtual_host": _WHOLE,
    "username": _TEXT,
    "password": _TEXT,
    "client_name": _TEXT,
    "health_check_interval": _WHOLE,
    "max_connections": _WHOLE,
    "retry_on_timeout": _ANSWER,
    "socket_connect_timeout": _SECONDS,
    "socket_keepalive": _ANSWER,
    "socket_timeout": _SECONDS,
    "master_name": _TEXT,
    "min_other_sentinels": _WHOLE,
    "sentinel_password": _TEXT,
    "sentinel_username": _TEXT,
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_cert_reqs": (_cert_reqs, "required, optional or none"),
    "ssl_certfile": _TEXT,
    "ssl_check_hostname": _ANSWER,
    "ssl_ciphers": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
}

"""Fetches a URL that a user, a feed or a model has given. The only place of flowq that does.

Whoever gives a URL may be hostile, and so may its server. Names are resolved here, once, and the
connection goes to an address that `core.addresses.hosts` allows: a second answer of the DNS changes
nothing, and every way to write an address comes to the same. Each redirect is checked like the
first URL, and headers of the caller stay with the origin they were given for. The answer has a
size, after decompression too, and all of it a deadline, however slowly its bytes drip. Proxies of
the environment, netrc files and cookies are not used.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any, Final

import httpcore2
import httpx2

from flowq.core.addresses.hosts import Address, HostRule, may_reach
from flowq.core.errors import FetchFailed, FetchRefused

MAX_BYTES: Final = 20 * 1024 * 1024
_AGENT: Final = "flowq (+https://pypi.org/project/flowq/)"
_REDIRECTS: Final = 5
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_MAX_URL_LENGTH: Final = 8_000
_CODINGS: Final = "gzip, deflate"
#: Of decompressed bytes that are made at once.
_PIECE: Final = 64 * 1024
#: What zlib calls "gzip, or zlib's own header"; and data without any header.
_ANY_HEADER, _NO_HEADER = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS
#: Set by the connection itself; given by a caller they would smuggle or lie.
_OURS: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "upgrade"}
)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+")
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_HINT: Final = "FLOWQ_FETCH_HOSTS allows hosts and networks that are not public"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL has answered.

    Attributes:
        url: Where it was found in the end.
        body: Decompressed.
        content_type: As the server says, which may be wrong.
    """

    url: str
    body: bytes
    content_type: str


async def fetch(
    url: str,
    *,
    rules: Sequence[HostRule] = (),
    headers: Mapping[str, str] | None = None,
    seconds: float = 20.0,
    most_bytes: int = MAX_BYTES,
) -> Fetched:
    """Get what is at a URL.

    Args:
        url: `http` or `https`.
        rules: Hosts that may be reached although they are not public.
        headers: Sent to the origin of the URL, and to no other that it redirects to.
        seconds: All of it, redirects included, may take so long.
        most_bytes: The body may have so many, decompressed.

    Raises:
        FetchRefused: The URL, or one that it redirects to, may not be fetched.
        FetchFailed: It does not answer in time, or with an error, or with too much.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _follow(url, rules, headers or {}, most_bytes)
    except TimeoutError:
        raise FetchFailed(f"it timed out after {seconds:g} s") from None
    except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
        raise FetchFailed(f"it cannot be reached: {str(error) or type(error).__name__}") from error
    except (httpcore2.ProtocolError, zlib.error, OSError, ValueError) as error:
        raise FetchFailed(f"its answer cannot be read: {error}") from error


async def _follow(
    url: str, rules: Sequence[HostRule], headers: Mapping[str, str], most_bytes: int
) -> Fetched:
    place, given = _checked(url), _given(headers)
    network = _Checked(rules)
    # A pool of its own: what one fetch has connected to is nothing to another.
    async with httpcore2.AsyncConnectionPool(
        ssl_context=_tls(), network_backend=network, max_keepalive_connections=0
    ) as pool:
        for _ in range(_REDIRECTS + 1):
            sent = {"user-agent": _AGENT, "accept": "*/*", **given, "accept-encoding": _CODINGS}
            raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            async with pool.stream("GET", str(place), headers=raw) as answer:
                found = {name.lower(): value for name, value in answer.headers}
                if answer.status in _MOVED and b"location" in found:
                    place, left = _next(place, found[b"location"])
                    given = {} if left else given
                    continue
                if not 200 <= answer.status < 300:
                    raise FetchFailed(f"it answered with status {answer.status}")
                coding = found.get(b"content-encoding", b"").decode("latin-1")
                body = await _body(answer.aiter_stream(), coding, most_bytes)
                kind = found.get(b"content-type", b"").decode("latin-1")
                return Fetched(str(place), body, kind)
    raise FetchRefused(f"it redirects more than {_REDIRECTS} times")


# --- which address --------------------------------------------------------------------------------


def _checked(url: str) -> httpx2.URL:
    """Return a URL that may be tried; its host is looked at when it is connected to."""
    if len(url) > _MAX_URL_LENGTH:
        raise FetchRefused(f"the URL has more than {_MAX_URL_LENGTH:,} characters")
    try:
        place = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise FetchRefused(f"it is not a URL: {error}") from None
    if place.scheme not in ("http", "https") or not place.host:
        raise FetchRefused(
            "only http and https URLs are fetched", hint="write the whole URL: https://host/path"
        )
    if _HOST.fullmatch(place.raw_host.decode()) is None or not 0 < (place.port or 1) < 2**16:
        raise FetchRefused(
            "it is not a URL: its host is not a name or address, or its port is not a number"
        )
    if place.userinfo:
        raise FetchRefused(
            "a URL with a user or a password is not fetched: it would be shown and logged",
            hint="give them as a header: headers = {'Authorization': …}",
        )
    return place.copy_with(fragment=None)


def _next(place: httpx2.URL, location: bytes) -> tuple[httpx2.URL, bool]:
    """Return where a redirect leads, and whether it leaves the origin."""
    try:
        target = _checked(str(place.join(location.decode("utf-8", "replace"))))
    except (httpx2.InvalidURL, ValueError) as error:
        raise FetchRefused(f"it redirects to an invalid URL: {error}") from None
    except FetchRefused as error:
        raise FetchRefused(f"it redirects, and there {error.message}", hint=error.hint) from None
    before, after = _origin(place), _origin(target)
    # To the same host over TLS, as many servers redirect: nobody else gets to see the headers.
    secured = place.host == target.host and (before[0], after[0]) == ("http", "https")
    return target, not (before == after or (secured and (before[2], after[2]) == (80, 443)))


def _origin(place: httpx2.URL) -> tuple[str, str, int]:
    return place.scheme, place.host, place.port or (443 if place.scheme == "https" else 80)


def _given(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a caller's headers by their lower-case names, without those that are not theirs."""
    found = {name.lower(): value for name, value in headers.items()}
    for name, value in found.items():
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            # Without its value, which may be a key.
            raise FetchRefused(
                f"the header {name[:100]!r} contains characters that a header cannot have"
            )
    return {name: value for name, value in found.items() if name not in _OURS}


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that may be reached, and to no other."""

    def __init__(self, rules: Sequence[HostRule]) -> None:
        self._rules = rules
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve a host, and connect to the first of its allowed addresses that answers."""
        problem: Exception | None = None
        for address in await self._allowed(host, port):
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
        raise problem or httpcore2.ConnectError(f"the host {host!r} has no address")

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no URL names one."""
        raise FetchRefused("flowq does not fetch from sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchFailed(f"unknown host {host!r}: {error}") from error
        addresses = dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found)
        allowed = [one for one in addresses if may_reach(host, one, port, self._rules)]
        if addresses and not allowed:
            raise FetchRefused(
                f"the host {host!r} is not public and may not be reached", hint=_HINT
            )
        return allowed


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


# --- how much -------------------------------------------------------------------------------------


async def _body(pieces: AsyncIterator[bytes], coding: str, most: int) -> bytes:
    """Return a body, decompressed, as long as it is not too large."""
    parts: list[bytes] = []
    size = 0
    decode = _decoder(coding)
    async for piece in pieces:
        for part in decode(piece):
            size += len(part)
            if size > most:
                raise FetchFailed(f"it has more than {most:,} bytes")
            parts.append(part)
    return b"".join(parts)


def _decoder(coding: str) -> Any:
    """Return what makes pieces of the plain body from a piece of the encoded one."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return lambda piece: [piece]
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailed(f"it is encoded as {coding[:40]!r}, which flowq did not request")
    state: list[Any] = []

    def decode(piece: bytes) -> Iterable[bytes]:
        if not state:
            # Some servers send "deflate" without the header that belongs to it.
            bare = coding == "deflate" and piece[:1] not in (b"x", b"\x1f")
            state.append(zlib.decompressobj(_NO_HEADER if bare else _ANY_HEADER))
        [inflate] = state
        part = b""
        while piece or len(part) == _PIECE:  # a full piece may have left more behind
            part = inflate.decompress(piece, _PIECE)
            piece = inflate.unconsumed_tail
            yield part

    return decode

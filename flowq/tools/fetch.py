"""Fetches URLs that a user, a feed or a model has given; the only module of flowq that does.

The giver of a URL may be hostile, and so may its server. A name is resolved once, here, and the
connection goes to an address that `core.addresses.hosts` allows. So a later DNS answer changes
nothing, and all notations of an address are treated alike. Each redirect is checked like the first
URL. The caller's headers are sent to the origin that they were given for, and to no other. The size
of the answer is limited, also after decompression, and so is the total time. Proxies of the
environment, netrc files and cookies are not used.
"""

import asyncio
import logging
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
#: Redirects after which the same request is sent; after the others it becomes a GET.
_SAME_METHOD: Final = frozenset({307, 308})
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_MAX_URL_LENGTH: Final = 8_000
_CODINGS: Final = "gzip, deflate"
#: Decompressed bytes of one piece.
_PIECE: Final = 64 * 1024
#: Values of zlib for "gzip or zlib header", and for data without a header.
_ANY_HEADER, _NO_HEADER = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS
#: The connection sets these; from a caller they would be an attack or an error.
_OURS: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "upgrade"}
)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+")
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
#: At DEBUG the library logs the headers of requests and answers, which have secrets of users.
_LIBRARY_LOG: Final = logging.getLogger("httpcore2")
if _LIBRARY_LOG.level == logging.NOTSET:
    _LIBRARY_LOG.setLevel(logging.INFO)
_HINT: Final = "FLOWQ_FETCH_HOSTS allows hosts and networks that are not public"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer of a URL.

    Attributes:
        url: The final URL, after redirects.
        body: Decompressed.
        content_type: The content type from the server, which may be wrong.
        status: The status of the answer.
        headers: The headers of the answer, by lower-case names.
    """

    url: str
    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a URL.

    Attributes:
        url: `http` or `https`.
        method: In capitals.
        headers: Sent to the origin of the URL, and to no other that it redirects to.
        body: Sent as it is.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


async def fetch(
    url: str,
    *,
    rules: Sequence[HostRule] = (),
    headers: Mapping[str, str] | None = None,
    seconds: float = 20.0,
    most_bytes: int = MAX_BYTES,
) -> Fetched:
    """Fetch a URL.

    Args:
        url: `http` or `https`.
        rules: Which hosts are allowed although they are not public.
        headers: Sent to the origin of the URL, and to no other that it redirects to.
        seconds: The time limit, redirects included.
        most_bytes: The maximum size of the decompressed body.

    Raises:
        FetchRefused: The URL, or one that it redirects to, is not allowed.
        FetchFailed: It does not answer in time, answers with an error, or the answer is too large.
    """
    request = Request(url, headers=headers or {})
    found = await send(request, rules=rules, seconds=seconds, most_bytes=most_bytes)
    if not 200 <= found.status < 300:
        raise FetchFailed(f"it answered with status {found.status}")
    return found


async def send(
    request: Request,
    *,
    rules: Sequence[HostRule] = (),
    seconds: float = 20.0,
    most_bytes: int = MAX_BYTES,
) -> Fetched:
    """Send a request and return the answer, whatever its status is; as `fetch`.

    Raises:
        FetchRefused: The URL, or one that it redirects to, is not allowed.
        FetchFailed: It does not answer in time, or the answer is too large.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _follow(request, rules, most_bytes)
    except TimeoutError:
        raise FetchFailed(f"it timed out after {seconds:g} s") from None
    except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
        raise FetchFailed(f"it cannot be reached: {str(error) or type(error).__name__}") from error
    except (httpcore2.ProtocolError, zlib.error, OSError, ValueError) as error:
        raise FetchFailed(f"its answer cannot be read: {error}") from error


async def _follow(request: Request, rules: Sequence[HostRule], most_bytes: int) -> Fetched:
    place, given = _checked(request.url), _given(request.headers)
    method, content = request.method, request.body
    network = _Checked(rules)
    # Each fetch has its own pool, so that no fetch reuses the connections of another.
    async with httpcore2.AsyncConnectionPool(
        ssl_context=_tls(), network_backend=network, max_keepalive_connections=0
    ) as pool:
        for _ in range(_REDIRECTS + 1):
            sent = {"user-agent": _AGENT, "accept": "*/*", **given, "accept-encoding": _CODINGS}
            raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            if content or method not in _WITHOUT_BODY:
                raw.append((b"content-length", str(len(content)).encode()))
            stream = pool.stream(method, str(place), headers=raw, content=content or None)
            async with stream as answer:
                found = {name.lower(): value for name, value in answer.headers}
                if answer.status in _MOVED and b"location" in found:
                    place, left = _next(place, found[b"location"])
                    given = {} if left else given
                    if answer.status not in _SAME_METHOD and method != "HEAD":
                        method, content = "GET", b""
                    if left and content:
                        raise FetchRefused("it redirects a request with a body to another server")
                    continue
                coding = found.get(b"content-encoding", b"").decode("latin-1")
                body = await _body(answer.aiter_stream(), coding, most_bytes)
                kind = found.get(b"content-type", b"").decode("latin-1")
                return Fetched(str(place), body, kind, answer.status, _shown(found))
    raise FetchRefused(f"it redirects more than {_REDIRECTS} times")


def _shown(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


# --- which address --------------------------------------------------------------------------------


def _checked(url: str) -> httpx2.URL:
    """Return a valid URL; its host is checked at the time of the connection."""
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
    """Return the target of a redirect, and whether that is another origin."""
    try:
        target = _checked(str(place.join(location.decode("utf-8", "replace"))))
    except (httpx2.InvalidURL, ValueError) as error:
        raise FetchRefused(f"it redirects to an invalid URL: {error}") from None
    except FetchRefused as error:
        raise FetchRefused(f"it redirects, and there {error.message}", hint=error.hint) from None
    before, after = _origin(place), _origin(target)
    # A redirect to the same host over TLS, which is common, does not expose the headers.
    secured = place.host == target.host and (before[0], after[0]) == ("http", "https")
    return target, not (before == after or (secured and (before[2], after[2]) == (80, 443)))


def _origin(place: httpx2.URL) -> tuple[str, str, int]:
    return place.scheme, place.host, place.port or (443 if place.scheme == "https" else 80)


def _given(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a caller's headers by lower-case names, without those that callers may not set."""
    found = {name.lower(): value for name, value in headers.items()}
    for name, value in found.items():
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            # The error omits the value, which may be a key.
            raise FetchRefused(
                f"the header {name[:100]!r} contains characters that a header cannot have"
            )
    return {name: value for name, value in found.items() if name not in _OURS}


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only."""

    def __init__(self, rules: Sequence[HostRule]) -> None:
        self._rules = rules
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name of the library
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve a host and connect to the first allowed address that answers."""
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
        """Refuse; no URL needs it."""
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
    """Return the decompressed body."""
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
    """Return a function that decodes a piece of the body into plain pieces."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return lambda piece: [piece]
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailed(f"it is encoded as {coding[:40]!r}, which flowq did not request")
    state: list[Any] = []

    def decode(piece: bytes) -> Iterable[bytes]:
        if not state:
            # Some servers send "deflate" without the zlib header.
            bare = coding == "deflate" and piece[:1] not in (b"x", b"\x1f")
            state.append(zlib.decompressobj(_NO_HEADER if bare else _ANY_HEADER))
        [inflate] = state
        part = b""
        while piece or len(part) == _PIECE:  # after a full piece there may be more
            part = inflate.decompress(piece, _PIECE)
            piece = inflate.unconsumed_tail
            yield part

    return decode

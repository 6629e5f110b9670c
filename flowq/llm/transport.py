"""The HTTP client for calls of models, which stays fast with hundreds of calls in flight.

httpcore checks every connection of a pool whenever a request begins or ends, so 300 concurrent
calls need 300 times 300 checks. This client has many small pools; a request goes to the pool with
the fewest requests in flight.
"""

import ssl
from typing import Any, Final

import httpx2

from flowq.llm.recording import call_id

#: The header in which OpenAI takes an id from the client.
REQUEST_ID: Final = "X-Client-Request-Id"
_POOLS: Final = 32
_KEPT: Final = 20  #: Idle connections that each pool keeps.
#: The timeouts of pydantic-ai and OpenAI's own client: models may think for minutes.
_TIMEOUT: Final = httpx2.Timeout(600, connect=10)


class SpreadTransport(httpx2.AsyncBaseTransport):
    """A transport over many pools of connections."""

    def __init__(self) -> None:
        context = ssl.create_default_context()  # shared: it takes 20 ms to create
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT)
        self._pools = [
            httpx2.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(_POOLS)
        ]
        self._under_way = [0] * _POOLS

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request over the first of the least busy pools, so that few pools are used."""
        number = self._under_way.index(min(self._under_way))
        self._under_way[number] += 1
        try:
            return await self._pools[number].handle_async_request(request)
        finally:
            self._under_way[number] -= 1

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.aclose()


def http_client() -> httpx2.AsyncClient:
    """Return a client; with `HTTP_PROXY` or the like it has one pool that uses the proxy."""
    hooks: Any = {"request": [_name]}
    proxied = httpx2.AsyncClient(timeout=_TIMEOUT, event_hooks=hooks)
    if proxied._mounts:  # noqa: SLF001 - it has read the environment, and has no public attribute for it
        return proxied
    return httpx2.AsyncClient(
        timeout=_TIMEOUT, transport=SpreadTransport(), trust_env=False, event_hooks=hooks
    )


async def _name(request: httpx2.Request) -> None:
    """Add the id of the recorded call to a request."""
    known = call_id()
    if known is not None:
        request.headers.setdefault(REQUEST_ID, str(known))

"""The HTTP client for calls of models: one that stays quick with hundreds of calls under way.

httpcore looks at every connection of a pool whenever a request begins or ends, so 300 calls at once
cost 300 times 300 looks. Here many small pools share the work; a request goes to the pool that has
the fewest under way.
"""

import ssl
from typing import Any, Final

import httpx2

from flowq.llm.recording import call_id

#: The name that OpenAI has for an id that its client has made.
REQUEST_ID: Final = "X-Client-Request-Id"
_POOLS: Final = 32
_KEPT: Final = 20  #: Idle connections that each pool keeps.
#: As pydantic-ai and OpenAI's own client have it: models may think for minutes.
_TIMEOUT: Final = httpx2.Timeout(600, connect=10)


class SpreadTransport(httpx2.AsyncBaseTransport):
    """A transport over many pools of connections."""

    def __init__(self) -> None:
        context = ssl.create_default_context()  # one for all: it takes 20 ms to make
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT)
        self._pools = [
            httpx2.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(_POOLS)
        ]
        self._under_way = [0] * _POOLS

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request over the pool that is least busy; the first of them, so few are warm."""
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
    """Return a client; `HTTP_PROXY` and its like are heeded, by one pool then."""
    hooks: Any = {"request": [_name]}
    proxied = httpx2.AsyncClient(timeout=_TIMEOUT, event_hooks=hooks)
    if proxied._mounts:  # noqa: SLF001 - it has read the environment, and says so nowhere else
        return proxied
    return httpx2.AsyncClient(
        timeout=_TIMEOUT, transport=SpreadTransport(), trust_env=False, event_hooks=hooks
    )


async def _name(request: httpx2.Request) -> None:
    """Say which call of ours a request is."""
    known = call_id()
    if known is not None:
        request.headers.setdefault(REQUEST_ID, str(known))

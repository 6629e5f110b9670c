"""Refuses bodies that are too large, too slow or compressed, and JSON with duplicate keys.

A small compressed body may expand to any size. A slow body holds a connection and memory.
`json_reading` says why JSON is read strictly.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowq.core.text.json_reading import loads
from flowq.entrypoints.http.problems import Refused, answer

#: Seconds that a body may take, and its minimum bytes for each further second.
_PATIENCE: Final = 30.0
_BYTES_PER_SECOND: Final = 50_000


class Bodies:
    """Middleware that refuses bodies which are too large, too slow or compressed.

    Args:
        app: The next app.
        most: Maximum bytes of a body.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is counted while it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = None
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            refused = Refused(
                415,
                "UnsupportedMediaType",
                "the body is compressed",
                "send it as it is, without Content-Encoding",
            )
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._most:
            refused = self._too_large()
        if refused is not None:
            await answer(refused.status, refused.problem)(scope, receive, send)
            return
        await self._app(scope, self._measured(receive), send)

    def _measured(self, receive: Receive) -> Receive:
        """Return a `receive` that counts bytes and seconds until the body is complete."""
        began, count, complete = asyncio.get_running_loop().time(), 0, False

        async def measured() -> Message:
            nonlocal count, complete
            if complete:  # the next message is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(began + _PATIENCE + count / _BYTES_PER_SECOND):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            count += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if count > self._most:
                raise HTTPException(413, self._too_large().problem.message)
            return message

        return measured

    def _too_large(self) -> Refused:
        message = f"the body has more than {self._most:,} bytes"
        return Refused(413, "ContentTooLarge", message, "pass large data as a URL or a file")


def _too_slow() -> HTTPException:
    # The rest of the body may still arrive, so the connection cannot be reused.
    return HTTPException(408, "the body comes too slowly", {"Connection": "close"})


class StrictRoute(APIRoute):
    """A route that refuses JSON with duplicate keys."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            JSONDecodeError: it is not JSON, or cannot be read, or has a key twice in one object.
        """
        return loads(await self.body())

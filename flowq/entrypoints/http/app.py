"""The app: who is let in, what is too large, and the routes.

    from flowq.entrypoints.http.app import create_app
    app = create_app()      # uvicorn web:app --workers 4, or parent.mount("/flowq", create_app())

The module that makes the app imports the flows that may be started through it.
"""

from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowq.entrypoints.http import auth, problems
from flowq.entrypoints.http.blocks import install as blocks
from flowq.entrypoints.http.openapi import documented
from flowq.entrypoints.http.parameters import known_parameters
from flowq.entrypoints.http.problems import Refused, answer
from flowq.entrypoints.http.runs import flow_engine
from flowq.entrypoints.http.runs import routes as runs
from flowq.entrypoints.http.settings import HttpSettings, http_settings, listed
from flowq.entrypoints.http.sse import Streams

#: What a page of another site may read of an answer.
_EXPOSED: Final = ("Location", "Retry-After")


class _Bodies:
    """Middleware that refuses bodies which are too large, or compressed: small ones may grow.

    Args:
        app: What comes after it.
        most: Bytes of a body.
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
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                raise HTTPException(413, self._too_large().problem.message)
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> Refused:
        message = f"the body has more than {self._most:,} bytes"
        return Refused(413, "ContentTooLarge", message, "pass large data as a URL or a file")


def create_app(settings: HttpSettings | None = None) -> FastAPI:
    """Return the HTTP service as an ASGI app.

    Args:
        settings: Its settings; those of the environment if there are none.

    Raises:
        InvalidSetting: they cannot be used.
    """
    chosen = settings or http_settings()
    is_local = chosen.http_auth == "local"
    pages: dict[str, Any] = {} if is_local else {"docs_url": None, "openapi_url": None}
    app = FastAPI(
        title="flowq",
        summary="Durable flows on Celery: start runs, follow them, steer them.",
        version="1",
        redoc_url=None,
        middleware=_middleware(chosen),
        responses=problems.ANSWERS,
        dependencies=[Depends(known_parameters)],
        **pages,
    )
    app.state.streams = Streams(chosen.http_streams)
    problems.install(app)
    app.include_router(_health)
    app.include_router(runs.router)
    blocks.install(app, chosen)
    app.include_router(flow_engine.router)
    app.openapi = documented(app)  # type: ignore[method-assign]
    return app


def _middleware(settings: HttpSettings) -> list[Middleware]:
    """Return what a request passes through, the outermost first."""
    origins = listed(settings.http_cors_origins)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-User-Id"],
        expose_headers=list(_EXPOSED),
    )
    known = Middleware(auth.Authentication, method=auth.method(settings))
    return [*([cors] if origins else []), known, Middleware(_Bodies, most=settings.http_body_bytes)]


_health = APIRouter(tags=["service"])


@_health.get("/health")
async def health() -> dict[str, str]:
    """Say that this process answers; it asks neither the database nor Redis."""
    return {"status": "healthy"}

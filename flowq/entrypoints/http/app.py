"""The ASGI app: its middleware (authentication, limits) and its routes.

    from flowq.entrypoints.http.app import create_app
    app = create_app()      # uvicorn web:app --workers 4, or parent.mount("/flowq", create_app())

The module that makes the app imports the flows that may be started through it.
"""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from flowq.entrypoints.http import auth, problems
from flowq.entrypoints.http.blocks import install as blocks
from flowq.entrypoints.http.blueprints import install as blueprints
from flowq.entrypoints.http.bodies import Bodies
from flowq.entrypoints.http.openapi import documented
from flowq.entrypoints.http.parameters import known_parameters
from flowq.entrypoints.http.playbooks import install as playbooks
from flowq.entrypoints.http.rate import RequestRates
from flowq.entrypoints.http.runs import flow_engine, logs, reruns, results
from flowq.entrypoints.http.runs import routes as runs
from flowq.entrypoints.http.schedules import routes as schedules
from flowq.entrypoints.http.settings import HttpSettings, http_settings, listed
from flowq.entrypoints.http.sse import Streams
from flowq.entrypoints.http.workflows import install as workflows

_PAGE: Final = Path(__file__).with_name("docs.html")
#: Response headers that pages of other sites may read.
_EXPOSED: Final = ("Location", "Retry-After")


def create_app(settings: HttpSettings | None = None) -> FastAPI:
    """Return the HTTP service as an ASGI app.

    Args:
        settings: Its settings; by default those of the environment.

    Raises:
        InvalidSetting: they cannot be used.
    """
    chosen = settings or http_settings()
    is_local = chosen.http_auth == "local"
    pages: dict[str, Any] = {} if is_local else {"openapi_url": None}
    app = FastAPI(
        title="flowq",
        summary="Durable flows on Celery: start runs, follow them, control them.",
        version="1",
        docs_url=None,  # FastAPI's own pages load files from a CDN
        redoc_url=None,
        middleware=_middleware(chosen),
        responses=problems.ANSWERS,
        dependencies=[Depends(known_parameters)],
        **pages,
    )
    app.state.streams = Streams(chosen.http_streams)
    problems.install(app)
    app.include_router(_health)
    if is_local:
        app.include_router(_docs)
    app.include_router(runs.router)
    app.include_router(results.router)
    app.include_router(logs.router)
    app.include_router(reruns.router)
    app.include_router(schedules.router)
    blocks.install(app, chosen)
    playbooks.install(app)
    blueprints.install(app)
    workflows.install(app)
    app.include_router(flow_engine.router)
    app.openapi = documented(app)  # type: ignore[method-assign]
    return app


def _middleware(settings: HttpSettings) -> list[Middleware]:
    """Return the middleware, the outermost first."""
    origins = listed(settings.http_cors_origins)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-User-Id", "X-Team-Id"],
        expose_headers=list(_EXPOSED),
    )
    known = Middleware(auth.Authentication, method=auth.method(settings))
    rates = [Middleware(RequestRates, rate=settings.http_rate)] if settings.http_rate else []
    bodies = Middleware(Bodies, most=settings.http_body_bytes)
    return [*([cors] if origins else []), known, *rates, bodies]


_health = APIRouter(tags=["service"])


@_health.get("/health")
async def health() -> dict[str, str]:
    """Report that this process answers; it checks neither the database nor Redis."""
    return {"status": "healthy"}


_docs = APIRouter(include_in_schema=False)


@_docs.get("/")
def index() -> RedirectResponse:
    """Lead to the page of the OpenAPI document who opens the address of the service."""
    return RedirectResponse("docs")


@_docs.get("/docs")
def docs() -> FileResponse:
    """Return the page that shows the OpenAPI document."""
    return FileResponse(_PAGE)

"""Adds the routes of documents, and the answers to their errors, to the app."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flowq.blocks.errors import Code, PuppyException
from flowq.blocks.tasks import TaskForbidden
from flowq.entrypoints.http.blocks.routes import router
from flowq.entrypoints.http.blocks.streams import TaskStreams
from flowq.entrypoints.http.blocks.usage import UsageInsufficient, UsageUnavailable, usage_of
from flowq.entrypoints.http.problems import Problem, answer
from flowq.entrypoints.http.settings import HttpSettings

_TRY_LATER: Final = "try again in a few seconds"


def install(app: FastAPI, settings: HttpSettings) -> None:
    """Make an app serve documents.

    Raises:
        InvalidSetting: FLOWQ_HTTP_USAGE names no function.
    """
    app.state.usage = usage_of(settings.http_usage)
    app.state.task_streams = TaskStreams(with_blocks=settings.http_v1_blocks)
    app.add_exception_handler(PuppyException, _of_document)
    app.add_exception_handler(UsageInsufficient, _of_usage)
    app.add_exception_handler(UsageUnavailable, _of_usage_service)
    app.include_router(router)


async def _of_document(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PuppyException)
    status = 403 if isinstance(error, TaskForbidden) else 400
    if status == 400 and error.code is Code.TASK_REFUSED:
        status = 409
    said = {"error": error.title, "code": int(error.code), "message": error.message}
    return JSONResponse(said, status)


async def _of_usage(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UsageInsufficient)
    message = f"the task counts for {error.required}, the user's quota has {error.available} left"
    said = {"error": "UsageInsufficient", "code": "USAGE_INSUFFICIENT", "message": message}
    counts = {"available": error.available, "estimated_required": error.required}
    return JSONResponse(said | counts, 429)


async def _of_usage_service(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    message = "the service that knows the usage of users is not available"
    return answer(503, Problem(error="UsageUnavailable", message=message, hint=_TRY_LATER))

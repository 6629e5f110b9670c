"""The answers of the service to errors, always in one form.

    {"error": "RunNotFound", "message": "there is no run …", "hint": "…", "problems": [...]}

`error` is the name of flowq's error or of the HTTP error; `message` says what failed and why;
`hint` what to do, if that is known; `problems` lists what is wrong with each part of a request. An
answer never has addresses, SQL or paths of the server; they are in its log.
"""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, Field
from starlette.exceptions import HTTPException

from flowq.client.followers import TooManyRuns
from flowq.core.errors import (
    FlowNotFound,
    FlowqError,
    InvalidFlow,
    InvalidInput,
    NotSerializable,
    ResultMissing,
    RunNotFound,
    ScheduleNotFound,
    SignalRefused,
    Unavailable,
)
from flowq.core.text.escaping import escaped

logger = logging.getLogger(__name__)

#: Seconds after which a client may ask again.
RETRY_AFTER: Final = 5

#: HTTP statuses of errors; all other errors are the server's own.
_STATUS: Final[Mapping[type[FlowqError], int]] = {
    RunNotFound: 404,
    ScheduleNotFound: 404,
    FlowNotFound: 404,
    InvalidInput: 400,
    InvalidFlow: 400,
    NotSerializable: 406,
    SignalRefused: 409,
    ResultMissing: 410,
    Unavailable: 503,
}


#: A command of flowq in a hint.
_COMMAND: Final = re.compile(r"\bflowq [a-z]")
#: Types of pydantic errors for a body that is missing or not JSON.
_UNREAD: Final = {"missing", "model_attributes_type"}

#: What pydantic finds, in the words of JSON.
_PLAIN: Final = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
    "dict_type": "it is not an object",
    "model_attributes_type": "it is not a JSON object",
}

#: Names of statuses that are older in Python than in HTTP.
_NAMES: Final = {413: "ContentTooLarge", 422: "UnprocessableContent"}


#: Text that may contain invalid characters from a client.
Said = Annotated[str, BeforeValidator(lambda text: text and escaped(text, lines=True))]


class WrongPart(BaseModel):
    """What is wrong with one part of a request."""

    where: Said = Field(description="The part, e.g. `body.deadline_seconds`.")
    message: Said


class Problem(BaseModel):
    """Why a request was refused, or could not be answered."""

    error: str = Field(description="Name of the error.")
    message: Said = Field(description="What failed, and why.")
    hint: Said | None = Field(None, description="What to do.")
    problems: list[WrongPart] | None = Field(None, description="What is wrong with each part.")


class Refused(Exception):
    """A request that is answered with a problem.

    Args:
        status: The HTTP status.
        error: Name of the error.
        message: What failed, and why.
        hint: What to do.
    """

    def __init__(self, status: int, error: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(error=error, message=message, hint=hint)


def documented(answers: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers, from their statuses and descriptions."""
    return {status: {"model": Problem, "description": text} for status, text in answers.items()}


#: The answers that every route may give, for its documentation.
ANSWERS: Final = documented(
    {
        400: "The request is invalid, or the flow refuses it.",
        401: "There is no valid token.",
        403: "The caller, its machine or its web page is not allowed.",
        404: "It does not exist, or belongs to another user.",
        408: "The body comes too slowly.",
        413: "The body is too large.",
        415: "The body is compressed.",
        422: "A part of the request is missing or of the wrong type.",
        429: "The user has sent too many requests; `Retry-After` says when there is room.",
        500: "The server has failed; its log says why.",
        503: "The database or Redis is not available, or too many streams are open.",
    }
)


def answer(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer with a problem."""
    more = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        more["Retry-After"] = str(RETRY_AFTER)
    return JSONResponse(problem.model_dump(exclude_none=True), status, more)


def install(app: FastAPI) -> None:
    """Make an app answer errors with problems."""
    app.add_exception_handler(FlowqError, _of_flowq)
    app.add_exception_handler(TooManyRuns, _of_too_many)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _of_request)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_server)


def problem_of(error: FlowqError) -> tuple[int, Problem]:
    """Return the status and the problem for an error of flowq."""
    name = type(error).__name__
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if status < 500:
        return status, Problem(error=name, message=error.message, hint=_hint(error))
    logger.error("a request cannot be answered: %s", error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        message = "a service that flowq needs is not available now"
        return status, Problem(error=name, message=message, hint="try again in a few seconds")
    message = "the server cannot answer this"
    return status, Problem(error=name, message=message, hint="its log says why")


def _hint(error: FlowqError) -> str | None:
    """Return a hint for clients, which cannot run commands of flowq."""
    if error.hint and not _COMMAND.search(error.hint):
        return error.hint
    return "GET /api/runs lists your runs" if isinstance(error, RunNotFound) else None


async def _of_flowq(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FlowqError)
    return answer(*problem_of(error))


async def _of_too_many(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    message = "too many event streams are open on this server"
    problem = Problem(error="TooManyStreams", message=message, hint="try again in a few seconds")
    return answer(503, problem)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return answer(error.status, error.problem)


async def _of_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [_wrong_part(one) for one in error.errors()]
    message = "; ".join(f"{one.where}: {one.message}" for one in wrong)
    hint = "/openapi.json describes the request"
    unread = any(one["loc"] == ("body",) and one["type"] in _UNREAD for one in error.errors())
    if unread and isinstance(error.body, bytes | None):
        hint = "send JSON with the header Content-Type: application/json"
    problem = Problem(error="InvalidRequest", message=message, hint=hint, problems=wrong)
    return answer(422, problem)


def _wrong_part(one: Mapping[str, Any]) -> WrongPart:
    if one["type"] == "json_invalid":
        _, at = one["loc"]
        place = f" at character {at}" if at else ""
        return WrongPart(where="body", message=f"it is not JSON: {one['ctx']['error']}{place}")
    message = _PLAIN.get(one["type"], one["msg"])
    return WrongPart(where=".".join(str(part) for part in one["loc"]), message=message)


async def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    name = _NAMES.get(error.status_code) or HTTPStatus(error.status_code).name.title()
    name = name.replace("_", "")
    problem = Problem(error=name, message=str(error.detail))
    return answer(error.status_code, problem, error.headers)


async def _of_server(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - it is logged
    message = "the server has failed"
    return answer(500, Problem(error="InternalError", message=message, hint="its log says why"))

"""Adds the routes of blueprints, and the answers to wrong ones, to the app."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flowq.entrypoints.http.blueprints import instances, routes
from flowq.entrypoints.http.problems import Problem, WrongPart, answer
from flowq.playbooks.blueprints.problems import BlueprintChanged, InvalidBlueprint, NotYours


def install(app: FastAPI) -> None:
    """Make an app serve blueprints and their instances."""
    app.add_exception_handler(InvalidBlueprint, _of_blueprint)
    app.add_exception_handler(BlueprintChanged, _of_change)
    app.add_exception_handler(NotYours, _of_owner)
    app.include_router(routes.router)
    app.include_router(instances.router)


async def _of_blueprint(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidBlueprint)
    parts = [WrongPart(where=one.path, message=one.message) for one in error.problems]
    hint = "for the types of nodes type: flowq docs blueprints"
    problem = Problem(error="InvalidBlueprint", message=error.message, hint=hint, problems=parts)
    return answer(422, problem)


async def _of_change(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BlueprintChanged)
    hint = f"GET /api/v2/blueprints/{error.newest}, and change that"
    return answer(409, Problem(error="BlueprintChanged", message=error.message, hint=hint))


async def _of_owner(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotYours)
    hint = "POST …/clone makes a copy of your own"
    return answer(403, Problem(error="NotYours", message=error.message, hint=hint))

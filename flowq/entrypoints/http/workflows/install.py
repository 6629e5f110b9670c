"""Adds the routes of workflows, and the answer to wrong ones, to the app."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flowq.entrypoints.http.workflows import models, routes
from flowq.workflows import InvalidWorkflow


def install(app: FastAPI) -> None:
    """Make an app serve workflows."""
    app.add_exception_handler(InvalidWorkflow, _of_workflow)
    app.include_router(routes.router)


async def _of_workflow(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidWorkflow)
    answer = models.WorkflowRefused(
        message=error.message, problems=[models.StepProblem.of(one) for one in error.problems]
    )
    return JSONResponse(answer.model_dump(), 400)

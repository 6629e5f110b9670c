"""Adds the routes of playbooks, and the answer to wrong ones, to the app."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flowq.core.text.escaping import escaped
from flowq.entrypoints.http.playbooks import executions, models, routes
from flowq.playbooks.document.problems import InvalidPlaybook


def install(app: FastAPI) -> None:
    """Make an app serve playbooks."""
    app.add_exception_handler(InvalidPlaybook, _of_playbook)
    app.include_router(routes.router)
    app.include_router(executions.router)


async def _of_playbook(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidPlaybook)
    problems = [
        models.PlaybookProblem(
            line=one.line,
            column=one.column,
            path=escaped(one.path),
            message=escaped(one.message, lines=True),
        )
        for one in error.problems
    ]
    said = f"Invalid playbook: {escaped(error.message, lines=True)}"
    answer = models.PlaybookRefused(detail=said, problems=problems)
    return JSONResponse(answer.model_dump(), 400)

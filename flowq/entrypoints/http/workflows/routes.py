"""The routes of workflows.

    GET  /api/v2/step-types             what a front end needs to offer steps and make their forms
    POST /api/v2/workflows/validate     all that is wrong with a workflow
    POST /api/v2/workflows/runs         starts a run
    GET  /api/v2/workflows/runs/{id}    what has become of it, by the steps of the workflow

A run of a workflow is a run: /api/runs/{id} follows, steers and cancels it, and has its result.
"""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from flowq.engine.runs.options import SubmitOptions
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.problems import documented
from flowq.entrypoints.http.runs.access import CallerHere, RunHere, refuse_others
from flowq.entrypoints.http.workflows import models
from flowq.workflows import (
    InvalidWorkflow,
    RuntimeContext,
    Workflow,
    WorkflowResult,
    WorkflowRunner,
    registry,
)

router = APIRouter(prefix="/api/v2", tags=["workflows"], route_class=StrictRoute)


@router.get("/step-types")
def step_types(caller: CallerHere) -> list[dict[str, Any]]:  # noqa: ARG001 - anybody who is let in
    """List the step types that this server has imported, with the JSON Schemas of their forms."""
    return [one.describe() for one in registry.list()]


@router.post("/workflows/validate")
def validate(
    workflow: models.Document,
    caller: CallerHere,  # noqa: ARG001 - anybody who is let in
) -> models.Checked:
    """Check a workflow; nothing is recorded."""
    try:
        Workflow.from_dict(workflow, check=True)
    except InvalidWorkflow as error:
        problems = [models.StepProblem.of(one) for one in error.problems]
        return models.Checked(valid=False, problems=problems)
    return models.Checked(valid=True, problems=[])


@router.post(
    "/workflows/runs",
    status_code=202,
    responses=documented({409: "A run of another user has this key."}),
)
def start(new: models.NewWorkflowRun, caller: CallerHere, response: Response) -> models.Started:
    """Start a run of a workflow on the workers."""
    options: SubmitOptions = {"user_id": caller.user_id, "idempotency_key": new.idempotency_key}
    if new.deadline_seconds:
        options["deadline"] = timedelta(seconds=new.deadline_seconds)
    runner = WorkflowRunner(RuntimeContext(user_id=caller.sees))
    run = runner.enqueue(Workflow.from_dict(new.workflow), new.inputs, **options)
    if new.idempotency_key is not None:
        refuse_others(run.id, caller, has_key=True)
    response.headers["Location"] = f"/api/v2/workflows/runs/{run.id}"
    return models.Started(run_id=run.id)


@router.get("/workflows/runs/{run_id}")
def show(
    run: RunHere,
    *,
    previews: Annotated[bool, Query(description="With the beginning of each value.")] = False,
) -> models.RunState:
    """Show what has become of a run, by the steps of its workflow."""
    return _state(WorkflowResult.of(run), previews=previews)


def _state(result: WorkflowResult, *, previews: bool) -> models.RunState:
    data = result.to_json()
    if previews:
        for one, report in zip(data["steps"], result.steps, strict=True):
            one["preview"] = report.preview
    return models.RunState.model_validate(data)

"""The routes that rerun a run, and show before what that would do."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, Field, JsonValue

from flowq.core.rerun import Why
from flowq.core.states import StepState
from flowq.engine.registry.registry import registry
from flowq.engine.registry.user_errors import user_errors
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.runs import models
from flowq.entrypoints.http.runs.access import CallerHere, RunHere, refuse_others
from flowq.entrypoints.rerun_reasons import reason

router = APIRouter(prefix="/api", tags=["runs"], route_class=StrictRoute)


class RerunRequest(models.StrictModel):
    """What of a run is to be run again."""

    from_step: models.Text | None = Field(
        None, description="Key of a step, a call or an item: it and all after it run."
    )
    inputs: dict[str, JsonValue] | None = Field(
        None, description="Inputs that replace those of the run, by name."
    )


class RerunStep(BaseModel):
    """A step of a rerun."""

    key: str
    name: str
    reused: bool
    why: Why | None = Field(description="Why it runs; null: it is reused.")
    reused_items: int | None = Field(description="Of a map: items that are reused.")
    items_to_compare: int | None = Field(
        description="Of a map: completed items that are reused if their inputs are the same."
    )
    items_to_run: int | None = Field(description="Of a map: items that run again.")
    says: str = Field(description="Why it runs and what becomes of its items, for people.")
    status: StepState | None = Field(description="Its state in the earlier run; null: it is new.")
    tokens: int = Field(description="What it has used in the earlier run.")
    cost: Decimal = Field(description="What that cost, in USD.")


class Rerun(BaseModel):
    """What a rerun would do."""

    run_id: UUID
    flow_name: str
    steps: list[RerunStep]
    saved_tokens: int
    saved_cost: Decimal
    first_cost: Decimal = Field(description="What the steps that run have cost the first time.")
    notes: list[str] = Field(description="What cannot be known before it runs.")


_Body = Annotated[RerunRequest | None, Body()]


@router.post("/runs/{run_id}/rerun", status_code=202)
def rerun(
    run: RunHere, caller: CallerHere, response: Response, body: _Body = None
) -> models.RunStatus:
    """Start a new run that reuses what a run has completed, and runs the rest."""
    asked = body or RerunRequest()
    with user_errors(registry.flows.get(run.flow_name)):
        again = run.rerun(asked.from_step, asked.inputs)
    refuse_others(again.id, caller)
    response.headers["Location"] = f"/api/runs/{again.id}"
    return models.RunStatus(id=again.id, flow_name=again.flow_name, status=again.status)


@router.post("/runs/{run_id}/rerun/preview")
def preview(run: RunHere, body: _Body = None) -> Rerun:
    """Show what a rerun would reuse and run, and what that cost; starts nothing."""
    asked = body or RerunRequest()
    with user_errors(registry.flows.get(run.flow_name)):
        found = run.rerun_preview(asked.from_step, asked.inputs)
    return Rerun(
        run_id=found.run_id,
        flow_name=found.flow_name,
        steps=[
            RerunStep(
                key=step.key,
                name=step.name,
                reused=step.is_reused,
                why=step.why,
                reused_items=None if step.items is None else len(step.items.reused),
                items_to_compare=None if step.items is None else len(step.items.maybe),
                items_to_run=None if step.items is None else len(step.items.runs),
                says=reason(step),
                status=step.state,
                tokens=step.tokens,
                cost=step.cost,
            )
            for step in found.steps
        ],
        saved_tokens=found.saved_tokens,
        saved_cost=found.saved_cost,
        first_cost=found.first_cost,
        notes=list(found.notes),
    )

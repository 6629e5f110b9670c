"""The routes `/api/v1/flow-engine/runs`, whose answers are rows: for clients that read those.

New clients use `/api/runs`. The names of the fields are those of the tables. `unit_id` is compared
with the metadata of a run, and `arq_task_id` is the id of a run here.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from flowq import bootstrap
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.usage import Usd
from flowq.entrypoints.http.runs.access import CallerHere
from flowq.entrypoints.http.runs.models import Text

router = APIRouter(prefix="/api/v1/flow-engine", tags=["flow-engine"])

_CONTENT = {"inputs": None, "outputs": None}


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


R = TypeVar("R", bound=_Row)


class FlowRunRow(_Row):
    """A row of `flow_runs`."""

    id: UUID
    user_id: str | None
    flow_name: str
    status: str
    execution_mode: str
    current_step: str | None
    step_progress: int
    total_steps: int | None
    progress_percentage: float
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    last_heartbeat: datetime | None
    total_tokens: int
    total_cost: Usd
    execution_time_ms: int | None
    inputs: Any = None
    outputs: Any = None
    flow_metadata: Any
    error_message: str | None


class FlowStepRunRow(_Row):
    """A row of `flow_step_runs`."""

    id: UUID
    flow_run_id: UUID
    llm_request_id: UUID | None
    step_name: str
    step_order: int
    status: str
    inputs: Any = None
    outputs: Any = None
    tokens_used: int
    cost_estimate: Usd
    execution_time_ms: int | None
    error_message: str | None
    created_at: datetime
    completed_at: datetime | None


class FlowRunRowWithSteps(FlowRunRow):
    """A row of `flow_runs` with those of its steps."""

    steps: list[FlowStepRunRow]


class NotThere(BaseModel):
    """The answer for a run that does not exist."""

    detail: str


@router.get("/runs")
def list_rows(
    *,
    caller: CallerHere,
    arq_task_id: Annotated[UUID | None, Query(description="Id of a run.")] = None,
    unit_id: Annotated[Text | None, Query(description="`unit_id` in its metadata.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[FlowRunRow]:
    """List runs as rows, the newest first."""

    def read(tx: SqlTransaction) -> list[FlowRunRow]:
        found = tx.runs.matching(
            run_id=arq_task_id, user_id=caller.sees, unit_id=unit_id, limit=limit, offset=offset
        )
        return [_shown(FlowRunRow.model_validate(row)) for row in found]

    return bootstrap.engine().records.autocommit(lambda tx: read(cast(SqlTransaction, tx)))


@router.get(
    "/runs/{run_id}",
    response_model=FlowRunRowWithSteps,
    responses={404: {"model": NotThere, "description": "There is no such run."}},
)
def show_row(run_id: UUID, caller: CallerHere) -> Any:
    """Show a run and its steps as rows."""

    def read(tx: SqlTransaction) -> FlowRunRowWithSteps | None:
        run = tx.runs.by_id(run_id)
        if run is None or not caller.may_see(run.user_id):
            return None
        known = FlowRunRow.model_validate(run)
        steps = [FlowStepRunRow.model_validate(row) for row in tx.steps.by_flow_run_id(run_id)]
        return FlowRunRowWithSteps(**dict(_shown(known)), steps=[_shown(step) for step in steps])

    found = bootstrap.engine().records.autocommit(lambda tx: read(cast(SqlTransaction, tx)))
    return found or JSONResponse({"detail": "Flow run not found"}, 404)


def _shown(row: R) -> R:
    """Return a row without contents of users, unless FLOWQ_SHOW_CONTENT is set."""
    return row if bootstrap.settings().show_content else row.model_copy(update=_CONTENT)

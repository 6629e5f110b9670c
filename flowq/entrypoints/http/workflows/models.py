"""What requests and answers of the routes of workflows hold."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from flowq.entrypoints.http.problems import Said
from flowq.entrypoints.http.runs.models import Text
from flowq.workflows.document.problems import Problem

#: A workflow; which of its parts are wrong is said by the reader of workflows.
Document = dict[str, JsonValue]


class NewWorkflowRun(BaseModel):
    """A run of a workflow to be started."""

    model_config = ConfigDict(extra="forbid")

    workflow: Document
    inputs: dict[str, JsonValue] = Field({}, description="By name; may be references.")
    idempotency_key: Text | None = Field(None, description="One run with this key is started.")
    deadline_seconds: float | None = Field(
        None, gt=0, le=3.15e9, strict=True, description="Time from now by which the run must end."
    )


class Started(BaseModel):
    """A run of a workflow that was started."""

    run_id: UUID
    status: Literal["started"] = "started"


class StepProblem(BaseModel):
    """What is wrong with one part of a workflow."""

    step: Said | None
    place: int | None = Field(description="The place of the step in the list, from 1.")
    where: Said
    message: Said

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return what is shown of a problem."""
        return cls.model_validate(problem.to_json())


class Checked(BaseModel):
    """Whether a workflow can run with the step types of this server."""

    valid: bool
    problems: list[StepProblem]


class WorkflowRefused(BaseModel):
    """Why a workflow was refused: all its problems, in the form of `problems.Problem`."""

    error: str = "InvalidWorkflow"
    message: Said
    problems: list[StepProblem]


class StepState(BaseModel):
    """A step of a workflow in a run."""

    id: str
    status: str = Field(description="`pending`, `running`, `completed` or `failed`.")
    error: Said | None
    traceback: Said | None
    ref: str | None = Field(description="The reference of its value: `flowq://…`.")
    started_at: datetime | None
    execution_time_ms: int | None
    preview: str | None = None


class RunState(BaseModel):
    """What has become of a run of a workflow."""

    run_id: UUID
    status: str = Field(description="`pending`, `running`, `completed`, `failed` or `cancelled`.")
    error: Said | None
    steps: list[StepState]
    outputs: dict[str, Any] = Field(description="References of values, by the ids of steps.")

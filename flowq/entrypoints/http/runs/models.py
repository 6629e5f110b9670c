"""The models of requests and answers, as OpenAPI documents them."""

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from flowq.core import events
from flowq.core.limits.budgets import DEFAULT_WARN_AT, Budget, BudgetAction
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usd
from flowq.engine.model.rows import RunFacts, StepView
from flowq.entrypoints.http.problems import Problem

#: Text that every database can store.
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


#: States that a user sets, perhaps with a reason.
_STEERED: Final = {RunState.PAUSED, RunState.CANCELLING, RunState.CANCELLED}


class StrictModel(BaseModel):
    """A body of a request: a field that it does not have is refused."""

    model_config = ConfigDict(extra="forbid")


class NewBudget(StrictModel):
    """The budget of model calls in a run and its child runs."""

    usd: float | None = Field(None, gt=0, strict=True, description="Limit in US dollars.")
    tokens: int | None = Field(
        None, gt=0, strict=True, description="Limit in tokens, input and output."
    )
    on_exceeded: BudgetAction = Field(
        BudgetAction.FAIL, description="`fail` fails the next step that calls a model."
    )
    warn_at: float | None = Field(
        DEFAULT_WARN_AT, gt=0, lt=1, description="Share of it at which a warning is given."
    )

    @property
    def budget(self) -> Budget:
        """The budget as an option of the client."""
        return Budget(
            usd=self.usd,
            tokens=self.tokens,
            on_exceeded=self.on_exceeded.value,
            warn_at=self.warn_at,
        )


class NewRun(StrictModel):
    """A run to start."""

    inputs: dict[str, JsonValue] = Field({}, description="The inputs of the flow, by name.")
    idempotency_key: Text | None = Field(
        None, description="The run of this flow that has this key is returned, not a second one."
    )
    deadline_seconds: float | None = Field(
        None, gt=0, le=3.15e9, strict=True, description="Time from now by which the run must end."
    )
    metadata: dict[str, JsonValue] | None = Field(None, description="Data to keep with the run.")
    budget: NewBudget | None = None
    priority: int = Field(
        0, ge=0, le=9, strict=True, description="Runs with a larger one go first."
    )
    delay_seconds: float | None = Field(
        None, gt=0, le=3.15e9, strict=True, description="How long it waits before it begins."
    )
    at: AwareDatetime | None = Field(None, description="Or when it begins; with a time zone.")

    @model_validator(mode="before")
    @classmethod
    def _explain_unknown(cls, given: Any) -> Any:
        """Explain a body with bare inputs."""
        if isinstance(given, dict) and "inputs" not in given:
            lost = [name for name in given if not get_close_matches(name, cls.model_fields, n=1)]
            if lost:
                text = "put the inputs of the flow under `inputs`: {example}"
                example = f'{{"inputs": {{"{lost[0]}": …}}}}'
                raise PydanticCustomError("inputs_not_apart", text, {"example": example})
        return given


class Reason(StrictModel):
    """The reason for a change of a run."""

    reason: str | None = Field(None, max_length=1_000)


class RunStatus(BaseModel):
    """A run, and its state now."""

    id: UUID
    flow_name: str
    status: RunState


class RunSummary(RunStatus):
    """A run in a list."""

    user_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    total_steps: int
    done_steps: int = Field(description="Terminal steps, items of maps counted.")
    progress_percentage: float
    tokens: int
    cost: Usd = Field(description="USD, as text.")
    unpriced_calls: int = Field(description="Calls of models whose cost is not in `cost`.")
    error: str | None = Field(description="Why it has failed.")
    reason: str | None = Field(description="The reason of a pause or cancel.")
    priority: int = Field(description="From 0 to 9; larger goes first.")
    starts_at: datetime | None = Field(description="Of a pending run: when it begins.")

    @classmethod
    def of(cls, run: RunFacts, **more: Any) -> Self:
        """Return a run as an answer."""
        return cls(
            id=run.id,
            flow_name=run.flow_name,
            status=run.status,
            user_id=run.user_id,
            created_at=run.created_at,
            started_at=run.started_at,
            completed_at=run.completed_at,
            execution_time_ms=run.execution_time_ms,
            total_steps=run.total,
            done_steps=run.done,
            progress_percentage=round(100 * run.done / run.total, 2) if run.total else 100.0,
            tokens=run.tokens,
            cost=run.cost,
            unpriced_calls=run.unpriced,
            error=run.error if run.status is RunState.FAILED else None,
            reason=run.error if run.status in _STEERED else None,
            priority=run.priority,
            starts_at=run.starts_at,
            **more,
        )


class RunList(BaseModel):
    """A page of a list of runs, the newest first."""

    runs: list[RunSummary]
    next: UUID | None = Field(description="Give it as `before` to get the next page.")


class StepSummary(BaseModel):
    """A step of a run; a map is one step, and its items are counted."""

    key: str
    name: str
    order: int
    status: StepState
    map_size: int | None = Field(description="How many items it has, if it is a map.")
    counts: dict[StepState, int] = Field(description="How many step runs are in each state.")
    attempts: int
    recoveries: int = Field(description="How often it was recovered from a lost worker.")
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    tokens: int
    cost: Usd
    unpriced_calls: int
    error_type: str | None
    error_message: str | None

    @classmethod
    def of(cls, step: StepView) -> Self:
        """Return a step as an answer."""
        plain = set(cls.model_fields) - {"unpriced_calls"}
        values = {name: getattr(step, name) for name in plain}
        return cls(**values, unpriced_calls=step.unpriced)


class StepList(BaseModel):
    """A part of a run's steps, in their order."""

    steps: list[StepSummary]
    next: int | None = Field(description="Give it as `after` to get the next part.")


class LogLineShown(BaseModel):
    """A line that a step has logged."""

    at: datetime = Field(description="By the clock of the worker.")
    level: str = Field(description="`INFO`, `WARNING`, …")
    logger: str = Field(description="Its name; `print` for printed lines.")
    message: str
    step: str
    index: int | None = Field(description="Of a map: which item, from 0.")
    attempt: int
    missing: int = Field(description="Not 0: it stands for so many lines that were not kept.")


class LogLines(BaseModel):
    """A part of what the steps of a run have logged, by time."""

    lines: list[LogLineShown]
    next: int | None = Field(description="Give it as `skip` to get the next part.")


class RunDetails(RunSummary):
    """A run."""

    continued_as: UUID | None = Field(description="The run as which it continues.")
    rerun_of: UUID | None = Field(description="Of a rerun: the run that it repeats.")
    inputs: Any = Field(None, description="Only with FLOWQ_SHOW_CONTENT=1.")
    outputs: Any = Field(None, description="Only with FLOWQ_SHOW_CONTENT=1.")
    steps: list[StepSummary] = Field(description="The first of its steps.")
    next_step: int | None = Field(description="`after` of /steps, if there are more.")


class RunResult(BaseModel):
    """What a run has returned."""

    result: Any


class RunFailure(Problem):
    """How a run has ended that has no result."""

    status: RunState


class FlowInfo(BaseModel):
    """A flow that this server may start."""

    name: str
    inputs: dict[str, Any] = Field(description="JSON Schema of its inputs.")


class FlowList(BaseModel):
    """The flows that this server has imported."""

    flows: list[FlowInfo]


#: The content of `data:` in a frame, for the documentation.
AnyEvent = Annotated[events.Event, Field(discriminator="event_type")]

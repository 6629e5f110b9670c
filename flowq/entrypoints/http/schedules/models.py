"""The models of requests and answers about schedules, as OpenAPI documents them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from flowq.core.schedules.decide import SkipReason
from flowq.core.schedules.spec import MAX_CATCH_UP, CatchUp, Overlap, ScheduleSpec
from flowq.core.states import RunState
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.queries.schedules import (
    ListedSchedule,
    ScheduledRun,
    ScheduleState,
    SkippedTicks,
)
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.schedules.inputs import recorded_inputs, run_options
from flowq.entrypoints.http.runs.models import NewBudget, StrictModel, Text

#: The longest interval or jitter, in seconds; the schedule itself has the exact limits.
_LONGEST: Final = 3.2e8


class NewSchedule(StrictModel):
    """A schedule to add, or the new definition of one."""

    flow_name: Text = Field(description="The flow that it runs; GET /api/flows lists them.")
    cron: Text | None = Field(
        None, description="Minute, hour, day of month, month, day of week: `0 2 * * mon-fri`."
    )
    every_seconds: float | None = Field(
        None, gt=0, le=_LONGEST, strict=True, description="Or an interval."
    )
    timezone: Text = Field("UTC", description="Of the expression: an IANA name.")
    inputs: dict[str, JsonValue] = Field({}, description="The inputs of each run, by name.")
    time_input: Text | None = Field(None, description="The input that gets the time of the tick.")
    catch_up: CatchUp = Field(CatchUp.LAST, description="Which missed ticks start a run.")
    catch_up_limit: int = Field(100, ge=1, le=MAX_CATCH_UP, strict=True)
    overlap: Overlap = Field(Overlap.SKIP, description="What happens while a run of it is open.")
    jitter_seconds: float = Field(0, ge=0, le=_LONGEST, strict=True)
    starts_at: AwareDatetime | None = Field(None, description="The first possible tick.")
    ends_at: AwareDatetime | None = Field(None, description="The last possible tick.")
    metadata: dict[str, JsonValue] | None = Field(None, description="Data to keep with each run.")
    budget: NewBudget | None = Field(None, description="Of each run.")
    priority: int = Field(0, ge=0, le=9, strict=True, description="Of each run.")
    deadline_seconds: float | None = Field(
        None, gt=0, le=3.15e9, strict=True, description="Of each run, from its start."
    )

    def spec(
        self, name: str, flow: RegisteredFlow, user_id: str | None, limit: int
    ) -> ScheduleSpec:
        """Return the schedule; the caller checks its times.

        Args:
            name: Its name.
            flow: The flow of `flow_name`.
            user_id: Whose its runs are.
            limit: Maximum bytes of inputs and metadata, as JSON.

        Raises:
            InvalidInput: an input or an option is wrong.
        """
        options: SubmitOptions = {
            "user_id": user_id,
            "metadata": self.metadata,
            "budget": self.budget.budget if self.budget else None,
            "priority": self.priority,
            "deadline": timedelta(seconds=self.deadline_seconds) if self.deadline_seconds else None,
        }
        return ScheduleSpec(
            name=name,
            flow_name=flow.name,
            cron=self.cron,
            every=None if self.every_seconds is None else timedelta(seconds=self.every_seconds),
            timezone=self.timezone,
            inputs=recorded_inputs(flow, self.inputs, self.time_input, limit),
            time_input=self.time_input,
            options=run_options(options, limit),
            catch_up=self.catch_up,
            catch_up_limit=self.catch_up_limit,
            overlap=self.overlap,
            jitter=timedelta(seconds=self.jitter_seconds),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )


class Span(StrictModel):
    """A span of past ticks."""

    first: AwareDatetime = Field(alias="from", description="Its begin, with a time zone.")
    last: AwareDatetime | None = Field(
        None, alias="to", description="Its end, included; now when left out."
    )


class RunOfSchedule(BaseModel):
    """A run that a schedule has started."""

    id: UUID
    status: RunState
    scheduled_for: str | None = Field(description="Its tick, in the time zone of the schedule.")
    created_at: datetime
    completed_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, run: ScheduledRun) -> Self:
        """Return a run as an answer."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class TicksSkipped(BaseModel):
    """Ticks, one after the other, that have started no run for one reason."""

    first: datetime
    last: datetime
    ticks: int
    reason: SkipReason
    detail: str | None

    @classmethod
    def of(cls, skipped: SkippedTicks) -> Self:
        """Return skipped ticks as an answer."""
        return cls(**{name: getattr(skipped, name) for name in cls.model_fields})


class ScheduleSummary(BaseModel):
    """A schedule in a list."""

    name: str
    flow_name: str
    user_id: str | None
    state: ScheduleState
    why: str | None = Field(description="Why a due tick is not started yet.")
    cron: str | None
    every_seconds: float | None
    timezone: str
    next_at: datetime | None
    last_at: datetime | None = Field(description="The last tick that was started or skipped.")
    paused_at: datetime | None
    requested_at: datetime | None = Field(description="When a run was requested, until it starts.")
    backfill_at: datetime | None = Field(description="The next tick of its backfill.")
    backfill_until: datetime | None
    is_declared: bool = Field(description="Whether code declares it; then code alone changes it.")
    last_run: RunOfSchedule | None

    @classmethod
    def of(cls, listed: ListedSchedule, **more: Any) -> Self:
        """Return a schedule as an answer."""
        schedule = listed.schedule
        spec, progress = schedule.spec, schedule.progress
        last = listed.last_run
        return cls(
            name=spec.name,
            flow_name=spec.flow_name,
            user_id=owner_of(schedule),
            state=listed.state,
            why=listed.why,
            cron=spec.cron,
            every_seconds=None if spec.every is None else spec.every.total_seconds(),
            timezone=spec.timezone,
            next_at=progress.next_at,
            last_at=progress.last_at,
            paused_at=progress.paused_at,
            requested_at=progress.requested_at,
            backfill_at=progress.backfill_at,
            backfill_until=progress.backfill_until,
            is_declared=schedule.declared_in is not None,
            last_run=None if last is None else RunOfSchedule.of(last),
            **more,
        )


class ScheduleList(BaseModel):
    """A page of a list of schedules, by name."""

    schedules: list[ScheduleSummary]
    next: str | None = Field(description="Give it as `after` to get the next page.")


class ScheduleDetails(ScheduleSummary):
    """A schedule with its rules, next ticks, last runs and skipped ticks."""

    inputs: dict[str, Any] | None = Field(None, description="Only with FLOWQ_SHOW_CONTENT=1.")
    time_input: str | None
    catch_up: CatchUp
    catch_up_limit: int
    overlap: Overlap
    jitter_seconds: float
    starts_at: datetime | None
    ends_at: datetime | None
    metadata: dict[str, Any]
    budget: NewBudget | None
    priority: int
    deadline_seconds: float | None
    coming: list[datetime] = Field(description="Its next ticks, also those of a paused one.")
    runs: list[RunOfSchedule] = Field(description="The last ones, the newest first.")
    skipped: list[TicksSkipped] = Field(description="The last ones, the latest first.")

    @classmethod
    def with_all(
        cls,
        listed: ListedSchedule,
        runs: Sequence[ScheduledRun],
        skipped: Sequence[SkippedTicks],
        *,
        shows_content: bool,
    ) -> Self:
        """Return a schedule with all that is shown of it."""
        spec = listed.schedule.spec
        deadline = spec.options.deadline
        return cls.of(
            listed,
            inputs=spec.inputs if shows_content else None,
            time_input=spec.time_input,
            catch_up=spec.catch_up,
            catch_up_limit=spec.catch_up_limit,
            overlap=spec.overlap,
            jitter_seconds=spec.jitter.total_seconds(),
            starts_at=spec.starts_at,
            ends_at=spec.ends_at,
            metadata=spec.options.metadata,
            budget=_budget_of(spec),
            priority=spec.options.priority,
            deadline_seconds=None if deadline is None else deadline.total_seconds(),
            coming=listed.coming(10),
            runs=[RunOfSchedule.of(run) for run in runs],
            skipped=[TicksSkipped.of(one) for one in skipped],
        )


class Ticks(BaseModel):
    """The next ticks of a schedule."""

    ticks: list[datetime] = Field(description="In its time zone.")


class Backfill(BaseModel):
    """What a backfill starts."""

    ticks: int = Field(description="Past ticks of the span; those that have a run are left out.")
    first: datetime
    last: datetime


def _budget_of(spec: ScheduleSpec) -> NewBudget | None:
    budget = spec.options.budget
    if budget is None:
        return None
    return NewBudget(
        usd=None if budget.usd is None else float(budget.usd),
        tokens=budget.tokens,
        on_exceeded=budget.action,
        warn_at=budget.warn_at,
    )


def owner_of(schedule: StoredSchedule) -> str | None:
    """Return whose a schedule is: the user of its runs."""
    return schedule.spec.options.user_id

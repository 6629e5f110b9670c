"""The events of a run: one list for all readers.

Most events are *published* after the commit of what they report. Others are computed by the reader
(`flowq.core.feed`), since a publisher would have to count rows: `BATCH_COMPLETED`,
`PROGRESS_UPDATE`, and the run's own first and last event, which are made from its row.

Events inform people; they decide nothing. An event may be lost, with Redis or with the process that
publishes it; the rows are the truth, and a reader makes missed events from them (`rebuilt`).
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from flowq.core.ids import BatchId, RunId
from flowq.core.usage import Usd


class _Event(BaseModel):
    """The fields of all events."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: RunId
    timestamp: datetime
    #: The position after it: `run.events(after=event.id)`. Opaque; empty until it is read.
    id: str = ""
    #: Made from the rows, since it did not come, or not yet, through Redis.
    rebuilt: bool = False


# --- the run --------------------------------------------------------------------------------------


class WorkflowStarted(_Event):
    """The run is recorded; always the first event, and never a later one."""

    event_type: Literal["WORKFLOW_STARTED"] = "WORKFLOW_STARTED"
    flow_name: str
    total_steps: int


class ProgressUpdate(_Event):
    """More step runs are finished than before; a map grows the total when its list is known."""

    event_type: Literal["PROGRESS_UPDATE"] = "PROGRESS_UPDATE"
    done: int
    total: int
    percentage: float


class _WorkflowEnded(_Event):
    flow_name: str
    execution_time_ms: int | None = None
    total_tokens: int = 0
    total_cost: Usd = Decimal(0)
    unpriced_calls: int = 0  #: Calls of models whose cost is unknown, so not in `total_cost`.


class WorkflowCompleted(_WorkflowEnded):
    """The run has completed; nothing follows."""

    event_type: Literal["WORKFLOW_COMPLETED"] = "WORKFLOW_COMPLETED"
    continued_as: RunId | None = None  #: The run as which it continues, with its own events.


class WorkflowError(_WorkflowEnded):
    """The run has failed; nothing follows."""

    event_type: Literal["WORKFLOW_ERROR"] = "WORKFLOW_ERROR"
    error_message: str | None = None


class WorkflowCancelled(_WorkflowEnded):
    """The run was cancelled; nothing follows. Steps that were open were cancelled with it."""

    event_type: Literal["WORKFLOW_CANCELLED"] = "WORKFLOW_CANCELLED"
    reason: str | None = None


class BudgetWarning(_Event):
    """The share `warn_at` of a budget is reached; once for each budget, until it is raised."""

    event_type: Literal["BUDGET_WARNING"] = "BUDGET_WARNING"
    budget_of: Literal["run", "flow", "user"]  #: Of a flow and a user: their budget of the month.
    warn_at: float | None = None  #: The share that is reached; None of older versions of flowq.
    share: float  #: The spent share, 0.8 is 80 %; more than 1 if it is exceeded.
    cost: Usd  #: What is spent, in USD.
    tokens: int
    budget_usd: Usd | None = None
    budget_tokens: int | None = None


# --- batches --------------------------------------------------------------------------------------


class BatchStarted(_Event):
    """Steps became ready together and are queued; or the items of a map are."""

    event_type: Literal["BATCH_STARTED"] = "BATCH_STARTED"
    batch: BatchId
    steps: tuple[str, ...]  #: Keys; of a map only its own.
    items: int | None = None  #: How many items it has, when it is a map.


class BatchCompleted(_Event):
    """All steps of a batch are finished."""

    event_type: Literal["BATCH_COMPLETED"] = "BATCH_COMPLETED"
    batch: BatchId
    steps: tuple[str, ...]
    items: int | None = None
    failed: int = 0


# --- steps ----------------------------------------------------------------------------------------


class _StepEvent(_Event):
    step: str  #: Key of the step in its flow.
    index: int | None = None  #: Index of the item of a map, from 0; None is the node itself.
    attempt: int = 0  #: From 1; 0 when there was none.


class _AttemptEnded(_StepEvent):
    """What a step has used in all its attempts when one of them ends.

    All values are from the step's row; None where they are not known.
    """

    execution_time_ms: int | None = None  #: How long its code ran.
    tokens: int | None = None
    cost: Usd | None = None  #: Of the calls of models whose cost is known.
    unpriced_calls: int | None = None  #: How many calls are not in `cost`.


class StepStarted(_StepEvent):
    """A worker has begun an attempt of a step."""

    event_type: Literal["STEP_STARTED"] = "STEP_STARTED"
    worker: str | None = None


class StepCompleted(_AttemptEnded):
    """A step has completed."""

    event_type: Literal["STEP_COMPLETED"] = "STEP_COMPLETED"
    items: int | None = None  #: How many items it had, when it is a map.


class StepFailed(_AttemptEnded):
    """A step has failed for good."""

    event_type: Literal["STEP_FAILED"] = "STEP_FAILED"
    error_type: str | None = None
    error_message: str | None = None
    items: int | None = None


class StepRetrying(_AttemptEnded):
    """An attempt has failed, or lost its worker, and another one follows."""

    event_type: Literal["STEP_RETRYING"] = "STEP_RETRYING"
    error_type: str | None = None
    error_message: str | None = None
    delay: float | None = None  #: Seconds until then.


class StepSkipped(_StepEvent):
    """A step is not run: its condition is false, or a dependency was skipped."""

    event_type: Literal["STEP_SKIPPED"] = "STEP_SKIPPED"


# --- streams --------------------------------------------------------------------------------------


class _StreamEvent(_StepEvent):
    stream: int  #: Number of the stream within its attempt, from 0.


class StreamStarted(_StreamEvent):
    """A step begins to stream text; another attempt begins again."""

    event_type: Literal["STREAM_STARTED"] = "STREAM_STARTED"
    content_type: str = "text/plain"


class StreamChunk(_StreamEvent):
    """A piece of the text; text of a short interval is one piece."""

    event_type: Literal["STREAM_CHUNK"] = "STREAM_CHUNK"
    offset: int  #: The number of characters before it; a gap means that some were lost.
    text: str


class StreamEnded(_StreamEvent):
    """The text is finished; its length shows whether all of it has arrived."""

    event_type: Literal["STREAM_ENDED"] = "STREAM_ENDED"
    length: int
    error_type: str | None = None  #: The error that ended it early.


# --- all ------------------------------------------------------------------------------------------

StepEvent: TypeAlias = StepStarted | StepCompleted | StepFailed | StepRetrying | StepSkipped
StreamEvent: TypeAlias = StreamStarted | StreamChunk | StreamEnded
EndEvent: TypeAlias = WorkflowCompleted | WorkflowError | WorkflowCancelled
Event: TypeAlias = (
    WorkflowStarted
    | BatchStarted
    | BatchCompleted
    | ProgressUpdate
    | BudgetWarning
    | StepEvent
    | StreamEvent
    | EndEvent
)

#: The `event_type` of each kind of event.
NAMES: Final[Mapping[type[Event], str]] = {
    kind: kind.model_fields["event_type"].default for kind in get_args(Event)
}

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event_type")])


def to_json(event: Event) -> str:
    """Return an event as JSON."""
    return event.model_dump_json()


def from_json(text: str | bytes) -> Event:
    """Return the event of `to_json`; raises pydantic's `ValidationError`."""
    return _EVENT.validate_json(text)


def from_fields(fields: Mapping[str, Any]) -> Event:
    """Return an event from its fields as JSON has them; raises pydantic's `ValidationError`."""
    return _EVENT.validate_python(fields)

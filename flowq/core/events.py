"""What happens in a run, told as it happens: one list of events for all who look on.

Most events are *published* by whoever has just committed what they say. Three kinds are worked out
by the reader (`flowq.core.feed`), since nobody else can without counting rows: `BATCH_COMPLETED`,
`PROGRESS_UPDATE`, and the run's own first and last event, which are made from its row.

An event tells people; it decides nothing. It may be lost, with Redis or with the process that had
it in hand; the rows are the truth, and a reader makes from them what it has missed (`rebuilt`).
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from flowq.core.ids import BatchId, RunId
from flowq.core.usage import Usd


class _Event(BaseModel):
    """What all events have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: RunId
    timestamp: datetime
    #: Where a reader goes on: `run.events(after=event.id)`. Opaque; empty until it is read.
    id: str = ""
    #: Made from the rows, since it did not come, or not yet, through Redis.
    rebuilt: bool = False


# --- the run --------------------------------------------------------------------------------------


class WorkflowStarted(_Event):
    """The run is recorded; always the first event, and only ever the first."""

    event_type: Literal["WORKFLOW_STARTED"] = "WORKFLOW_STARTED"
    flow_name: str
    total_steps: int


class ProgressUpdate(_Event):
    """More step runs have ended than before; a map grows the total when its list is known."""

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
    continued_as: RunId | None = None  #: The run as which it continues, with events of its own.


class WorkflowError(_WorkflowEnded):
    """The run has failed; nothing follows."""

    event_type: Literal["WORKFLOW_ERROR"] = "WORKFLOW_ERROR"
    error_message: str | None = None


class WorkflowCancelled(_WorkflowEnded):
    """The run was cancelled; nothing follows. Steps that had not ended were cancelled with it."""

    event_type: Literal["WORKFLOW_CANCELLED"] = "WORKFLOW_CANCELLED"
    reason: str | None = None


# --- batches --------------------------------------------------------------------------------------


class BatchStarted(_Event):
    """Steps became ready together and are queued; or a map has got its items."""

    event_type: Literal["BATCH_STARTED"] = "BATCH_STARTED"
    batch: BatchId
    steps: tuple[str, ...]  #: Keys; of a map only its own.
    items: int | None = None  #: How many items it has, when it is a map.


class BatchCompleted(_Event):
    """All steps of a batch have ended."""

    event_type: Literal["BATCH_COMPLETED"] = "BATCH_COMPLETED"
    batch: BatchId
    steps: tuple[str, ...]
    items: int | None = None
    failed: int = 0


# --- steps ----------------------------------------------------------------------------------------


class _StepEvent(_Event):
    step: str  #: Key of the step in its flow.
    index: int | None = None  #: Which item of a map, from 0; None is the node itself.
    attempt: int = 0  #: From 1; 0 when there was none.


class _AttemptEnded(_StepEvent):
    """What a step has used when an attempt of it ends: in all its attempts up to now.

    All of it is what the step's row says, and None where that is not known.
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
    """A step is not run: its condition is false, or what it needs was skipped."""

    event_type: Literal["STEP_SKIPPED"] = "STEP_SKIPPED"


# --- streams --------------------------------------------------------------------------------------


class _StreamEvent(_StepEvent):
    stream: int  #: Number of the stream within its attempt, from 0.


class StreamStarted(_StreamEvent):
    """A step begins to put out text while it runs; another attempt begins again."""

    event_type: Literal["STREAM_STARTED"] = "STREAM_STARTED"
    content_type: str = "text/plain"


class StreamChunk(_StreamEvent):
    """A piece of the text; what leaves within a moment is one piece."""

    event_type: Literal["STREAM_CHUNK"] = "STREAM_CHUNK"
    offset: int  #: How many characters came before it: another number means that some were lost.
    text: str


class StreamEnded(_StreamEvent):
    """The text has ended; its length says whether all of it has come."""

    event_type: Literal["STREAM_ENDED"] = "STREAM_ENDED"
    length: int
    error_type: str | None = None  #: What ended it before its time.


# --- all ------------------------------------------------------------------------------------------

StepEvent: TypeAlias = StepStarted | StepCompleted | StepFailed | StepRetrying | StepSkipped
StreamEvent: TypeAlias = StreamStarted | StreamChunk | StreamEnded
EndEvent: TypeAlias = WorkflowCompleted | WorkflowError | WorkflowCancelled
Event: TypeAlias = (
    WorkflowStarted
    | BatchStarted
    | BatchCompleted
    | ProgressUpdate
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
    """Return the event that `to_json` was given; raises pydantic's `ValidationError`."""
    return _EVENT.validate_json(text)


def from_fields(fields: Mapping[str, Any]) -> Event:
    """Return an event from its fields as JSON has them; raises pydantic's `ValidationError`."""
    return _EVENT.validate_python(fields)

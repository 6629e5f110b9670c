"""What happens in an execution: events, failures, and what is logged about them.

An `Event` comes from outside (a call has ended). A `Decision` goes out: `Control` reports what it
decides, in the order of the log. The names of both are those of `EventName`. Two of a call,
`command.claimed` and `command.started`, are not decided here: the log puts them before what the end
of the call reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EventName(StrEnum):
    """The names of all events."""

    WORKFLOW_START = "workflow.start"
    WORKFLOW_END = "workflow.end"
    PLAYBOOK_INITIALIZED = "playbook.initialized"
    PLAYBOOK_COMPLETED = "playbook.completed"
    PLAYBOOK_FAILED = "playbook.failed"
    WORKFLOW_INITIALIZED = "workflow.initialized"
    WORKFLOW_COMPLETED = "workflow.completed"
    WORKFLOW_FAILED = "workflow.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    STEP_ENTER = "step.enter"
    STEP_EXIT = "step.exit"
    LOOP_ITEM = "loop.item"
    LOOP_DONE = "loop.done"
    CALL_DONE = "call.done"
    CALL_ERROR = "call.error"
    WORKER_DONE = "worker.done"
    COMMAND_ISSUED = "command.issued"
    COMMAND_CLAIMED = "command.claimed"
    COMMAND_STARTED = "command.started"
    COMMAND_COMPLETED = "command.completed"
    COMMAND_FAILED = "command.failed"
    COMMAND_CANCELLED = "command.cancelled"
    CASE_EVALUATED = "case.evaluated"
    COLLECT_MISSED = "collect.missed"
    PAGINATION_CAPPED = "pagination.capped"
    ACTION_IGNORED = "action.ignored"
    VARS_FAILED = "vars.failed"
    SINK_STARTED = "sink.started"
    SINK_COMPLETED = "sink.completed"
    SINK_FAILED = "sink.failed"


class Event(BaseModel):
    """What a caller says has happened; fields that are not known are kept."""

    model_config = ConfigDict(extra="allow")

    execution_id: str
    step: str | None = None
    name: str
    payload: dict[str, Any] = Field(default_factory=dict)
    timestamp: datetime | None = None
    worker_id: str | None = None
    attempt: int = 1
    parent_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call, or a step, has failed.

    Attributes:
        type: The name of the exception's class.
        status: Of an HTTP response.
        body: Of an HTTP response.
    """

    message: str
    type: str = "Error"
    status: int | None = None
    body: Any = None
    traceback: str | None = None

    @classmethod
    def of(cls, error: object) -> "Failure":
        """Read the `error` of an event: a mapping with `message`, or a text."""
        if not isinstance(error, Mapping):
            return cls(str(error))
        known = {name: error[name] for name in cls.__slots__ if name in error}
        return cls(**{"message": "the call failed", **known})

    def to_json(self) -> dict[str, Any]:
        """Return what templates see as `error`; what is not known is left out."""
        optional = {name: getattr(self, name) for name in ("body", "traceback")}
        present = {name: value for name, value in optional.items() if value is not None}
        return {"message": self.message, "type": self.type, "status": self.status, **present}


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, for the log. Values in the payload may be lazy results."""

    name: EventName
    step: str | None
    payload: Mapping[str, Any] = field(default_factory=dict)

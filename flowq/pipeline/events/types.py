"""The events of executions, as subscribers of the event bus get them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from flowq.adapters import clock


class EventType(StrEnum):
    """The types of events that flowq publishes; an application may publish others."""

    WORKFLOW_STARTED = "workflow_started"
    LLM_LOADED = "llm_loaded"
    TOOLS_LOADED = "tools_loaded"
    RETRIEVER_LOADED = "retriever_loaded"
    EXECUTION_STARTED = "execution_started"
    NODE_EXECUTED = "node_executed"
    TOOL_CALLED = "tool_called"
    MESSAGE_SAVED = "message_saved"
    TOKEN_USAGE = "token_usage"  # noqa: S105 - no password
    EXECUTION_COMPLETED = "execution_completed"
    EXECUTION_FAILED = "execution_failed"


@dataclass(frozen=True)
class WorkflowEvent:
    """Something that has happened in one execution.

    Attributes:
        event_type: What; an `EventType`, or a type of the application.
        execution_id: In which execution; of a run on workers, its id.
        user_id: Whose it is.
        conversation_id: The conversation that it belongs to.
        timestamp: When; in UTC.
        data: More about it, as JSON data.
    """

    event_type: str
    execution_id: str
    user_id: str | None = None
    conversation_id: str | None = None
    timestamp: datetime = field(default_factory=clock.now)
    data: dict[str, Any] = field(default_factory=dict)

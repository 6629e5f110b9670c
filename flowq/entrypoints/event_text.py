"""Events and actions as lines of text, for terminals and for the pages of Flower."""

import json
from collections.abc import Mapping
from typing import Any

from flowq.core.events import (
    BatchCompleted,
    BatchStarted,
    BudgetWarning,
    Event,
    ProgressUpdate,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepStarted,
    StreamChunk,
    StreamEnded,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowError,
)
from flowq.core.limits.budgets import warning_text
from flowq.engine.model.actions import ActionKind, ActionView
from flowq.entrypoints import formatting

_MAX_LENGTH = 100


def what(event: Event) -> str:
    """Return the content of an event, without its time and kind."""
    parts = [_where(event)]
    if isinstance(event, ProgressUpdate):
        parts.append(f"{event.done} of {event.total}, {event.percentage:g} %")
    elif isinstance(event, BudgetWarning):
        warn_at = event.share if event.warn_at is None else event.warn_at
        parts.append(warning_text(f"budget of this {event.budget_of}", warn_at, event.share))
    elif isinstance(event, StepStarted):
        parts += [_attempt(event.attempt), event.worker or ""]
    elif isinstance(event, StepCompleted | WorkflowCompleted) and event.execution_time_ms:
        parts.append(formatting.duration(event.execution_time_ms / 1000))
    elif isinstance(event, StepFailed | StepRetrying):
        why = ": ".join(part for part in (event.error_type, event.error_message) if part)
        parts += [_attempt(event.attempt), why]
    elif isinstance(event, StreamChunk):
        parts.append(json.dumps(event.text, ensure_ascii=False))
    elif isinstance(event, StreamEnded):
        parts += [f"{formatting.count(event.length)} characters", event.error_type or ""]
    elif isinstance(event, WorkflowError):
        parts.append(event.error_message or "")
    elif isinstance(event, WorkflowCancelled):
        parts.append(event.reason or "")
    text = "  ".join(part for part in parts if part)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def of_action(action: ActionView) -> str:
    """Return what somebody did to a run, without who it was."""
    details = action.details
    if action.kind is ActionKind.SIGNAL:
        return str(details.get("name", ""))
    if action.kind is ActionKind.RAISE_BUDGET:
        names = {"usd": "USD", "tokens": "tokens"}
        return "to " + ", ".join(f"{details[key]} {names[key]}" for key in names if key in details)
    if action.kind is ActionKind.RERUN:
        return _of_rerun(details)
    return str(details.get("reason", ""))


def _of_rerun(details: Mapping[str, Any]) -> str:
    text = f"of {details.get('rerun_of')} as {details.get('run_id')}"
    if "from_step" in details:
        text += f", from {details['from_step']}"
    if "inputs" in details:
        text += f", with other inputs: {', '.join(details['inputs'])}"
    return text


def _attempt(number: int) -> str:
    return f"attempt {number}" if number > 1 else ""


def _where(event: Event) -> str:
    if isinstance(event, BatchStarted | BatchCompleted):
        steps = ", ".join(event.steps)
        return steps if event.items is None else f"{steps}, {formatting.count(event.items)} items"
    step = getattr(event, "step", "")
    index = getattr(event, "index", None)
    return step if index is None else f"{step}[{index}]"

"""`flowq runs events`: what happens in a run, a line for each event."""

import json
import sys

import click
from rich.text import Text

from flowq.client import Run
from flowq.core.events import (
    BatchCompleted,
    BatchStarted,
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
    to_json,
)
from flowq.entrypoints import shown
from flowq.entrypoints.cli import console as looks
from flowq.entrypoints.cli import environment
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK
from flowq.entrypoints.cli.run import print_left

_LONGEST = 100
_STYLES = {
    "WORKFLOW_COMPLETED": "green",
    "WORKFLOW_ERROR": "red",
    "WORKFLOW_CANCELLED": "yellow",
    "STEP_COMPLETED": "green",
    "STEP_FAILED": "red",
    "STEP_RETRYING": "yellow",
    "STEP_STARTED": "cyan",
}


def events(*, run_id: str, follow: bool, after: str | None, as_json: bool) -> int:
    """Print the events of a run."""
    environment.prepare_database()
    run = Run.get(run_id)
    last: Event | None = None
    console = looks.out()
    try:
        for event in run.events(after, wait=follow):
            if as_json:
                click.echo(to_json(event))
                sys.stdout.flush()
            else:
                console.print(line(event), soft_wrap=True)
            last = event
    except KeyboardInterrupt:
        print_left(run)
        return INTERRUPTED
    if last is None or not follow:
        return OK
    return OK if isinstance(last, WorkflowCompleted) else FAILED


def line(event: Event) -> Text:
    """Return an event as a line."""
    moment = event.timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
    kind = event.event_type
    text = Text.assemble(
        (moment, "dim"), "  ", (f"{kind:<18}", _STYLES.get(kind, "")), "  ", _what(event)
    )
    text.rstrip()
    return text


def _what(event: Event) -> str:
    parts = [_where(event)]
    if isinstance(event, ProgressUpdate):
        parts.append(f"{event.done} of {event.total}, {event.percentage:g} %")
    elif isinstance(event, StepStarted):
        parts += [_attempt(event.attempt), event.worker or ""]
    elif isinstance(event, StepCompleted | WorkflowCompleted) and event.execution_time_ms:
        parts.append(shown.duration(event.execution_time_ms / 1000))
    elif isinstance(event, StepFailed | StepRetrying):
        why = ": ".join(part for part in (event.error_type, event.error_message) if part)
        parts += [_attempt(event.attempt), why]
    elif isinstance(event, StreamChunk):
        parts.append(json.dumps(event.text, ensure_ascii=False))
    elif isinstance(event, StreamEnded):
        parts += [f"{shown.count(event.length)} characters", event.error_type or ""]
    elif isinstance(event, WorkflowError):
        parts.append(event.error_message or "")
    elif isinstance(event, WorkflowCancelled):
        parts.append(event.reason or "")
    text = "  ".join(part for part in parts if part)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _attempt(number: int) -> str:
    return f"attempt {number}" if number > 1 else ""


def _where(event: Event) -> str:
    if isinstance(event, BatchStarted | BatchCompleted):
        steps = ", ".join(event.steps)
        return steps if event.items is None else f"{steps}, {shown.count(event.items)} items"
    step = getattr(event, "step", "")
    index = getattr(event, "index", None)
    return step if index is None else f"{step}[{index}]"

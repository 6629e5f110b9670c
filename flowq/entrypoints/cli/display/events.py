"""Events of a run, and actions on it, as lines."""

from typing import Any

from rich.text import Text

from flowq.core.events import Event
from flowq.engine.model.actions import ActionView
from flowq.entrypoints.event_text import of_action, what

_STYLES = {
    "WORKFLOW_COMPLETED": "green",
    "WORKFLOW_ERROR": "red",
    "WORKFLOW_CANCELLED": "yellow",
    "STEP_COMPLETED": "green",
    "STEP_FAILED": "red",
    "STEP_RETRYING": "yellow",
    "STEP_STARTED": "cyan",
}


def action_line(action: ActionView) -> Text:
    """Return an action as a line."""
    moment = action.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    said = (f"{action.kind:<18}", "magenta")
    text = Text.assemble((moment, "dim"), "  ", said, "  ", f"{action.actor}  {of_action(action)}")
    text.rstrip()
    return text


def action_json(action: ActionView) -> dict[str, Any]:
    """Return an action as JSON data, without the data of a signal."""
    return {
        "event_type": "ACTION",
        "timestamp": action.at.isoformat(),
        "action": action.kind,
        "actor": action.actor.name,
        "face": action.actor.face,
        "details": dict(action.details),
    }


def line(event: Event) -> Text:
    """Return an event as a line."""
    moment = event.timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
    kind = event.event_type
    text = Text.assemble(
        (moment, "dim"), "  ", (f"{kind:<18}", _STYLES.get(kind, "")), "  ", what(event)
    )
    text.rstrip()
    return text

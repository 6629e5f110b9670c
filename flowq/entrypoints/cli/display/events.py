"""An event of a run as a line."""

from rich.text import Text

from flowq.core.events import Event
from flowq.entrypoints.event_text import what

_STYLES = {
    "WORKFLOW_COMPLETED": "green",
    "WORKFLOW_ERROR": "red",
    "WORKFLOW_CANCELLED": "yellow",
    "STEP_COMPLETED": "green",
    "STEP_FAILED": "red",
    "STEP_RETRYING": "yellow",
    "STEP_STARTED": "cyan",
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

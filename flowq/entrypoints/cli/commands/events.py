"""`flowq runs events`: what happens in a run, a line for each event."""

import sys

import click
from rich.text import Text

from flowq.client import Run
from flowq.core.events import Event, WorkflowCompleted, to_json
from flowq.entrypoints.cli.app import apps, environment
from flowq.entrypoints.cli.commands.run import print_left
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK
from flowq.entrypoints.event_text import what
from flowq.entrypoints.visible import visible_json

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
    apps.use_named()
    environment.prepare_database()
    run = Run.get(run_id)
    last: Event | None = None
    console = looks.out()
    try:
        for event in run.events(after, wait=follow):
            if as_json:
                click.echo(visible_json(to_json(event)))
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
        (moment, "dim"), "  ", (f"{kind:<18}", _STYLES.get(kind, "")), "  ", what(event)
    )
    text.rstrip()
    return text

"""Prints a run that was started or has ended: its id, its result, or why there is none.

A result goes to stdout: text as it is, tables in their file format, everything else as JSON. Long
texts are cut on a terminal, never in a pipe.
"""

import sys
from pathlib import Path
from typing import Any

import click
from rich.highlighter import JSONHighlighter
from rich.text import Text

from flowq.client import Run
from flowq.core.states import RunState
from flowq.engine.model.rows import RunView
from flowq.engine.results.codecs import tables
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.escaping import escaped, json_text
from flowq.entrypoints.json_output import json_data

_PAST = {RunState.FAILED: "has failed", RunState.CANCELLED: "was cancelled"}


def print_result(value: Any) -> None:
    """Print what a run returned."""
    if value is None:
        return
    form = tables.format_of(value)
    if form is not None:
        data = tables.dump(value, form, where="the run")
        _print_bytes(data, f"{form.media_type} ({type(value).__name__})", f".{form.suffix}")
    elif isinstance(value, bytes | bytearray | memoryview):
        _print_bytes(bytes(value))
    elif isinstance(value, str | Path):
        # In a pipe it is data and must not change: click would remove escape sequences there.
        shows = sys.stdout.isatty()
        click.echo(escaped(str(value), lines=True) if shows else value, color=True)
    elif sys.stdout.isatty():
        text = json_text(formatting.shortened(json_data(value)), indent=2)
        looks.out(lines=True).print(JSONHighlighter()(Text(text)), soft_wrap=True)
    else:
        looks.print_json(value)


def _print_bytes(data: bytes, what: str = "binary data", suffix: str = "") -> None:
    if sys.stdout.isatty():
        size = formatting.size(len(data))
        click.echo(f"{size} of {what}; send them to a file: … > result{suffix}")
    else:
        click.echo(data, nl=False)


def print_started(started: Run[Any], file: str, *, as_json: bool) -> None:
    """Print the id of a new run and the next commands."""
    if as_json:
        looks.print_json(
            {"id": started.id, "flow_name": started.flow_name, "status": started.status}
        )
        return
    sys.stdout.write(f"{started.id}\n")
    sys.stdout.flush()
    flowq = looks.program()
    looks.note((f"  {flowq} runs watch {started.id}", "dim"))
    looks.note((f"  {flowq} runs show {started.id}", "dim"))
    looks.note((f"  {flowq} worker {file}", "dim"), ("        if no worker runs yet", "dim"))


def print_left(started: Run[Any]) -> None:
    """Print that the command has stopped and the run continues."""
    looks.note()
    looks.note("Stopped watching; the run continues. ", (f"flowq runs watch {started.id}", "bold"))


def print_ended(started: Run[Any], view: RunView, *, as_json: bool) -> bool:
    """Print the result of a run that has ended, or why there is none; return whether it has one."""
    completed = view.status is RunState.COMPLETED
    value = started.result() if completed else None
    if as_json:
        document = {"id": view.id, "flow_name": view.flow_name, "status": view.status}
        looks.print_json({**document, "error": view.error, "result": value})
    elif completed:
        print_result(value)
    if not completed:
        print_failed(view)
    return completed


def print_failed(view: RunView) -> None:
    """Print why a run has not completed."""
    reason = f": {view.error}" if view.error else ""
    looks.note(("Error: ", "bold red"), f"the run {_PAST.get(view.status, view.status)}{reason}")
    looks.note(("  → ", "bold"), f"flowq runs show {view.id}")

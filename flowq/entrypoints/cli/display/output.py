"""What a run returned, on stdout: text as it is, tables as files of theirs, the rest as JSON.

On a terminal long texts are cut, since nobody reads a megabyte there; in a pipe nothing is.
"""

import sys
from pathlib import Path
from typing import Any

import click
from rich.highlighter import JSONHighlighter
from rich.text import Text

from flowq.engine.results.codecs import tables
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.printed import json_data
from flowq.entrypoints.visible import json_text, visible


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
        # In a pipe it is data and goes through unchanged: click would leave out colours there.
        shows = sys.stdout.isatty()
        click.echo(visible(str(value), lines=True) if shows else value, color=True)
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

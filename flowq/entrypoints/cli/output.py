"""What a run returned, on stdout: text as it is, anything else as JSON.

On a terminal long texts are cut, since nobody reads a megabyte there; in a pipe nothing is.
"""

import sys
from pathlib import Path
from typing import Any

import click
from pydantic_core import to_jsonable_python
from rich.highlighter import JSONHighlighter
from rich.text import Text

from flowq.entrypoints import shown
from flowq.entrypoints.cli import console as looks
from flowq.entrypoints.visible import json_text, visible


def print_result(value: Any) -> None:
    """Print what a run returned."""
    if value is None:
        return
    if isinstance(value, bytes | bytearray | memoryview):
        _print_bytes(bytes(value))
    elif isinstance(value, str | Path):
        # In a pipe it is data and goes through unchanged: click would leave out colours there.
        shows = sys.stdout.isatty()
        click.echo(visible(str(value), lines=True) if shows else value, color=True)
    elif sys.stdout.isatty():
        text = json_text(shown.shortened(plain(value)), indent=2)
        looks.out(lines=True).print(JSONHighlighter()(Text(text)), soft_wrap=True)
    else:
        looks.print_json(plain(value))


def plain(value: Any) -> Any:
    """Return a value as JSON data; what JSON cannot hold is described."""
    return to_jsonable_python(value, fallback=str, bytes_mode="base64")


def _print_bytes(data: bytes) -> None:
    if sys.stdout.isatty():
        click.echo(f"{shown.size(len(data))} of binary data; send them to a file: … > result")
    else:
        click.echo(data, nl=False)

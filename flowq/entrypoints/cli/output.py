"""What a run returned, on stdout: text as it is, anything else as JSON.

On a terminal long texts are cut, since nobody reads a megabyte there; in a pipe nothing is.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from pydantic_core import to_jsonable_python

from flowq.entrypoints import shown
from flowq.entrypoints.cli import console as looks

_LONGEST_TEXT: Final = 400
_MOST_ITEMS: Final = 40


def print_result(value: Any) -> None:
    """Print what a run returned."""
    if value is None:
        return
    if isinstance(value, bytes | bytearray | memoryview):
        _print_bytes(bytes(value))
    elif isinstance(value, str | Path):
        click.echo(value)
    elif sys.stdout.isatty():
        looks.out().print_json(json.dumps(_shortened(plain(value)), ensure_ascii=False))
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


def _shortened(data: Any) -> Any:
    if isinstance(data, str) and len(data) > _LONGEST_TEXT:
        return f"{data[:_LONGEST_TEXT]}… ({len(data):,} characters)"
    if isinstance(data, dict):
        kept = {key: _shortened(data[key]) for key in list(data)[:_MOST_ITEMS]}
        return kept if len(data) <= _MOST_ITEMS else {**kept, "…": f"{len(data):,} keys"}
    if isinstance(data, list):
        kept_items = [_shortened(item) for item in data[:_MOST_ITEMS]]
        return kept_items if len(data) <= _MOST_ITEMS else [*kept_items, f"… {len(data):,} items"]
    return data

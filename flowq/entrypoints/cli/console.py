"""The two streams of a command, and what is printed on them.

Progress and messages go to stderr, results to stdout, so that a pipe gets the result alone. Colours
and live tables are for terminals; rich leaves them out elsewhere, and with NO_COLOR.
"""

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.text import Text

from flowq.core.errors import FlowqError
from flowq.entrypoints import shown

#: Off a terminal nothing is gained by wrapping: readers have their own ways.
_WIDE: Final = 200


def out() -> Console:
    """Return the console of results."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console of progress and messages."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def unicode(console: Console) -> bool:
    """Tell whether a console can show more than ASCII."""
    return console.encoding.lower().startswith("utf")


def mark(state: str, console: Console) -> Text:
    """Return the sign of a state."""
    known = shown.MARKS[state]
    return Text(known.sign if unicode(console) else known.plain, style=known.style)


def print_error(error: FlowqError) -> None:
    """Print what failed, why, and what to do, on stderr."""
    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), error.message), soft_wrap=True)
    if error.hint:
        arrow = "→" if unicode(console) else "->"
        console.print(Text.assemble((f"  {arrow} ", "bold"), error.hint), soft_wrap=True)


def note(*parts: str | tuple[str, str] | Text) -> None:
    """Print a message on stderr."""
    err().print(Text.assemble(*parts), soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    data = to_jsonable_python(document, fallback=str)
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


@cache
def program() -> str:
    """Return how to type `flowq` here: the bare word when it is on PATH, else where it lies."""
    beside = Path(sys.executable).parent / "flowq"
    on_path = any(
        Path(folder, "flowq").exists() for folder in os.environ.get("PATH", "").split(os.pathsep)
    )
    if on_path:
        return "flowq"
    if beside.exists():
        here = Path.cwd()
        return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)
    return f"{Path(sys.executable).name} -m flowq.entrypoints.cli"


def without_secrets(url: str) -> str:
    """Return an address without what may be a secret: user, password and query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"

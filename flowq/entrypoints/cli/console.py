"""The two streams, and how states, times and numbers look on them.

Progress and messages go to stderr, results to stdout, so that a pipe gets the result alone. Colours
and live tables are for terminals; rich leaves them out elsewhere, and with NO_COLOR.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.text import Text

from flowq.core.errors import FlowqError
from flowq.core.states import RunState, StepState

#: Off a terminal nothing is gained by wrapping: readers have their own ways.
_WIDE: Final = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state looks."""

    sign: str
    plain: str  #: The sign for terminals without Unicode.
    style: str


MARKS: Final[Mapping[str, Mark]] = {
    StepState.PENDING: Mark("·", ".", "dim"),
    StepState.QUEUED: Mark("○", "o", "dim"),
    StepState.RUNNING: Mark("●", "*", "cyan"),
    StepState.RETRYING: Mark("↻", "r", "yellow"),
    StepState.WAITING: Mark("◌", "w", "cyan"),
    StepState.COMPLETED: Mark("✓", "+", "green"),
    StepState.FAILED: Mark("✗", "x", "red"),
    StepState.SKIPPED: Mark("-", "-", "dim"),
    StepState.CANCELLED: Mark("⊘", "/", "dim"),
    RunState.PAUSED: Mark("‖", "=", "yellow"),
    RunState.CANCELLING: Mark("⊘", "/", "yellow"),
    "ok": Mark("✓", "+", "green"),
    "warning": Mark("!", "!", "yellow"),
    "problem": Mark("✗", "x", "red"),
}


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
    known = MARKS[state]
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


# --- numbers --------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Return a length of time as people say it."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ago(then: datetime | None) -> str:
    """Return how long ago something was."""
    if then is None:
        return ""
    seconds = max((datetime.now(UTC) - then).total_seconds(), 0.0)
    for length, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {name} ago"
    return f"{int(seconds)} s ago"


#: Less than this is shown as that.
_LEAST = Decimal("0.0001")


def money(cost: Decimal) -> str:
    """Return dollars, with as many digits as a small sum needs."""
    if not cost:
        return "$0"
    if cost < _LEAST:
        return f"<${_LEAST}"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def count(number: int) -> str:
    """Return a whole number."""
    return f"{number:,}"


def size(number: int) -> str:
    """Return a number of bytes."""
    for length, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if number >= length:
            return f"{number / length:.1f} {name}"
    return f"{number} bytes"


def without_secrets(url: str) -> str:
    """Return an address without what may be a secret: user, password and query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"

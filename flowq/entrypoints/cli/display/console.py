"""The two streams of a command: results on stdout, everything else on stderr.

So a pipe gets the result alone. Colours and live tables are for terminals; rich omits them
elsewhere, and with NO_COLOR. Printed text may come from outside: the consoles escape all control
characters (see `entrypoints.escaping`) and interpret no markup.
"""

import os
import sys
from collections.abc import Iterable
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.protocol import rich_cast
from rich.segment import Segment
from rich.text import Span, Text

from flowq.core.errors import FlowqError
from flowq.entrypoints import formatting
from flowq.entrypoints.escaping import escaped, json_text
from flowq.entrypoints.json_output import json_data

#: Lines are not wrapped when the output is no terminal.
_WIDE: Final = 200


class _Console(Console):
    """A console that escapes control characters of all it renders, in nested renderables too.

    A text is printed as one line, unless the console is for texts of several lines.
    """

    def __init__(self, *, lines: bool, **options: Any) -> None:
        super().__init__(**options)
        self._lines = lines

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        renderable = rich_cast(renderable)
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text):
            renderable = self._visible(renderable)
        return super().render(renderable, options)

    def _visible(self, text: Text) -> Text:
        pieces = [self._piece(one) for one in text.plain]
        formatting = "".join(pieces)
        if formatting == text.plain:
            return text
        place = [0, *accumulate(map(len, pieces))]
        copy = text.blank_copy(formatting)
        copy.spans = [Span(place[one.start], place[one.end], one.style) for one in text.spans]
        return copy

    def _piece(self, text: str) -> str:
        text = escaped(text, lines=self._lines)
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


def out(*, lines: bool = False) -> Console:
    """Return the console of results; with `lines`, for texts of several lines."""
    return _console(stderr=False, lines=lines)


def err(*, lines: bool = False) -> Console:
    """Return the console of progress and messages."""
    return _console(stderr=True, lines=lines)


def _console(*, stderr: bool, lines: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDE
    return _Console(
        lines=lines, stderr=stderr, width=width, highlight=False, emoji=False, markup=False
    )


def unicode(console: Console) -> bool:
    """Return whether a console can show more than ASCII."""
    return console.encoding.lower().startswith("utf")


def mark(state: str, console: Console) -> Text:
    """Return the sign of a state."""
    known = formatting.MARKS[state]
    return Text(known.sign if unicode(console) else known.plain, style=known.style)


def print_error(error: FlowqError) -> None:
    """Print what failed, why, and what to do, on stderr."""
    console = err(lines=True)
    console.print(Text.assemble(("Error: ", "bold red"), error.message), soft_wrap=True)
    if error.hint:
        arrow = "→" if unicode(console) else "->"
        console.print(Text.assemble((f"  {arrow} ", "bold"), error.hint), soft_wrap=True)


def note(*parts: str | tuple[str, str] | Text) -> None:
    """Print a message on stderr."""
    err().print(Text.assemble(*parts), soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout.

    Raises:
        NotSerializable: a part of it has no JSON form.
    """
    click.echo(json_text(json_data(document), indent=2))


@cache
def program() -> str:
    """Return the command that runs `flowq` here: the bare name if it is on PATH, or its path."""
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


def confirmed(question: str) -> bool:
    """Ask a person on stderr, and return whether the answer is yes.

    Raises:
        UsageError: nobody can answer, since the input is no terminal.
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise KeyboardInterrupt from None
        raise click.UsageError(f"{question} Nobody can answer here: --yes confirms it") from None

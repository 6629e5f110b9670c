"""A logged line on a terminal, and as JSON."""

import logging

from rich.console import Console
from rich.text import Text

from flowq.engine.model.logs import LogLine
from flowq.entrypoints.escaping import json_text

_STYLES = ((logging.ERROR, "red"), (logging.WARNING, "yellow"), (logging.INFO, ""))


def print_line(out: Console, line: LogLine) -> None:
    """Print a line; the further lines of its message are indented, so that none looks like one."""
    moment = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    style = next((style for level, style in _STYLES if line.level >= level), "dim")
    text = Text.assemble(
        (moment, "dim"),
        "  ",
        (f"{line.level_name:<8}", style),
        "  ",
        (line.where, "cyan"),
        (f" #{line.attempt}" if line.attempt > 1 else "", "dim"),
        "  ",
        line.message.rstrip("\n").replace("\n", "\n    "),
    )
    out.print(text, soft_wrap=True)


def line_json(line: LogLine) -> str:
    """Return a line as one line of JSON."""
    return json_text(line.as_json())

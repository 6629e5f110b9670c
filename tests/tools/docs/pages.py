"""A page of the documentation as the steps that its reader takes, from top to bottom.

A fenced block is a file to save, commands to type, Python to run, or a text that is only checked.
`Command.expected` is what the page shows below a command; None means that the page shows nothing.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"

#: Languages of blocks that are read by a parser when they are not run.
PARSED: Final = {
    "bash": "sh",
    "json": "json",
    "python": "python",
    "sh": "sh",
    "yaml": "yaml",
    "yml": "yaml",
}
_OPEN: Final = re.compile(r"^( *)```(\w*) ?(.*)$")
_PATH: Final = re.compile(r"^[\w.-]+(?:/[\w.-]+)*\.\w+$|^Makefile$|^Dockerfile$")
_NOT_RUN: Final = re.compile(r"<!-- not run:?((?:(?!-->).)*)-->\s*\Z", re.DOTALL)
_HERE_DOCUMENT: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        info: What follows the language on the line of its fence.
        line: The number of its first line on the page.
        exempt: Why it is not run; None if it is.
    """

    language: str
    info: str
    text: str
    line: int
    exempt: str | None


@dataclass(frozen=True)
class File:
    """A file that the reader saves."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line that the reader types, and the lines that it prints; None if they are not shown.

    Attributes:
        may_fail: Whether the page shows that it fails.
    """

    text: str
    expected: Sequence[str] | None
    line: int
    may_fail: bool = False


@dataclass(frozen=True)
class Python:
    """Code for the interpreter of the page."""

    code: str
    line: int


@dataclass(frozen=True)
class Checked:
    """A text that has to be well-formed in its language, one of the values of `PARSED`."""

    language: str
    text: str
    line: int


Step = File | Command | Python | Checked


def name_of(page: Path) -> str:
    """Return the path of a page in the repository."""
    return (page.relative_to(ROOT) if page.is_relative_to(ROOT) else page).as_posix()


def every_page() -> list[Path]:
    """Return the README, and the pages of the documentation."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def pages() -> list[Path]:
    """Return the pages that have blocks to run."""
    return [page for page in every_page() if any(map(_is_run, blocks(page)))]


def _is_run(block: Block) -> bool:
    return block.language in {"python", "console"}


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, those in lists without their indent."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if not (found := _OPEN.match(lines[number])):
            number += 1
            continue
        end = number + 1
        while end < len(lines) and lines[end].strip() != "```":
            end += 1
        assert end < len(lines), f"{name_of(page)}:{number + 1}: the block has no end"
        why = _NOT_RUN.search("\n".join(lines[:number]))
        text = textwrap.dedent("".join(f"{line}\n" for line in lines[number + 1 : end]))
        exempt = None if why is None else why[1].strip()
        yield Block(found[2], found[3].strip(), text, number + 2, exempt)
        number = end + 1


def block_of(name: str, language: str) -> str:
    """Return the text of the first block of a language on a page, by its path in `docs`."""
    return next(block.text for block in blocks(DOCS / name) if block.language == language)


def steps(page: Path) -> list[Step]:
    """Return what a reader of a page does, in order."""
    found: list[Step] = []
    for block in blocks(page):
        found += _steps_of(block) if block.exempt is None else _checked(block)
    return [_with_failure(one, after) for one, after in pairwise([*found, None]) if one]


def _steps_of(block: Block) -> Iterator[Step]:
    if name := _file_name(block):
        yield File(name, block.text, block.line)
    elif block.language == "console":
        yield from commands(block)
    elif block.language == "python":
        yield Python(block.text, block.line)
    else:
        yield from _checked(block)


def _checked(block: Block) -> Iterator[Checked]:
    if block.language in PARSED:
        yield Checked(PARSED[block.language], block.text, block.line)


def _file_name(block: Block) -> str | None:
    """Return the name of the file that a block is, if it is one."""
    if block.language == "console":
        return None
    first = block.text.partition("\n")[0]
    for given in (block.info, first.removeprefix("# ") if first.startswith("# ") else ""):
        if _PATH.match(given):
            return given
    return None


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block; what stands before the first is not one."""
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        begin = number
        assert lines[begin].startswith("$ "), f"line {block.line}: a console block begins with `$ `"
        typed, number = _typed(lines, begin)
        after = number
        while number < len(lines) and not lines[number].startswith("$ "):
            number += 1
        yield Command(typed, lines[after:number] or None, block.line + begin)


def _typed(lines: Sequence[str], number: int) -> tuple[str, int]:
    """Return a command with the lines that it goes on in, and the number of the next line."""
    typed = lines[number].removeprefix("$ ")
    number += 1
    while typed.endswith("\\") and number < len(lines):
        typed += f"\n{lines[number].removeprefix('> ')}"
        number += 1
    if document := _HERE_DOCUMENT.search(typed):
        while number < len(lines):
            line = lines[number].removeprefix("> ")
            typed, number = f"{typed}\n{line}", number + 1
            if line.strip() == document[2]:
                break
    return typed, number


def _with_failure(step: Step, after: Step | None) -> Step:
    """Note that a command fails: it prints an error, or the reader asks for its exit code."""
    if not isinstance(step, Command):
        return step
    says = any(line.startswith(("Error: ", "Traceback ")) for line in step.expected or ())
    asks = isinstance(after, Command) and after.text == "echo $?"
    return Command(step.text, step.expected, step.line, may_fail=says or asks)

"""What is wrong with a document, and where: problems, and the error that holds all of them.

Places come from `reading`, as a tree that is parallel to the data. A place is looked up only for a
problem, so that a sound document pays nothing for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from flowq.core.errors import InvalidInput
from flowq.core.text.json_values import JsonPath

#: Problems in the text of the error; `problems` has all.
MOST_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a document, or looks wrong.

    Attributes:
        line: From 1; 0 when the data did not come from a text.
        column: In characters, from 1.
        path: `workflow[1].next`; empty for the whole document.
        message: What is wrong, and what to do.
        step: The name of the step, when the path is that of a step.
    """

    line: int
    column: int
    path: str
    message: str
    step: str | None = None

    def __str__(self) -> str:
        """Return the problem as one line, without the name of the file."""
        where = f"{self.line}:{self.column}: " if self.line else ""
        step = f" (step {self.step!r})" if self.step else ""
        return f"{where}{self.path}{step}{': ' if self.path else ''}{self.message}"


class InvalidPlaybook(InvalidInput, ValueError):
    """A playbook is refused; nothing is recorded.

    Args:
        problems: Everything that is wrong with it, in the order of the text; at least one.
        name: The name of the file.
    """

    def __init__(self, problems: Sequence[Problem], name: str = "") -> None:
        self.problems = tuple(problems)
        self.name = name
        super().__init__("\n".join(self.lines(MOST_SHOWN)))

    def lines(self, most: int | None = None) -> list[str]:
        """Return the problems as lines, `file:line:column: path: message`, at most so many."""
        prefix = f"{self.name}:" if self.name else ""
        shown = [f"{prefix}{problem}" for problem in self.problems[:most]]
        if len(shown) < len(self.problems):
            shown.append(f"… and {len(self.problems) - len(shown):,} more")
        return shown

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...], str]]:
        return type(self), (self.problems, self.name)


#: Line and column of a value, both from 0, and the places of its parts: by key, with the place of
#: the key itself; or by index.
Mark = tuple[int, int]
Place = tuple[int, int, "dict[str, tuple[Mark, Place]] | list[Place] | None"]

NOWHERE: Final[Place] = (-1, -1, None)


def mark_of(places: Place, path: Iterable[str | int], *, key: bool = False) -> Mark:
    """Return where a value stands; with `key`, where its key does. Both from 0.

    A path that leads out of the document ends at the last place that is known.
    """
    place, mark = places, places[:2]
    for part in path:
        parts = place[2]
        if isinstance(parts, dict) and part in parts:
            at, place = parts[str(part)]
            mark = at if key else place[:2]
        elif isinstance(parts, list) and isinstance(part, int) and part < len(parts):
            place = parts[part]
            mark = place[:2]
        else:
            break
    return mark


def shown_path(path: JsonPath) -> str:
    """Return a path as people write it: `workflow[3].case[0].when`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path]
    return "".join(parts).removeprefix(".").replace(".[", "[")


def _key(key: str) -> str:
    if key and key.replace("-", "_").isidentifier():
        return key
    return f"[{key[:60]!r}]"

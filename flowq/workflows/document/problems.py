"""What is wrong with a workflow: problems, and the error that holds all of them.

A front end edits a workflow and sends it back, so a problem names the step and the field, and all
of them are reported at once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from flowq.core.errors import InvalidFlow, InvalidInput

#: Problems in the text of the error; `problems` has all.
MOST_SHOWN: Final = 50
_MOST_NAMES: Final = 20
_ORDINALS: Final = {1: "st", 2: "nd", 3: "rd"}
#: How alike a wrong name and the one that was meant are: `bottom` and `top` are.
_ALIKE: Final = 0.4


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a workflow.

    Attributes:
        text: What is wrong.
        where: Which part, e.g. `config.top`; empty for the whole step or workflow.
        step: The id of the step; None for the workflow.
        place: The place of the step in the list, from 1.
    """

    text: str
    where: str = ""
    step: str | None = None
    place: int | None = None

    def line(self, *, with_place: bool = False) -> str:
        """Return the problem as one line.

        Args:
            with_place: Whether to say where in the list the step is.
        """
        parts = []
        if self.step is not None:
            place = f" ({ordinal(self.place)})" if with_place and self.place else ""
            parts.append(f"step {self.step!r}{place}")
        return ": ".join([*parts, *filter(None, [self.where]), self.text])

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON data."""
        return {
            "step": self.step,
            "place": self.place,
            "where": self.where,
            "message": self.text,
        }


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `3rd`, `4th`."""
    suffix = "th" if 10 <= number % 100 <= 20 else _ORDINALS.get(number % 10, "th")
    return f"{number}{suffix}"


def lines(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield problems as lines; the first of several of one step says where that step is."""
    found = list(problems)
    counts = Counter(one.place for one in found)
    seen: set[int | None] = set()
    for one in found:
        yield one.line(with_place=counts[one.place] > 1 and one.place not in seen)
        seen.add(one.place)


def meant(name: str, known: Iterable[str]) -> str:
    """Return `did you mean …?`, or the known names when none is like it."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=_ALIKE)
    if near:
        return f"did you mean {near[0]}?"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"known: {', '.join(names[:_MOST_NAMES])}{more}" if names else "there are none"


class InvalidWorkflow(InvalidInput, ValueError):
    """A workflow is refused; nothing is recorded.

    Args:
        problems: Everything that is wrong with it; at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = list(lines(problems[:MOST_SHOWN]))
        if len(problems) > MOST_SHOWN:
            shown.append(f"… and {len(problems) - MOST_SHOWN:,} more")
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class StepTypeNotFound(InvalidFlow, LookupError):
    """No step type of that slug is registered."""

    def __init__(self, slug: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f"{slug!r} is not found in the registry",
            hint=f"{meant(slug, known)}; import the module that defines it",
        )


class RegistryFrozenError(InvalidFlow):
    """The registry takes no further step types."""

"""What is wrong with a blueprint, and where: all problems at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flowq.core.errors import InvalidInput
from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.problems import shown_path

#: Problems in the text of the error; `problems` has all.
_MOST_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a blueprint.

    Attributes:
        path: `nodes[2].config.slug`; empty for the whole blueprint.
        message: What is wrong, and what to do.
    """

    path: str
    message: str

    @classmethod
    def at(cls, path: JsonPath, message: str) -> "Problem":
        """Return a problem at a place of the document."""
        return cls(shown_path(path), message)

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidBlueprint(InvalidInput, ValueError):
    """A blueprint is refused; nothing is recorded.

    Args:
        problems: Everything that is wrong with it; at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(one) for one in self.problems[:_MOST_SHOWN]]
        if len(lines) < len(self.problems):
            lines.append(f"… and {len(self.problems) - len(lines):,} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class BlueprintChanged(InvalidInput):
    """Somebody has changed the blueprint: the version that a change was made to is an old one.

    Args:
        newest: The id of the newest version.
    """

    def __init__(self, newest: UUID) -> None:
        super().__init__(
            f"this is an old version of the blueprint; the newest one is {newest}",
            hint="read the newest version, and change that",
        )
        self.newest = newest

    def __reduce__(self) -> tuple[type, tuple[UUID]]:
        return type(self), (self.newest,)


class NotYours(InvalidInput):
    """A blueprint that one may read, and not change."""

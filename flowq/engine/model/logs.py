"""What steps log: lines, the bunches in which they are stored, and which of them a reader wants.

A bunch has some lines of one attempt that were written together. `first_line` is the number of its
first line among all lines of the attempt, from 0, so the same bunch is never stored twice. Lines
that were dropped are counted: `missing` says how many directly before a bunch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from flowq.core.ids import LeaseToken, RunId, StepRunId

#: The levels that readers and settings name.
LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class StoredLine(NamedTuple):
    """A line as it is stored, in a JSON array."""

    at_us: int  #: Microseconds since 1970, by the clock of the worker.
    level: int  #: As in `logging`: 20 is INFO.
    logger: str  #: Its name; `print` for printed lines.
    message: str


def stored_lines(data: Any) -> list[StoredLine]:
    """Return the lines of a stored JSON array; none where it is not what flowq writes."""
    if not isinstance(data, list):
        return []
    return [StoredLine(*line) for line in data if isinstance(line, list) and len(line) == 4]


@dataclass(frozen=True, slots=True)
class LogBunch:
    """Lines to be stored.

    Attributes:
        missing: How many lines directly before it are missing; of a bunch without lines, at its
            place.
        level: The highest of its levels.
        data: The JSON array of `StoredLine`s.
        object_key: Where the data is, when it is not in the row.
    """

    run_id: RunId
    step_id: StepRunId
    token: LeaseToken
    attempt: int
    first_line: int
    line_count: int
    missing: int
    level: int
    first_at: datetime
    data: bytes
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class DroppedBunches:
    """Bunches of an attempt that later ones displace.

    Attributes:
        first_lines: Of the bunches.
        next_line: The first line of the oldest bunch that is kept after them,
        missing: and how many lines are missing before that one.
    """

    step_id: StepRunId
    token: LeaseToken
    first_lines: tuple[int, ...]
    next_line: int
    missing: int


class LogPlace(NamedTuple):
    """The place of a bunch among those of a run."""

    first_at: datetime
    token: LeaseToken
    first_line: int


@dataclass(frozen=True, slots=True)
class StoredBunch:
    """A bunch with the place of its step in the flow."""

    place: LogPlace
    step_id: StepRunId
    key: str
    map_index: int | None
    attempt: int
    missing: int
    lines: Sequence[StoredLine]  #: Empty when they are in the object store.
    object_key: str | None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines of a run a reader wants; those without a condition: all.

    Attributes:
        step: Key of a step; of a map all its items.
        index: Only this item of the map.
        attempt: Only attempts with this number.
        level: Only lines of at least this level.
    """

    step: str | None = None
    index: int | None = None
    attempt: int | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a step has logged.

    Attributes:
        at: When, by the clock of the worker.
        level: As in `logging`: 20 is INFO.
        logger: The name of the logger; `print` for printed lines.
        step: Key of the step.
        index: Index of the item, from 0, when the step is a map.
        attempt: The number of the attempt.
        missing: Not 0: it stands for this many lines that were not kept.
    """

    at: datetime
    level: int
    logger: str
    message: str
    step: str
    index: int | None
    attempt: int
    missing: int = 0

    @property
    def level_name(self) -> str:
        """The name of the level: INFO."""
        return logging.getLevelName(self.level)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {
            "at": self.at.isoformat(timespec="microseconds"),
            "level": self.level_name,
            "logger": self.logger,
            "message": self.message,
            "step": self.step,
            "index": self.index,
            "attempt": self.attempt,
            "missing": self.missing,
        }

    @property
    def where(self) -> str:
        """The step, with the index of the item: `fetch[5]`."""
        return self.step if self.index is None else f"{self.step}[{self.index}]"

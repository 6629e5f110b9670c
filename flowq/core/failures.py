"""What a failure looks like once it is a fact: recorded in rows, shown to people, handed to steps.

A step that may fail (`allow_failure`, or one item of a map that tolerates some) leaves a
`StepFailure` where its result would have been. It is false in a condition, so `[x for x in facts if
x]` keeps the results; a step that wants to name what failed annotates `list[Facts | StepFailure]`.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

#: Files of Python itself and of installed packages.
_INSTALLED: Final = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3|^<frozen ")


class StepFailure(BaseModel):
    """Stands in place of the result of a step that was allowed to fail."""

    model_config = ConfigDict(frozen=True)

    step: str  #: Key of the step in its flow.
    index: int | None = None  #: Which item, from 0, when the step is a map.
    item: Any = None  #: The item itself, when it is small enough to be recorded.
    error: str  #: Name of the exception's class.
    message: str  #: Its text.
    attempts: int = 1  #: How many attempts were made.

    def __bool__(self) -> bool:
        return False

    @property
    def place(self) -> str:
        """The step, and which item of it: `fetch[5]`."""
        return self.step if self.index is None else f"{self.step}[{self.index}]"

    def __str__(self) -> str:
        return f"{self.place}: {self.error}: {self.message}"


def user_place(frames: Sequence[tuple[str, int, str]]) -> str | None:
    """Return the place that tells most about an error: the last one in code of the user's own.

    Args:
        frames: Of a traceback: file, line, name of the function; where it was raised stands last.

    Returns:
        As in `/app/flows.py:9, in parse`; the last place of all when none is in the user's code.
    """
    if not frames:
        return None
    own = [frame for frame in frames if not _INSTALLED.search(frame[0])]
    file, line, name = (own or frames)[-1]
    return f"{file}:{line}" + (f", in {name}" if name else "")

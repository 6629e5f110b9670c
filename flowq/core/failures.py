"""What a failure looks like once it is a fact: recorded in rows, shown to people, handed to steps.

A step that may fail (`allow_failure`, or one item of a map that tolerates some) leaves a
`StepFailure` where its result would have been. It is false in a condition, so `[x for x in facts if
x]` keeps the results; a step that wants to name what failed annotates `list[Facts | StepFailure]`.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


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

    def __str__(self) -> str:
        place = self.step if self.index is None else f"{self.step}[{self.index}]"
        return f"{place}: {self.error}: {self.message}"

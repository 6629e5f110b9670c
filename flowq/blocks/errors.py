"""The errors of documents and edges: a code, its title, and the cause.

Clients of earlier block engines know errors by number: 3xxx for edges, 4xxx for conditions and
nested values, 61xx for a run, 62xx for a document, 73xx for a task. The text is always
`[PUPPYENGINE_ERROR_<code>]: <title>!`, and the cause on the next line.

`DocumentInvalid` refuses a document before anything is recorded. `EdgeFailed` fails an edge and is
not retried, since the same input would fail again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from flowq.core.errors import FlowqError, InvalidInput, StepError

#: Problems of a document in the text of its error.
MOST_SHOWN: Final = 50


class Code(IntEnum):
    """What clients know an error by."""

    EDGE = 3000
    CHUNK_MODE = 3015
    SEARCH_TYPE = 3017
    CONVERSION = 3802
    CONDITION = 4100
    NESTED = 4210
    STUCK = 6100
    NO_WORKFLOW = 6210
    EMPTY = 6211
    CYCLE = 6212
    UNKNOWN_BLOCK = 6213
    EDGE_TYPE = 6214
    NO_CONTENT = 6215
    LIMIT = 6216
    TASK_NOT_FOUND = 7303
    TASK_REFUSED = 7304


TITLES: Final = {
    Code.EDGE: "Error Executing Edge",
    Code.CHUNK_MODE: "Unsupported Chunking Mode",
    Code.SEARCH_TYPE: "Unsupported Search Type",
    Code.CONVERSION: "Error Converting Block Content",
    Code.CONDITION: "Error Evaluating Condition",
    Code.NESTED: "Error Accessing Nested Value",
    Code.STUCK: "Workflow Execution Stuck",
    Code.NO_WORKFLOW: "Invalid Workflow Format",
    Code.EMPTY: "Empty Workflow",
    Code.CYCLE: "Workflow Has a Cycle",
    Code.UNKNOWN_BLOCK: "Unknown Block",
    Code.EDGE_TYPE: "Unsupported Edge Type",
    Code.NO_CONTENT: "Missing Block Content",
    Code.LIMIT: "Invalid Workflow Value",
    Code.TASK_NOT_FOUND: "Task Not Found",
    Code.TASK_REFUSED: "Access Refused",
}


class PuppyException(FlowqError):  # the name that clients import
    """An error with a code.

    Args:
        code: One of `Code`.
        cause: What is wrong, in words.
        hint: What to do next.

    Attributes:
        title: What the code means.
    """

    def __init__(self, code: int, cause: str, *, hint: str | None = None) -> None:
        self.code = Code(code)
        self.title = TITLES[self.code]
        self.cause = cause
        text = f"[PUPPYENGINE_ERROR_{self.code}]: {self.title}!\nCause: {cause}"
        super().__init__(text, hint=hint)

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.code, self.cause)


class EdgeFailed(PuppyException, StepError):
    """An edge cannot do what its document says with the contents that it got. Never retried."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a document.

    Attributes:
        path: Where in the document, as a JSON path: `edges.greet.data.inputs.9`.
    """

    code: Code
    path: str
    text: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.path}: {self.text}" if self.path else self.text


class DocumentInvalid(PuppyException, InvalidInput):
    """A document is refused; nothing is recorded.

    Attributes:
        problems: Everything that is wrong with it. The error's code is that of the first.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = [str(problem) for problem in problems[:MOST_SHOWN]]
        if len(problems) > MOST_SHOWN:
            shown.append(f"… and {len(problems) - MOST_SHOWN:,} more")
        super().__init__(problems[0].code, "\n".join(shown))

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:  # type: ignore[override]
        return type(self), (self.problems,)

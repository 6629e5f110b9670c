"""References to stored results, and `StepFailure`s. Only these are passed between steps.

A result is encoded once, by a codec; the number of encoded bytes then decides where it is stored.
The key of an object contains the lease token of its attempt, so an attempt that has lost its lease
can never overwrite the result of a later one.

A step that may fail (`allow_failure`, or an item of a map with tolerance) has a `StepFailure` in
place of its result. It is false in a condition, so `[x for x in facts if x]` keeps the results; a
step that needs the failures annotates `list[Facts | StepFailure]`.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flowq.core.ids import FIRST_ID, LeaseToken, RunId, StepRunId


class StorageKind(StrEnum):
    """Where the bytes of a result are stored."""

    NOWHERE = "nowhere"  #: The result is None; there are no bytes.
    ROW = "row"  #: In the step's row; unless it is tiny, with a copy in Redis for a while.
    OBJECT = "object"  #: In object storage.


class ResultRef(BaseModel):
    """Where a result is stored and how it is checked when it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: StorageKind
    codec: str = "json"  #: Name of the codec that reads it.
    key: str = ""  #: Key in Redis and, for large results, in the object store.
    size: int = 0  #: Encoded bytes.
    sha256: str = ""  #: Hex digest of the encoded bytes.
    media_type: str = "application/json"
    length: int | None = None  #: Number of items, when the value is a list.
    #: The encoded value itself, when it is text and so short that fetching it would cost more.
    data: str | None = None


NO_RESULT = ResultRef(place=StorageKind.NOWHERE)


def row_key(step_id: StepRunId, token: LeaseToken) -> str:
    """Key of a small result in the cache."""
    return f"flowq:result:{step_id}:{token}"


#: The prefix of the keys of results in the object store.
OBJECTS = "results"


def object_key(run_id: RunId, step_id: StepRunId, token: LeaseToken) -> str:
    """Key of a large result in the object store."""
    return f"{OBJECTS}/{run_id}/{step_id}/{token}"


def given_key(run_id: RunId, token: LeaseToken) -> str:
    """Key of a value that was given to a run; in place of a step's id it has the run's."""
    return f"{OBJECTS}/{run_id}/{run_id}/{token}"


def image_key(
    run_id: RunId | None, step_id: StepRunId | None, request_id: UUID, suffix: str
) -> str:
    """Key of an image; the row of the model's call names it."""
    return f"{OBJECTS}/{run_id or FIRST_ID}/{step_id or FIRST_ID}/{request_id}.{suffix}"


#: Begins the key of every object with lines that a step has logged.
LOGS = "logs"


def log_key(run_id: RunId, step_id: StepRunId, token: LeaseToken, first_line: int) -> str:
    """Key of logged lines in the object store; the row of the bunch names it."""
    return f"{LOGS}/{run_id}/{step_id}/{token}.{first_line}"


#: Begins the key of every object that is a part of the content of a block.
BLOCKS = "blocks"


def block_version(step_id: StepRunId, token: LeaseToken) -> str:
    """Return under which name an attempt stores contents: `blocks/<user>/<block>/<this>/<part>`."""
    return f"{step_id}.{token}"


def step_of_object(key: str) -> UUID | None:
    """Return the id of the step run that has made an object; None for an object of others.

    For a given value it is the id of the run.
    """
    try:
        if key.startswith(f"{BLOCKS}/"):
            _, _, _, version, _ = key.split("/")
            step_id, token = version.split(".")
            UUID(token)
            return UUID(step_id)
        kind, run_id, step_id, name = key.split("/")
        UUID(run_id), UUID(name.partition(".")[0])
        return UUID(step_id) if kind == OBJECTS else None
    except ValueError:
        return None


def is_result(key: str) -> bool:
    """Return whether an object of a step is its result, and not something that belongs to it."""
    return "." not in key.rpartition("/")[2]


def maker_of_object(key: str) -> UUID:
    """Return the last id in the key of an object: of its lease, or its model's call."""
    if key.startswith(f"{BLOCKS}/"):
        return UUID(key.split("/")[3].partition(".")[2])
    return UUID(key.rpartition("/")[2].partition(".")[0])


def belongs_to(key: str, result_key: str | None) -> bool:
    """Return whether an object is a result, or was stored by the attempt that has made it.

    Args:
        key: Of the object.
        result_key: Of the result, in Redis or in the object store; None when there is none.
    """
    if key.startswith(f"{BLOCKS}/"):
        return result_key is not None and result_key.endswith(str(maker_of_object(key)))
    return key == result_key


def step_of_key(key: str) -> UUID:
    """Return the id of the step run whose row has the durable copy of a small result."""
    return UUID(key.split(":")[2])


#: Files of Python itself and of installed packages.
_INSTALLED: Final = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3|^<frozen ")


class StepFailure(BaseModel):
    """Takes the place of the result of a step that was allowed to fail."""

    model_config = ConfigDict(frozen=True)

    step: str  #: Key of the step in its flow.
    index: int | None = None  #: Index of the item, from 0, when the step is a map.
    #: The item, when it is a number or a text of less than 1,000 characters.
    item: Any = None
    error: str  #: Name of the exception's class.
    message: str  #: Its text.
    attempts: int = 1  #: How many attempts were made.

    def __bool__(self) -> bool:
        return False

    @property
    def place(self) -> str:
        """The step, with the index of the item: `fetch[5]`."""
        return self.step if self.index is None else f"{self.step}[{self.index}]"

    def __str__(self) -> str:
        return f"{self.place}: {self.error}: {self.message}"


def user_place(frames: Sequence[tuple[str, int, str]]) -> str | None:
    """Return the most useful place of an error: the last one in the user's code.

    Args:
        frames: Of a traceback: file, line, name of the function; the innermost is last.

    Returns:
        For example `/app/flows.py:9, in parse`; the last place if none is in the user's code.
    """
    if not frames:
        return None
    own = [frame for frame in frames if not _INSTALLED.search(frame[0])]
    file, line, name = (own or frames)[-1]
    return f"{file}:{line}" + (f", in {name}" if name else "")

"""References to stored results. Between steps only these travel, never the values.

A result is encoded once, by a codec; what then decides its place is the number of encoded bytes.
The key of an object holds the lease token of the attempt that wrote it, so an attempt that has lost
its lease can never overwrite what a later one wrote.
"""

from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flowq.core.ids import FIRST_ID, LeaseToken, RunId, StepRunId


class Place(StrEnum):
    """Where the bytes of a result lie."""

    NOWHERE = "nowhere"  #: The result is None; there are no bytes.
    ROW = "row"  #: In the step's row; unless it is tiny, with a copy in Redis for a while.
    OBJECT = "object"  #: In object storage.


class ResultRef(BaseModel):
    """Where a result lies and what it must look like when it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: Place
    codec: str = "json"  #: Name of the codec that can read it.
    key: str = ""  #: Key in Redis and, for large results, in the object store.
    size: int = 0  #: Encoded bytes.
    sha256: str = ""  #: Hex digest of the encoded bytes.
    media_type: str = "application/json"
    length: int | None = None  #: Number of items, when the value is a list.
    #: The encoded value itself, when it is text and so short that fetching it would cost more.
    data: str | None = None


NO_RESULT = ResultRef(place=Place.NOWHERE)


def row_key(step_id: StepRunId, token: LeaseToken) -> str:
    """Key of a small result in the cache."""
    return f"flowq:result:{step_id}:{token}"


#: Begins the key of every object that is a result.
OBJECTS = "results"


def object_key(run_id: RunId, step_id: StepRunId, token: LeaseToken) -> str:
    """Key of a large result in the object store."""
    return f"{OBJECTS}/{run_id}/{step_id}/{token}"


def image_key(
    run_id: RunId | None, step_id: StepRunId | None, request_id: UUID, suffix: str
) -> str:
    """Key of an image; the row of the model's call names it."""
    return f"{OBJECTS}/{run_id or FIRST_ID}/{step_id or FIRST_ID}/{request_id}.{suffix}"


def step_of_object(key: str) -> UUID | None:
    """Return the id of the step run whose result an object is; None for an object of others."""
    try:
        kind, run_id, step_id, name = key.split("/")
        UUID(run_id), UUID(name.partition(".")[0])
        return UUID(step_id) if kind == OBJECTS else None
    except ValueError:
        return None


def is_image(key: str) -> bool:
    """Tell whether an object was made by a call of a model, which its key ends with."""
    return "." in key.rpartition("/")[2]


def maker_of_object(key: str) -> UUID:
    """Return the last id in the key of an object: the lease, or the model's call, that made it."""
    return UUID(key.rpartition("/")[2].partition(".")[0])


def step_of_key(key: str) -> UUID:
    """Return the id of the step run whose row has the durable copy of a small result."""
    return UUID(key.split(":")[2])

"""Flows as workers have recorded them, and runs that were requested without their code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from flowq.core.ids import RunId
from flowq.engine.model.actions import Actor


@dataclass(frozen=True, slots=True)
class RecordedFlow:
    """A flow that a worker knows.

    Attributes:
        name: Its name.
        input_schema: The JSON schema of its inputs.
    """

    name: str
    input_schema: Mapping[str, Any]


class RequestOptions(BaseModel):
    """The options of a requested run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: str | None = None
    priority: int = 0
    delay: timedelta | None = None  #: Counted from when a worker starts the run.


@dataclass(frozen=True, slots=True)
class RequestedRun:
    """A run that a worker has to start.

    Attributes:
        id: The id that the run will have.
        inputs: Its inputs by parameter, as JSON data.
        actor: Who has requested it.
        problem: Why it cannot be started; None: a worker may start it.
    """

    id: RunId
    flow_name: str
    inputs: Mapping[str, Any]
    options: RequestOptions
    actor: Actor
    created_at: datetime | None = None
    problem: str | None = None

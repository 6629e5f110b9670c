"""Actions: what somebody did to a run, and who it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from flowq.core.ids import RunId


class ActionKind(StrEnum):
    """What was done to a run."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    SIGNAL = "signal"
    RAISE_BUDGET = "raise_budget"
    RERUN = "rerun"


class Face(StrEnum):
    """Through which face of flowq an action came."""

    PYTHON = "python"
    CLI = "cli"
    HTTP = "http"
    FLOWER = "flower"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        face: Through which face; text if a newer flowq has recorded one that this one lacks.
        name: The user of Flower, of the HTTP service or of the operating system, or the name that
            the code gave (`flowq.acting`); None when nobody is logged in.
    """

    face: Face | str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.face})" if self.name else self.face


@dataclass(frozen=True, slots=True)
class NewAction:
    """An action that is about to be recorded."""

    id: UUID
    run_id: RunId
    kind: ActionKind
    actor: Actor
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionView:
    """A recorded action.

    Attributes:
        kind: What was done; text if a newer flowq has recorded one that this one lacks.
        at: When it was recorded, by the database's clock.
        details: The reason, the new budget, the name of the signal.
        payload: The data of the signal; None of other actions.
    """

    id: UUID
    kind: ActionKind | str
    actor: Actor
    at: datetime
    details: Mapping[str, Any]
    payload: Any = None

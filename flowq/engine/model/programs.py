"""The values that cross the engine's ports about programs and what they have called; see `rows`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flowq.core.ids import BatchId, StepRunId
from flowq.core.spec import CallSpec
from flowq.core.states import StepState
from flowq.engine.model.rows import NewStep, StoredStep


@dataclass(frozen=True, slots=True)
class CalledRow:
    """A row that a program has called, as its program sees it."""

    id: StepRunId
    spec: CallSpec
    batch: BatchId
    observed: int | None  #: Its place in the order in which the program has seen them end.
    completed_at: datetime | None
    stored: StoredStep


@dataclass(frozen=True, slots=True)
class SeenCancel:
    """A cancel that a program has seen."""

    place: int  #: In the same order.
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ProgramState:
    """A program at the moment it was read, with what has ended that one who knows less has to see.

    Attributes:
        observed: How many events it has seen.
        started_at: When its run began.
        stopping: Why its run is stopping; None while it continues.
        read_at: By the database's clock.
        cancel: The cancel that it has seen.
        ended: Rows that have ended: seen after the place that was asked for, or by no one yet.
    """

    observed: int
    started_at: datetime
    stopping: str | None
    read_at: datetime
    cancel: SeenCancel | None
    ended: tuple[CalledRow, ...]


@dataclass(frozen=True, slots=True)
class NewCall:
    """A row that a program has called, to be inserted."""

    id: StepRunId
    spec: CallSpec
    order: int
    batch: BatchId
    state: StepState
    delay: timedelta | None = None  #: Until a timer ends, or a signal is waited for no longer.
    items: tuple[NewStep, ...] = ()  #: Of a map.
    shielded: bool = False  #: It runs on while its run is stopping.


@dataclass(frozen=True, slots=True)
class Suspension:
    """What the transaction records in which a program begins to wait.

    Attributes:
        observed: How many events it has seen.
        seen: From rows that it has seen end now to their places.
        calls: What it has called.
        alone: Rows that it awaits by themselves from now on, with the batches they are now.
        given_up: From rows that it awaits no longer to the places at which they count as seen.
        cancel: The cancel that it has seen now.
        cancel_seen: Whether it knows that its run is stopping.
        cleanup: How long it may go on after it has seen the cancel.
        resend_after: When what is queued is due to be sent again.
    """

    observed: int
    seen: Mapping[StepRunId, int]
    calls: Sequence[NewCall]
    resend_after: timedelta
    alone: Mapping[StepRunId, BatchId] = field(default_factory=dict)
    given_up: Mapping[StepRunId, int] = field(default_factory=dict)
    cancel: SeenCancel | None = None
    cancel_seen: bool = False
    cleanup: timedelta = timedelta(0)

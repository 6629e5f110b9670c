"""The values of programs and their calls that cross the engine's ports; see `rows`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flowq.core.ids import BatchId, LeaseToken, StepRunId
from flowq.core.spec import CallSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import Claim, NewStep, StoredStep


@dataclass(frozen=True, slots=True)
class CalledRow:
    """The row of a call, as its program sees it."""

    id: StepRunId
    spec: CallSpec
    batch: BatchId
    observed: int | None  #: Its number in the order in which the program saw calls end.
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
    """A program as read at one moment, with the ended calls that a cached execution has not seen.

    Attributes:
        observed: How many events it has seen.
        started_at: When its run began.
        stopping: Why its run is stopping; None otherwise.
        read_at: By the database's clock.
        cancel: The cancel that it has seen.
        ended: Calls that have ended: seen after the given number, or not seen yet.
        saw_all: Whether its run is terminal, and its last attempt has seen the calls without a
            number; an end of a program is recorded without their numbers.
    """

    observed: int
    started_at: datetime
    stopping: str | None
    read_at: datetime
    cancel: SeenCancel | None
    ended: tuple[CalledRow, ...]
    saw_all: bool


@dataclass(frozen=True, slots=True)
class Claiming:
    """What a process writes that claims a row in a statement which does something else too.

    Attributes:
        token: Of the lease of the row's next attempt.
    """

    token: LeaseToken
    lease: timedelta
    worker: str


@dataclass(frozen=True, slots=True)
class Resuming(Claiming):
    """What a process writes that ends a call and continues the program itself.

    Attributes:
        after: How many events the execution has seen that this process keeps.
    """

    after: int


@dataclass(frozen=True, slots=True)
class ResumedProgram:
    """A program that was claimed in the statement that ended a call.

    Attributes:
        after: The state has the calls that ended after this number of events.
    """

    claim: Claim
    state: ProgramState
    after: int


@dataclass(frozen=True, slots=True)
class WokenProgram:
    """What the end of a call has done to its program.

    Attributes:
        queued: Whether it was queued, and needs a message.
        resumed: The program, if it was claimed.
    """

    queued: bool = False
    resumed: ResumedProgram | None = None


@dataclass(frozen=True, slots=True)
class WaitingProgram:
    """A program that waits, as the process knows it that keeps it live.

    Attributes:
        after: How many events it has seen.
    """

    id: StepRunId
    after: int


@dataclass(frozen=True, slots=True)
class NextCall:
    """The call that a program awaits next was recorded.

    Attributes:
        claim: That of the call, if the same statement has claimed it.
    """

    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class NewCall:
    """The row of a new call, to be inserted."""

    id: StepRunId
    spec: CallSpec
    order: int
    batch: BatchId
    state: StepState
    delay: timedelta | None = None  #: Until a timer ends, or the wait for a signal times out.
    items: tuple[NewStep, ...] = ()  #: Of a map.
    shielded: bool = False  #: It runs on while its run is stopping.
    reused: Mapping[int, ReusedStep] = field(default_factory=dict)  #: Items of a rerun.


@dataclass(frozen=True, slots=True)
class Suspension:
    """What is recorded in the transaction that suspends a program.

    Attributes:
        observed: How many events it has seen.
        seen: From calls that it has now seen end to their numbers.
        calls: Its new calls.
        alone: Calls that it now awaits outside their group, with their new batches.
        given_up: From calls that it awaits no longer to the numbers at which they count as seen.
        cancel: The cancel that it has now seen.
        cancel_seen: Whether it knows that its run is stopping.
        cleanup: How long it may run on after it has seen the cancel.
        reused: Of a rerun: new calls that have the ends of the earlier run.
        resend_after: When queued rows are due to be resent.
        share: That of its run.
        calls_look: When the sweeper first looks at new calls, if they are in lines of the share.
        is_next: Whether it awaits its new calls and nothing else, so that nothing can have ended
            that it has not seen.
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
    reused: Sequence[ReusedStep] = ()
    share: str | None = None
    calls_look: timedelta | None = None
    is_next: bool = False

    @property
    def next_call(self) -> NewCall | None:
        """The new call, if it awaits that one alone and there is nothing else to record."""
        others = (self.alone, self.given_up, self.reused, self.cancel_seen, self.share)
        if not self.is_next or any(others) or len(self.calls) != 1 or len(self.seen) > 1:
            return None
        call = self.calls[0]
        plain = call.spec.map is None and call.spec.kind is not StepKind.SIGNAL
        return call if plain and not call.shielded else None

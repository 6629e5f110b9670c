"""The values that go into and come out of a replay: what was recorded, what ended, what is new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flowq.core.spec import StepSpec
from flowq.core.states import StepState


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """Something that a program has called and that is to be recorded."""

    key: str  #: `{label}#{path}`; the path is the scope and the ordinal: `3`, `t1.2`, `t1.t4.1`.
    spec: StepSpec  #: Its `key` is the call's.
    delay: timedelta | None = None  #: Of a timer: how long; of a signal: its timeout.
    after_cancel: bool = False  #: Called after the cancel: it compensates, so it still may run.


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call as its row has it."""

    key: str
    spec: StepSpec


@dataclass(frozen=True, slots=True)
class CallEnded:
    """How a call has ended, as its row says."""

    key: str
    state: StepState
    at: datetime  #: When it ended, by the database's clock; the program's own clock follows it.
    value: Any = None  #: Of a completed one: as its annotation wants it.
    load: Callable[[], Any] | None = None  #: Loads the value if the program still wants it.
    error_type: str | None = None
    error_message: str | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was cancelled, at this place between the ends of calls."""

    reason: str
    at: datetime


#: What a program observes, in the order in which it was first observed.
Observation = CallEnded | Cancelled


@dataclass(frozen=True, slots=True)
class Returned:
    """The program returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception left the program; after a cancel that may be `asyncio.CancelledError`."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Continued:
    """The program continues as a new run with these inputs."""

    inputs: Mapping[str, Any]


End = Returned | Raised | Continued


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What has happened in a program since it was last asked.

    Attributes:
        calls: New calls, in the order in which they were made.
        groups: Keys of new calls, two or more, that only one gather or task group waits for: the
            program need not be woken before all of a group have ended, or one has failed.
        alone: Keys of calls of earlier groups whose end the program now waits for by itself.
        cancelled: Keys of recorded calls that nobody waits for any more.
        waiting: Keys of all calls that are open: neither ended nor given up.
        end: How the program has ended; None while it waits.
    """

    calls: tuple[ProgramCall, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    alone: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    end: End | None = None

"""The inputs and outputs of a replay: recorded calls, ends, new calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flowq.core.spec import StepSpec
from flowq.core.states import StepState


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """A new call of a program, to be recorded."""

    key: str  #: `{label}#{path}`; the path is the scope and the ordinal: `3`, `t1.2`, `t1.t4.1`.
    spec: StepSpec  #: Its `key` is the call's.
    delay: timedelta | None = None  #: Of a timer: how long; of a signal: its timeout.
    after_cancel: bool = False  #: Made after the cancel: it compensates, so it still may run.


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call as its row has it."""

    key: str
    spec: StepSpec


#: Results of lazy calls with more encoded bytes are loaded when they are asked for.
LAZY_BYTES: Final = 64 * 1024


class LazyResult:
    """A large result of a call, which is loaded when it is asked for.

    As an argument of another call it is passed by reference: it is neither loaded nor copied.

    Attributes:
        key: The call that returned it.
        size: Its encoded size in bytes.
    """

    __slots__ = ("_load", "key", "size")

    def __init__(self, key: str, size: int, load: Callable[[], Any]) -> None:
        self.key = key
        self.size = size
        self._load = load

    def load(self) -> Any:
        """Return the value; it is loaded each time.

        Raises:
            ResultMissing: it is missing in the store.
        """
        return self._load()

    def __repr__(self) -> str:
        return f"<LazyResult of {self.key}, {self.size:,} bytes>"


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The end of a call, as its row has it."""

    key: str
    state: StepState
    at: datetime  #: When it ended, by the database's clock; the program's own clock follows it.
    value: Any = None  #: Of a completed call: converted by its annotation.
    load: Callable[[], Any] | None = None  #: Loads the value if the program still needs it.
    lazy_size: int | None = None  #: Of a large result of a lazy call: its encoded bytes.
    error_type: str | None = None
    error_message: str | None = None
    details: Mapping[str, Any] | None = None  #: Of the error, if it had some.
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was cancelled, at this point between the ends of calls."""

    reason: str
    at: datetime


#: An event that a program observes; replays keep the order of the first observation.
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
    """What a program did since the last `run`.

    Attributes:
        calls: New calls, in the order in which they were made.
        groups: Keys of new calls, two or more, that only one gather or task group awaits: the
            program is not woken before the whole group has ended, or one call has failed.
        alone: Keys of calls of earlier groups that the program now awaits outside their group.
        cancelled: Keys of recorded calls that are not awaited any more.
        waiting: Keys of all open calls: neither ended nor given up.
        end: How the program has ended; None while it waits.
    """

    calls: tuple[ProgramCall, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    alone: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    end: End | None = None

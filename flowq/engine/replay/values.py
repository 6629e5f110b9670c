"""The inputs and outputs of a replay: recorded calls, ends, new calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from flowq.core.references import PathPart, Reference, follow
from flowq.core.results import StepFailure
from flowq.core.spec import Reused, StepSpec
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


#: Results of lazy calls up to this many encoded bytes are copied into the rows of other calls.
COPIED_BYTES: Final = 1024
#: Those with more encoded bytes than this are loaded when they are asked for.
LAZY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class LazyFacts:
    """What is known of the result of a lazy call without its value.

    Attributes:
        size: Its encoded bytes; of a map those of all items.
        is_copied: Whether it is so short that other calls get a copy.
        failures: Of a map: the items that were allowed to fail, by index.
    """

    size: int
    is_copied: bool
    failures: Mapping[int, StepFailure] = field(default_factory=dict)


class LazyResult:
    """The result of a lazy call, or a part of one.

    As an argument of another call it is passed by reference: it is neither loaded nor copied,
    unless it is very short.

    Attributes:
        key: The call that returned it.
        path: Which part of the result it is; empty for the whole.
    """

    __slots__ = ("_facts", "_load", "key", "path")

    def __init__(
        self,
        key: str,
        load: Callable[[], Any],
        facts: LazyFacts,
        path: tuple[PathPart, ...] = (),
    ) -> None:
        self.key = key
        self.path = path
        self._load = load
        self._facts = facts

    @property
    def size(self) -> int:
        """The encoded bytes of the whole result."""
        return self._facts.size

    @property
    def is_loaded(self) -> bool:
        """Whether `load` costs nothing: results up to 64 KiB come with the end of the call."""
        return self.size <= LAZY_BYTES

    @property
    def failures(self) -> Mapping[int, StepFailure]:
        """Of a map: the items that were allowed to fail, by index."""
        return self._facts.failures

    @property
    def reference(self) -> Reference | None:
        """What stands for it in the rows of other calls; None when they get a copy."""
        return None if self._facts.is_copied else Reference(self.key, self.path)

    def part(self, *path: PathPart) -> "LazyResult":
        """Return a part of it; that it exists is known when it is loaded."""
        return LazyResult(self.key, self._load, self._facts, (*self.path, *path))

    def load(self) -> Any:
        """Return the value, which is not to be changed; a large one is loaded each time.

        Raises:
            ResultMissing: it is missing in the store.
            StepError: there is no such part.
        """
        return follow(self._load(), self.path, Reference(self.key, self.path))

    def __repr__(self) -> str:
        return f"<LazyResult {Reference(self.key, self.path)}, {self.size:,} bytes>"


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The end of a call, as its row has it."""

    key: str
    state: StepState
    at: datetime  #: When it ended, by the database's clock; the program's own clock follows it.
    value: Any = None  #: Of a completed call: converted by its annotation.
    load: Callable[[], Any] | None = None  #: Loads the value if the program still needs it.
    lazy: LazyFacts | None = None  #: Of the result of a lazy call.
    error_type: str | None = None
    error_message: str | None = None
    details: Mapping[str, Any] | None = None  #: Of the error, if it had some.
    attempts: int = 1
    reused: Reused | None = None  #: Of an end that is that of an earlier run.


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

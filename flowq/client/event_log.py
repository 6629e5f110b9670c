"""What has happened in one run, kept in order for any number of readers of a process.

A follower writes the log; each reader reads it at its own pace. An entry is made of an event once
for all readers: the event itself, or the bytes that are sent to clients. Entries have ids, and a
reader continues after the id of the last entry that it has. If the log does not have that id, the
reader gets everything again.

The log is bounded. Its writer waits for the fastest reader; who is slower than that and has lost
entries gets a log of its own, from where it was.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from flowq.client.followers import Followers, Notifier
from flowq.core.events import Event
from flowq.core.ids import RunId

T = TypeVar("T")

#: What a log keeps at most.
MAX_ENTRIES: Final = 50_000
MAX_BYTES: Final = 64 * 1024 * 1024
#: Entries that a reader takes at once.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One entry of a log.

    Attributes:
        id: Where to continue after it.
        size: Bytes that it takes, about.
    """

    id: str
    data: T
    size: int = 1_000


#: From the events of a run, one after the other, to entries; it may remember what came before.
Translate: TypeAlias = Callable[[Event], Iterable[Entry[T]]]


class Behind(Exception):
    """The log has lost what a reader needs next.

    Attributes:
        after: Id of the entry to continue after, in another log; None for everything.
    """

    def __init__(self, after: str | None) -> None:
        super().__init__(after)
        self.after = after


class EventLog(Generic[T]):
    """The log of one run; see `flowq.client.followers.Sink` for what writes it.

    Args:
        notifier: Wakes its readers.
        translator: Makes what translates the events of a run, from the first on.
    """

    def __init__(
        self,
        notifier: Notifier,
        translator: Callable[[], Translate[T]],
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._notifier = notifier
        self._translator = translator
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._entries: deque[Entry[T]] = deque()
        self._first = 0  #: Number of the first entry that is kept.
        self._bytes = 0
        self._numbers: dict[str, int] = {}
        self._positions: dict[Hashable, int] = {}
        self._rounds = 0  #: How often all was here that had happened.
        self._is_asked = False  #: Whether a reader waits for an id.
        #: After a failure: the entry that the readers have reached, and what has come before it.
        self._seeking: str | None = None
        self._held: list[Entry[T]] = []

    # --- its writer ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Translate anew; entries that are here are not added again."""
        self._translate = self._translator()
        self._held = []
        self._seeking = self._entries[-1].id if self._entries else None

    def take(self, event: Event) -> None:
        """Add what an event is translated to."""
        for entry in self._translate(event):
            if self._seeking is None:
                self._add(entry)
                continue
            self._held.append(entry)
            if entry.id == self._seeking:
                self._seeking, self._held = None, []

    def caught_up(self) -> None:
        """Note that all is here; tell everything again if the last entry has not come up."""
        held, self._held, self._seeking = self._held, [], None
        for entry in held:
            self._add(entry)
        with self._changed:
            self._rounds += 1
            asked, self._is_asked = self._is_asked, False
        if asked:
            self._notifier.notify()

    def _add(self, entry: Entry[T]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_full(entry) or self._may_lose())
            while self._entries and self._is_full(entry):
                lost = self._entries.popleft()
                self._bytes -= lost.size
                if self._numbers.get(lost.id) == self._first:
                    del self._numbers[lost.id]
                self._first += 1
            self._numbers[entry.id] = self._first + len(self._entries)
            self._entries.append(entry)
            self._bytes += entry.size
        self._notifier.notify()

    def _is_full(self, entry: Entry[T]) -> bool:
        too_large = self._bytes + entry.size > self._max_bytes
        return bool(self._entries) and (too_large or len(self._entries) >= self._max_entries)

    def _may_lose(self) -> bool:
        """Return whether a reader has passed the first entry, or there is none to wait for."""
        return not self._positions or max(self._positions.values()) > self._first

    # --- its readers -----------------------------------------------------------------------------

    def admit(self, reader: Hashable, after: str | None) -> bool:
        """Admit a reader if the log has, or may get, what comes after an id; keep that id, too."""
        with self._changed:
            if self._first and after not in self._numbers:
                return False
            self._positions[reader] = 0 if after is None else self._numbers.get(after, 0)
            return True

    def move(self, reader: Hashable, number: int | None) -> None:
        """Note where a reader is, so that its next entries are kept; None when it has left."""
        with self._changed:
            if number is None:
                self._positions.pop(reader, None)
            else:
                self._positions[reader] = number
            self._changed.notify_all()

    def find(self, after: str) -> tuple[int | None, int, int]:
        """Look for an id; its reader is woken when it may have come.

        Returns:
            The number of the entry after it, if it is here; the number of the next entry to come;
            how often all was here that had happened up to then.
        """
        with self._changed:
            found = self._numbers.get(after)
            self._is_asked = self._is_asked or found is None
            end = self._first + len(self._entries)
            return None if found is None else found + 1, end, self._rounds

    def page(self, number: int) -> Sequence[Entry[T]]:
        """Return some entries from a number on, none when there are none yet.

        Raises:
            LookupError: they are not kept any more.
        """
        with self._changed:
            start = number - self._first
            if start < 0:
                raise LookupError(number)
            stop = min(start + _PAGE, len(self._entries))
            return [self._entries[place] for place in range(start, stop)]


class _Reader(Generic[T]):
    """One reader of a log."""

    def __init__(self, after: str | None) -> None:
        self._after = after
        self._next: int | None = 0 if after is None else None  #: None while `after` is looked for.
        self._unknown_from: int | None = None  #: The round in which it would have come.

    def enter(self, log: EventLog[T]) -> bool:
        """Read this log, if it has what comes next."""
        self._log = log
        return log.admit(self, self._after)

    def take(self, *, over: bool) -> Sequence[Entry[T]]:
        """Return the entries that come next, none when there are none yet.

        Args:
            over: Whether the log is at its end.

        Raises:
            Behind: they are not in this log any more.
        """
        if self._next is None and not self._found(over=over):
            return ()
        assert self._next is not None
        try:
            entries = self._log.page(self._next)
        except LookupError:
            raise Behind(self._after) from None
        if entries:
            self._next += len(entries)
            self._after = entries[-1].id
            self._log.move(self, self._next)
        return entries

    def _found(self, *, over: bool) -> bool:
        """Look for the id that the reader continues after; begin anew if it is unknown."""
        assert self._after is not None
        found, end, rounds = self._log.find(self._after)
        if self._unknown_from is None:
            # Another process may have sent the id before it is here: wait one round more.
            self._unknown_from = rounds + 2 if rounds else 1
        if found is None and (over or rounds >= self._unknown_from):
            self._after, found = None, 0
        self._next = found
        self._log.move(self, end if found is None else found)
        return found is not None


async def read(
    followers: Followers[EventLog[T]],
    run_id: RunId,
    after: str | None = None,
    *,
    idle: float | None = None,
    deadline: float | None = None,
    pace: float = 0.0,
) -> AsyncGenerator[Sequence[Entry[T]]]:
    """Read a run's log, from any number of coroutines.

    Args:
        followers: Who writes it.
        run_id: The run.
        after: Id of the entry to continue after; None, or one that is not known, for everything.
        idle: Seconds without an entry after which nothing is yielded, so that the caller gets its
            turn; None for never.
        deadline: A time on the monotonic clock at which that happens too.
        pace: Seconds between two pages of a reader that has read everything: what comes meanwhile
            is one page.

    Yields:
        Entries that come next; first of all, once the follower is joined, none.

    Raises:
        TooManyRuns: at the first step: too many other runs are followed.
        FlowqError: what has ended the follower.
    """
    began = False
    while True:
        reader: _Reader[T] = _Reader(after)
        with followers.following(run_id, reader.enter) as (follower, wakeup):
            try:
                if not began:
                    began = True
                    yield ()
                while True:
                    wakeup.clear()
                    over = follower.over  # before what there is: nothing comes after it
                    entries = reader.take(over=over)
                    if entries:
                        yield entries
                        if len(entries) < _PAGE and not over:
                            await asyncio.sleep(pace)
                    elif over:
                        if follower.error is not None:
                            raise follower.error
                        return
                    elif not await _woken(wakeup, idle, deadline):
                        yield ()
            except Behind as behind:
                after = behind.after
            finally:
                follower.sink.move(reader, None)


async def _woken(wakeup: asyncio.Event, idle: float | None, deadline: float | None) -> bool:
    """Wait for a reader's turn; return whether there may be something new."""
    limits = [] if idle is None else [idle]
    limits += [] if deadline is None else [max(deadline - time.monotonic(), 0.0)]
    try:
        async with asyncio.timeout(min(limits, default=None)):
            await wakeup.wait()
    except TimeoutError:
        return False
    return True

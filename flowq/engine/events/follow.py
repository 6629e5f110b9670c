"""Reads the events of a run: from its stream, and from its rows what the stream lacks.

A reader reads the rows when the stream may be incomplete: when it is gone, was trimmed, or has a
mark that events are missing; when Redis was unreachable; and now and then while no event comes. It
compares the rows with the events that it has yielded, never with a time or a number, so a row that
is committed late is not missed. A reader ends when the row of the run is terminal and all events
are yielded.

An event's id is the position at which to continue after it:

    start                    the first event
    <entry>.<n>[.<k>]        the n-th event of an entry of the stream, and the k-th derived from it
    end.<n>[.<k>]            the n-th event from the rows of an ended run, and the k-th derived
    end                      the last event
    …~<m>                    the same, after m events that the stream lacks

A reader continues after an id only if it neither misses nor repeats an event. If the stream is
gone, was never complete, or lacked an event before that id, the reader gets everything again, from
WORKFLOW_STARTED on.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from flowq.core.errors import InvalidInput, RedisUnavailable, RunNotFound, Unavailable
from flowq.core.events import EndEvent, Event, WorkflowStarted
from flowq.core.feed import Feed
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Engine
from flowq.engine.events.rebuild import Recorded, begin, end, history, recorded
from flowq.engine.model.rows import RunView
from flowq.engine.ports import StreamEntry, StreamPage
from flowq.engine.waits.explain import timed_out

_Position: TypeAlias = tuple[int, int, int, int]

_START: Final[_Position] = (0, 0, 0, 0)
_LAST: Final = 2**64
_END: Final[_Position] = (_LAST, _LAST, 0, 0)
_ENTRY: Final = re.compile(r"(\d{1,19})-(\d{1,19})\.(\d{1,9})(?:\.(\d{1,9}))?")
_AT_END: Final = re.compile(r"end\.(\d{1,9})(?:\.(\d{1,9}))?")

#: Seconds for which one read of the stream blocks: while events come, and after a silence.
_WAIT, _IDLE_WAIT = 1.0, 2.5
#: Seconds after which other processes have published their events: see the adapter's interval.
_LATE: Final = 0.6
#: The age after which an event is in the stream, if it was ever published.
_SETTLED: Final = timedelta(seconds=2 * _LATE)
#: The age of a run after which its first event is published, if it ever is.
_NEW: Final = timedelta(seconds=5)
#: Seconds without events after which a reader reads the rows; doubled each time, up to the second.
_SILENCE: Final = (2.0, 60.0)
#: The same while Redis is unreachable, or where there is none.
_AWAY: Final = (0.5, 5.0)
#: Then a reader pauses for this many times what reading the rows has taken.
_REST: Final = 9.0


def follow(
    engine: Engine,
    run_id: RunId,
    *,
    after: str | None = None,
    timeout: float | None = None,
    wait: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Yield the events of a run until it has ended.

    Args:
        after: Id of the event to continue after.
        timeout: Seconds.
        wait: Whether to wait for future events.
        stopped: Called every few seconds at least; whether to stop.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: `after` is not the id of an event.
        DatabaseUnavailable: the run cannot be read at the beginning.
        ResultTimeout: it did not end in time. The run continues.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    reader = _Reader(engine, run_id, None if after is None else position(after))
    yield from reader.begin()
    while not reader.ended and not stopped():
        most = _IDLE_WAIT if reader.is_idle else _WAIT
        left = most if deadline is None else min(most, deadline - time.monotonic())
        if not wait:
            yield from reader.events_so_far()
            break
        if left <= 0:
            assert timeout is not None
            raise timed_out(engine, run_id, "is not finished", timeout)
        yield from reader.next(left)
    if reader.ended:
        yield from reader.end()


def position(text: str) -> _Position | None:
    """Return the position that an id means; None if no reader can continue after it.

    Raises:
        InvalidInput: it is not an id.
    """
    place, marked, count = text.rpartition("~")
    if marked and count.isascii() and count.isdigit():
        position(place)
        return None
    if text == "start":
        return _START
    if text == "end":
        return _END
    if found := _ENTRY.fullmatch(text):
        return int(found[1]), int(found[2]), int(found[3]), int(found[4] or 0)
    if found := _AT_END.fullmatch(text):
        return _LAST, int(found[1]), int(found[2] or 0), 0
    raise InvalidInput(
        f"{text!r} is not the id of an event", hint="give the `id` of an event of the same run"
    )


class _Reader:
    """One reader of one run.

    Attributes:
        ended: Whether the run has ended; `end` yields the rest.
    """

    def __init__(self, engine: Engine, run_id: RunId, skip: _Position | None) -> None:
        self.ended = False
        self._engine = engine
        self._run_id = run_id
        self._skip = skip  #: The position at which the reader stopped before.
        self._last: str | None = None  #: The newest entry that was read.
        self._here = _START, "start"
        self._doubt = False  #: Whether the rows may have events that were not yielded.
        self._rebuilt = 0  #: How many events the stream lacked.
        self._pauses = _Pauses(_SILENCE)
        self._outage = _Pauses(_AWAY)
        self._nodes = engine.definitions.shown(run_id).graph.order
        self._feed = Feed(run_id, self._nodes.keys())

    @property
    def is_idle(self) -> bool:
        """Whether no event has come for a while."""
        return self._pauses.have_grown

    # --- reading ---------------------------------------------------------------------------------

    def begin(self) -> Iterator[Event]:
        """Yield the first event, and events that only the rows have."""
        run = self._run()
        self.ended = run.status in TERMINAL_RUN_STATES
        first = begin(run, len(self._nodes))
        continues = self._skip is not None
        if not continues:  # the stream of a new run may come late: say at once that it has begun
            yield from self._emit(first, *self._here)
        page = self._first(run)
        whole = _is_whole(page)
        if continues:
            if not self._is_known(whole=whole, streamed=bool(page.entries)):
                self._skip = None
            yield from self._emit(first, *self._here)
        if not whole and not self.ended:
            yield from self._compare()
        yield from self._take(page)

    def next(self, wait: float) -> Iterator[Event]:
        """Yield the events of the next seconds."""
        try:
            page = self._engine.events.read(self._run_id, self._last, wait)
        except RedisUnavailable:
            self._doubt = True
            time.sleep(min(wait, self._outage.first))
            if self._outage.over():
                yield from self._compare_unstreamed()
            return
        self._outage.reset()
        if not page.whole:
            # Gone, or trimmed: the present stream is read from its beginning.
            self._doubt, self._last = True, None
            page = self._read()
        yield from self._take(page)
        if page.entries:
            self._pauses.reset()
        # Events that the reader has already are not counted.
        caught_up = self._skip is None or self._here[0] > self._skip or not page.entries
        if caught_up and (self._doubt or self._pauses.over()):
            yield from self._compare(settled=not self._doubt)

    def events_so_far(self) -> Iterator[Event]:
        """Yield what has happened so far."""
        while (page := self._read()).entries:
            yield from self._take(page)
        yield from self._compare()

    def end(self) -> Iterator[Event]:
        """Yield the remaining events of a run that has ended."""
        run = self._run()
        moment = run.completed_at or run.created_at
        is_new = self._engine.events.now() - moment < _NEW
        late = time.monotonic() + (_LATE if is_new and self._last is not None else 0)
        while self._feed.done != run.done:
            # Another process may still publish events from before the end.
            page = self._read(max(0.0, late - time.monotonic()))
            yield from self._take(page)
            if not page.entries:
                break
        if self._doubt or self._feed.done != run.done:
            yield from self._emit_missing(run, moment)
        yield from self._emit(end(run), _END, "end")

    # --- the stream ------------------------------------------------------------------------------

    def _first(self, run: RunView) -> StreamPage:
        """Read the beginning of the stream; that of a new run may come late."""
        page = self._read()
        late = time.monotonic() + _LATE
        is_new = not self.ended and self._engine.events.now() - run.created_at < _NEW
        while is_new and not _is_whole(page) and not self._doubt and time.monotonic() < late:
            time.sleep(_LATE / 6)
            page = self._read()
        return page

    def _read(self, wait: float = 0) -> StreamPage:
        try:
            return self._engine.events.read(self._run_id, self._last, wait)
        except RedisUnavailable:
            self._doubt = True
            return StreamPage(())

    def _is_known(self, *, whole: bool, streamed: bool) -> bool:
        """Return whether it can be known which events the reader has."""
        assert self._skip is not None
        if self._skip == _START:
            return True
        if self._skip[0] == _LAST:
            # Numbers of rows count only while there is nothing else to read.
            return self.ended and (self._skip == _END or not streamed)
        if not whole:
            return False
        try:
            entry = f"{self._skip[0]}-{self._skip[1]}"
            return self._engine.events.read(self._run_id, entry).whole
        except RedisUnavailable:
            return False

    def _take(self, page: StreamPage) -> Iterator[Event]:
        for entry in page.entries:
            yield from self._take_entry(entry)

    def _take_entry(self, entry: StreamEntry) -> Iterator[Event]:
        self._last = entry.id
        self._doubt = self._doubt or entry.lost
        first, second = (int(part) for part in entry.id.split("-"))
        for number, event in enumerate(entry.events):
            self.ended = self.ended or isinstance(event, EndEvent)
            for follows, emitted in enumerate(self._feed.take(event)):
                text = f"{entry.id}.{number}" + (f".{follows}" if follows else "")
                yield from self._emit(emitted, (first, second, number, follows), text)
        number = len(entry.events)
        self._here = (first, second, number, 0), f"{entry.id}.{number}"
        if entry.events and (progress := self._feed.progress(entry.events[-1].timestamp)):
            yield from self._emit(progress, *self._here)

    # --- the rows --------------------------------------------------------------------------------

    def _run(self) -> RunView:
        run = self._engine.records.autocommit(lambda tx: tx.runs.head(self._run_id))
        if run is None:
            raise RunNotFound.of(self._run_id)
        return run

    def _recorded(self) -> Recorded:
        return self._engine.records.autocommit(lambda tx: recorded(tx, self._run_id))

    def _compare(self, *, settled: bool = False) -> Iterator[Event]:
        """Yield events from the rows that were not yielded yet.

        Args:
            settled: Leave out events that may still come through the stream.
        """
        try:
            run = self._run()
            known = self._recorded()
        except Unavailable:
            return  # still in doubt
        if run.status in TERMINAL_RUN_STATES:
            self.ended = True  # then all of it is yielded with numbers
            return
        self._doubt = False
        until = self._engine.events.now() - _SETTLED if settled else None
        moment = run.created_at
        for event in history(run, known):
            if until is None or event.timestamp <= until:
                moment = event.timestamp
                for emitted in self._feed.take(event):
                    yield self._lacking(emitted)
        if progress := self._feed.progress(moment):
            yield self._lacking(progress)

    def _compare_unstreamed(self) -> Iterator[Event]:
        """Yield events from the rows, and read them again sooner while something happens."""
        before, began = self._rebuilt, time.monotonic()
        yield from self._compare()
        if self._rebuilt > before:
            self._outage.reset()
        self._outage.postpone(_REST * (time.monotonic() - began))

    def _emit_missing(self, run: RunView, moment: datetime) -> Iterator[Event]:
        """Yield events from the rows of an ended run that were not yielded yet."""
        known = self._recorded()
        if self._last is not None:
            self._rebuilt += 1  # these numbers alone do not say what the stream had
        number = 0
        for number, event in enumerate(history(run, known), start=1):
            for follows, emitted in enumerate(self._feed.take(event)):
                text = f"end.{number}" + (f".{follows}" if follows else "")
                yield from self._emit(emitted, (_LAST, number, follows, 0), text, rebuilt=True)
        number += 1
        if progress := self._feed.progress(moment):
            yield from self._emit(progress, (_LAST, number, 0, 0), f"end.{number}", rebuilt=True)

    # --- out -------------------------------------------------------------------------------------

    def _emit(
        self, event: Event, place: _Position, text: str, *, rebuilt: bool = False
    ) -> Iterator[Event]:
        if self._skip is None or place > self._skip:
            marked = f"{text}~{self._rebuilt}" if self._rebuilt and place != _END else text
            yield _read_as(event, marked, rebuilt=rebuilt)

    def _lacking(self, event: Event) -> Event:
        """Return an event that the stream lacks, at the place that the reader is at."""
        self._rebuilt += 1
        return _read_as(event, f"{self._here[1]}~{self._rebuilt}", rebuilt=True)


class _Pauses:
    """Decides when to read again: later each time."""

    def __init__(self, seconds: tuple[float, float]) -> None:
        self.first, self._longest = seconds
        self.reset()

    def reset(self) -> None:
        """Reset the pause."""
        self._pause = self.first
        self._at = time.monotonic() + self._pause

    def postpone(self, seconds: float) -> None:
        """Let the pause last at least this long from now on."""
        self._at = max(self._at, time.monotonic() + seconds)

    @property
    def have_grown(self) -> bool:
        """Whether a pause was over since they were reset."""
        return self._pause > self.first

    def over(self) -> bool:
        """Return whether the pause is over; then the next one begins."""
        if time.monotonic() < self._at:
            return False
        self._pause = min(2 * self._pause, self._longest)
        self._at = time.monotonic() + self._pause
        return True


def _read_as(event: Event, text: str, *, rebuilt: bool) -> Event:
    return event.model_copy(update={"id": text, "rebuilt": rebuilt})


def _is_whole(page: StreamPage) -> bool:
    """Return whether the stream begins with the beginning of the run."""
    return any(isinstance(one, WorkflowStarted) for entry in page.entries for one in entry.events)

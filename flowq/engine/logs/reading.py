"""What the steps of a run have logged, as lines in the order of their times.

Bunches of attempts that ran at the same time overlap, so lines are merged: a line is returned when
no later bunch can have an older one. A follower reads the last minute again and again, and
remembers which bunches it has: workers write bunches later than they begin, and not in one order.
At the end of the run it looks for all that it has not seen.
"""

import heapq
import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from flowq.core.errors import InvalidInput, ResultMissing
from flowq.core.ids import FIRST_ID, LeaseToken, RunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Engine
from flowq.engine.model.logs import (
    LEVELS,
    LogFilter,
    LogLine,
    LogPlace,
    StoredBunch,
    StoredLine,
    stored_lines,
)
from flowq.engine.ports import Transaction
from flowq.engine.runtime.logs.writer import INTERVAL

#: All lines.
ALL: Final = LogFilter()
#: Bunches that are read at once.
_PAGE: Final = 100
#: Bunches of which the newest lines are taken.
_NEWEST: Final = 200
#: Seconds between two reads of a follower.
_PAUSE: Final = 1.0
#: How late a bunch may be written without being found only at the end of the run.
_LATE: Final = timedelta(minutes=1)
#: Seconds after the end of a run in which its last lines are written.
_SETTLING: Final = 4 * INTERVAL


def log_filter(
    step: str | None = None,
    index: int | None = None,
    attempt: int | None = None,
    level: str | None = None,
) -> LogFilter:
    """Return a filter; `level` is a name, in capitals or not.

    Raises:
        InvalidInput: there is no such level.
    """
    lowest = 0 if level is None else LEVELS.get(level.lower())
    if lowest is None:
        raise InvalidInput(f"there is no level {level!r}", hint=f"give one of {', '.join(LEVELS)}")
    return LogFilter(step, index, attempt, lowest)


def lines(engine: Engine, run_id: RunId, wanted: LogFilter = ALL) -> Iterator[LogLine]:
    """Yield the lines of a run so far.

    Raises:
        Unavailable: the database, or the object store, cannot be used.
    """
    return _merged(engine, _bunches(engine, run_id, wanted), wanted)


def newest(
    engine: Engine, run_id: RunId, wanted: LogFilter = ALL, *, limit: int
) -> tuple[list[LogLine], bool]:
    """Return the newest lines of a run, in their order, and whether there are older ones.

    Raises:
        Unavailable: the database, or the object store, cannot be used.
    """
    found = engine.records.autocommit(
        lambda tx: tx.logs.bunches(run_id, wanted, limit=_NEWEST + 1, newest=True)
    )
    shown: list[LogLine] = []
    left = len(found)
    for bunch in found[:_NEWEST]:
        if len(shown) > limit:
            break
        shown += _lines_of(engine, bunch, wanted)
        left -= 1
    shown.sort(key=lambda line: line.at)
    return shown[-limit:], left > 0 or len(shown) > limit


def follow(engine: Engine, run_id: RunId, wanted: LogFilter = ALL) -> Iterator[LogLine]:
    """Yield the lines of a run, and new ones until it has ended.

    Lines that were written late come late, and then not in the order of their times.

    Raises:
        Unavailable: the database, or the object store, cannot be used.
    """
    seen = _Seen()
    ended: float | None = None
    while True:
        is_last = ended is not None and time.monotonic() >= ended + _SETTLING
        after = None if is_last else seen.horizon
        fresh = seen.new(_bunches(engine, run_id, wanted, after=after))
        yield from _merged(engine, fresh, wanted)
        if is_last:
            return
        if ended is None:
            state = engine.records.autocommit(lambda tx: tx.runs.status(run_id))
            if state is None or state in TERMINAL_RUN_STATES:
                ended = time.monotonic()
        time.sleep(_PAUSE)


@dataclass
class _Seen:
    """The bunches that a follower has."""

    keys: set[tuple[LeaseToken, int]] = field(default_factory=set)
    newest: datetime | None = None

    @property
    def horizon(self) -> LogPlace | None:
        """The place after which there may be new bunches; None: anywhere."""
        if self.newest is None:
            return None
        return LogPlace(self.newest - _LATE, LeaseToken(FIRST_ID), 0)

    def new(self, bunches: Iterable[StoredBunch]) -> Iterator[StoredBunch]:
        """Yield those that it does not have, and remember them."""
        for bunch in bunches:
            key = (bunch.place.token, bunch.place.first_line)
            if key in self.keys:
                continue
            self.keys.add(key)
            self.newest = max(self.newest or bunch.place.first_at, bunch.place.first_at)
            yield bunch


def _bunches(
    engine: Engine, run_id: RunId, wanted: LogFilter, *, after: LogPlace | None = None
) -> Iterator[StoredBunch]:
    while True:
        page = engine.records.autocommit(partial(_page, run_id=run_id, wanted=wanted, after=after))
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].place


def _page(
    tx: Transaction, *, run_id: RunId, wanted: LogFilter, after: LogPlace | None
) -> Sequence[StoredBunch]:
    return tx.logs.bunches(run_id, wanted, after=after, limit=_PAGE)


def _merged(engine: Engine, bunches: Iterable[StoredBunch], wanted: LogFilter) -> Iterator[LogLine]:
    """Yield the lines of bunches, which are in the order of their first lines, by time."""
    waiting: list[tuple[datetime, int, LogLine]] = []
    number = 0
    for bunch in bunches:
        while waiting and waiting[0][0] < bunch.place.first_at:
            yield heapq.heappop(waiting)[2]
        for line in _lines_of(engine, bunch, wanted):
            heapq.heappush(waiting, (line.at, number, line))
            number += 1
    while waiting:
        yield heapq.heappop(waiting)[2]


def _lines_of(engine: Engine, bunch: StoredBunch, wanted: LogFilter) -> Iterator[LogLine]:
    if bunch.missing:
        text = f"{bunch.missing:,} lines are missing here"
        yield LogLine(
            at=bunch.place.first_at,
            level=logging.WARNING,
            logger="flowq",
            message=text,
            step=bunch.key,
            index=bunch.map_index,
            attempt=bunch.attempt,
            missing=bunch.missing,
        )
    for line in _stored(engine, bunch):
        if line.level >= wanted.level:
            yield LogLine(
                at=datetime.fromtimestamp(line.at_us / 1_000_000, UTC),
                level=line.level,
                logger=line.logger,
                message=line.message,
                step=bunch.key,
                index=bunch.map_index,
                attempt=bunch.attempt,
            )


def _stored(engine: Engine, bunch: StoredBunch) -> Sequence[StoredLine]:
    if bunch.object_key is None:
        return bunch.lines
    try:
        return stored_lines(json.loads(engine.results.objects.get(bunch.object_key)))
    except ResultMissing:
        return []  # displaced, or deleted with its run, since its row was read

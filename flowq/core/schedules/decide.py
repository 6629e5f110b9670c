"""What a schedule does now: one step of it at a time, decided from its progress and the time. Pure.

`decide` returns the next step: start a run, skip ticks, or wait for the run that is open. The
caller records the step and its effect in one transaction, and asks again until nothing is due. So a
crash between two steps loses nothing, and several workers that decide at once agree: the first one
to record wins.

The order: a run that someone has requested; the oldest due tick; the next tick of a backfill. Ticks
are only ever skipped from the front, so `next_at` is all that has to be remembered of them.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final

from flowq.core.schedules.spec import GRACE, CatchUp, Overlap, ScheduleSpec
from flowq.core.schedules.ticks import next_tick, start_of, ticks

#: How long a tick waits before the open run is looked at again.
HOLD: Final = timedelta(seconds=5)
#: Ticks that one decision reads.
_MAX_DUE: Final = 5_000


class Cause(StrEnum):
    """Why a run of a schedule is started."""

    TICK = "tick"  #: Its tick is due.
    REQUEST = "request"  #: Someone has requested it.
    BACKFILL = "backfill"  #: Its tick is in a span that is made up for.


class SkipReason(StrEnum):
    """Why ticks have started no run."""

    MISSED = "missed"  #: No worker was there at the time, and catch_up does not include them.
    OVERLAP = "overlap"  #: A run of the schedule was open.
    REFUSED = "refused"  #: The run cannot be made, e.g. an input is wrong.


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a schedule is.

    Attributes:
        next_at: The next tick; None when there is none any more.
        last_at: The last tick that was handled.
        held_at: When the tick last waited for an open run.
        requested_at: When someone requested a run that is not started yet.
        backfill_at: The next tick of the backfill.
        backfill_until: The end of its span.
        paused_at: When it was paused.
    """

    next_at: datetime | None
    last_at: datetime | None = None
    held_at: datetime | None = None
    requested_at: datetime | None = None
    backfill_at: datetime | None = None
    backfill_until: datetime | None = None
    paused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start a run."""

    tick: datetime
    cause: Cause
    cancels: bool = False  #: The open runs are cancelled before.


@dataclass(frozen=True, slots=True)
class Skip:
    """Ticks that start no run."""

    first: datetime
    last: datetime
    ticks: int
    reason: SkipReason
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One step of a schedule.

    Attributes:
        progress: Its progress after the step.
        wake_at: When it has to be looked at again; None: never.
        effect: What else is done in the same transaction; None when the tick waits.
    """

    progress: Progress
    wake_at: datetime | None
    effect: Start | Skip | None


def wake_at(spec: ScheduleSpec, progress: Progress, now: datetime) -> datetime | None:
    """Return when a schedule has to be looked at again; None: never."""
    if progress.requested_at is not None:
        return now
    if progress.paused_at is not None:
        return None
    if progress.backfill_at is not None:
        return now
    return None if progress.next_at is None else start_of(spec, progress.next_at)


def decide(
    spec: ScheduleSpec, anchor: datetime, progress: Progress, now: datetime, *, is_running: bool
) -> Decision | None:
    """Return the next step of a schedule; None when nothing is due.

    Args:
        spec: The schedule.
        anchor: From where its interval is counted.
        progress: How far it is.
        now: The present time of the database.
        is_running: Whether a run of it is open.
    """
    here = _Moment(spec, anchor, progress, now, is_running)
    if progress.requested_at is not None:
        done = replace(progress, requested_at=None)
        return here.decision(done, Start(progress.requested_at, Cause.REQUEST))
    if progress.paused_at is not None:
        return None
    due = here.due()
    if due:
        return here.of_due(due)
    return None if progress.backfill_at is None else here.of_backfill(progress.backfill_at)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a decision is made from."""

    spec: ScheduleSpec
    anchor: datetime
    progress: Progress
    now: datetime
    is_running: bool

    def decision(self, done: Progress, effect: Start | Skip) -> Decision:
        return Decision(done, wake_at(self.spec, done, self.now), effect)

    def due(self) -> list[datetime]:
        """Return the ticks that are to be started by now, the oldest first."""
        first, found = self.progress.next_at, list[datetime]()
        if first is None or start_of(self.spec, first) > self.now:
            return found
        found.append(first)
        for tick in islice(ticks(self.spec, self.anchor, first), _MAX_DUE - 1):
            if start_of(self.spec, tick) > self.now:
                break
            found.append(tick)
        return found

    def of_due(self, due: list[datetime]) -> Decision:
        overlap = self.spec.overlap
        dropped = self.dropped(due)
        if dropped:
            return self.skip(due[:dropped], SkipReason.MISSED)
        if self.is_running and overlap is Overlap.SKIP:
            return self.skip(due, SkipReason.OVERLAP)
        if self.is_running and overlap is Overlap.QUEUE:
            return Decision(replace(self.progress, held_at=self.now), self.now + HOLD, None)
        done = self.after(due[0])
        if len(due) == 1:
            done = replace(done, held_at=None)
        cancels = self.is_running and overlap is Overlap.CANCEL_RUNNING
        return self.decision(done, Start(due[0], Cause.TICK, cancels))

    def dropped(self, due: list[datetime]) -> int:
        """Return how many of the due ticks, from the first, do not start a run.

        The ticks are those that waited for an open run, then the missed ones, then those in time.
        """
        spec, held_at = self.spec, self.progress.held_at
        if len(due) == _MAX_DUE:  # there may be more
            return _MAX_DUE - spec.catch_up_limit
        starts = [start_of(spec, tick) for tick in due]
        waited = 0
        if spec.overlap is Overlap.QUEUE and held_at is not None:
            waited = sum(start <= held_at + GRACE for start in starts)
        if waited:
            return max(0, waited - spec.catch_up_limit)
        missed = sum(self.now - start > GRACE for start in starts)
        if spec.catch_up is CatchUp.ALL:
            return max(0, missed - spec.catch_up_limit)
        if spec.catch_up is CatchUp.LAST and missed == len(due):
            return missed - 1
        return missed

    def skip(self, skipped: list[datetime], reason: SkipReason) -> Decision:
        effect = Skip(skipped[0], skipped[-1], len(skipped), reason)
        return self.decision(self.after(skipped[-1]), effect)

    def after(self, tick: datetime) -> Progress:
        following = next_tick(self.spec, self.anchor, tick)
        return replace(self.progress, next_at=following, last_at=tick)

    def of_backfill(self, tick: datetime) -> Decision:
        progress, until = self.progress, self.progress.backfill_until
        assert until is not None
        if self.is_running and self.spec.overlap is not Overlap.ALLOW:
            again = self.now + HOLD
            own = progress.next_at
            if own is not None:
                again = min(again, start_of(self.spec, own))
            return Decision(progress, again, None)
        following = next_tick(self.spec, self.anchor, tick)
        done = replace(progress, backfill_at=following)
        if following is None or following > until:
            done = replace(progress, backfill_at=None, backfill_until=None)
        return self.decision(done, Start(tick, Cause.BACKFILL))

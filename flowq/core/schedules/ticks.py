"""The ticks of a schedule, as aware UTC times. Pure.

`cronsim` finds the times of a cron expression, and follows Debian's cron when clocks change. An
expression whose minute and hour do not begin with `*` has each of its ticks on both days: a time
that the clock skips is moved to the end of the gap, and of a repeated time the first one counts.
Other expressions follow the clock: they have no tick in the gap, and ticks in both passes of the
repeated hour.

Between a local time and UTC the same tick can appear twice, so only times later than the last one
count. Where the clock skips midnight, `cronsim` also finds a time that does not exist: the time
that the clock shows then has to match as well.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Final

from cronsim import CronSim

from flowq.core.schedules.spec import ScheduleSpec

_MOMENT: Final = timedelta(microseconds=1)
_PARTS: Final = 2**64
#: Ticks are between these: a time zone, and the longest interval and jitter, then compute no time
#: outside of the years 1 to 9999.
_EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9900, 1, 1, tzinfo=UTC)
#: What the idempotency keys of ticks begin with; users cannot take such a key.
KEY_OF_TICKS: Final = "schedule:"


def ticks(spec: ScheduleSpec, anchor: datetime, after: datetime) -> Iterator[datetime]:
    """Yield the ticks after a time, in order; they end with the schedule, or with the year 9899.

    Args:
        spec: A checked schedule.
        anchor: From where an interval is counted, if the schedule has no start.
        after: An aware time.
    """
    after = max(after, _EARLIEST)
    if spec.starts_at is not None and spec.starts_at > after:
        after = spec.starts_at - _MOMENT
    if after >= _LATEST:
        return
    last = _LATEST if spec.ends_at is None else min(spec.ends_at, _LATEST)
    found = _by_cron(spec, after) if spec.cron is not None else _by_interval(spec, anchor, after)
    for tick in found:
        if tick > last:
            return
        yield tick


def next_tick(spec: ScheduleSpec, anchor: datetime, after: datetime) -> datetime | None:
    """Return the first tick after a time; None if the schedule has ended by then."""
    return next(ticks(spec, anchor, after), None)


def ticks_within(
    spec: ScheduleSpec, anchor: datetime, first: datetime, last: datetime, limit: int
) -> list[datetime]:
    """Return the ticks of a span, both ends included, `limit` at most."""
    found: list[datetime] = []
    for tick in islice(ticks(spec, anchor, max(first, _EARLIEST) - _MOMENT), limit):
        if tick > last:
            break
        found.append(tick)
    return found


def start_of(spec: ScheduleSpec, tick: datetime) -> datetime:
    """Return when a tick is started: later by its jitter, which its name and time determine."""
    if not spec.jitter:
        return tick
    digest = sha256(f"{spec.name}\n{tick.isoformat()}".encode()).digest()
    share = int.from_bytes(digest[:8]) / _PARTS
    return tick + timedelta(milliseconds=int(share * (spec.jitter / timedelta(milliseconds=1))))


def key_of(name: str, tick: datetime) -> str:
    """Return the idempotency key of the run of a tick."""
    return f"{KEY_OF_TICKS}{name}:{tick.isoformat().replace('+00:00', 'Z')}"


def _by_cron(spec: ScheduleSpec, after: datetime) -> Iterator[datetime]:
    assert spec.cron is not None
    last = after
    try:
        for local in CronSim(spec.cron, after.astimezone(spec.zone)):
            tick = local.astimezone(UTC)
            shown = tick.astimezone(spec.zone).replace(tzinfo=None)
            if tick > last and (shown == local.replace(tzinfo=None) or _matches(spec.cron, shown)):
                last = tick
                yield tick
    except OverflowError:  # after the year 9999
        return


def _matches(cron: str, time: datetime) -> bool:
    return next(CronSim(cron, time - timedelta(minutes=1))) == time


def _by_interval(spec: ScheduleSpec, anchor: datetime, after: datetime) -> Iterator[datetime]:
    assert spec.every is not None
    base = spec.starts_at if spec.starts_at is not None else anchor
    try:
        tick = base + ((after - base) // spec.every + 1) * spec.every
        while True:
            yield tick
            tick += spec.every
    except OverflowError:  # after the year 9999
        return

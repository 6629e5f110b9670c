"""The ticks of schedules: a property test against the definition, on both days of clock changes.

The definition is written here without a cron library: a local time matches when its fields are in
the sets from which the expression was made. `croniter` is a second opinion where its documentation
says the same as Debian's cron: away from clock changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.schedules.spec import ScheduleSpec, checked
from flowq.core.schedules.ticks import key_of, next_tick, start_of, ticks, ticks_within

MINUTE = timedelta(minutes=1)
#: Clocks that change by an hour, at midnight, in the south, for Ramadan; and one that does not.
#: Not Australia/Lord_Howe, which changes by half an hour: cronsim steps by hours there, and may
#: miss ticks of an expression with `*` in the hours after the change (docs/flows/schedules.md).
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Asia/Kolkata",
)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"cron": "0 0 * * *"}, {"every": timedelta(days=3660)}])
def test_no_time_is_outside_of_all_years(change: dict[str, Any]) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for zone in ("America/New_York", "Asia/Kolkata"):
        spec = checked(ScheduleSpec(name="s", flow_name="f", timezone=zone, **change))
        always = spec.model_copy(update={"starts_at": first, "jitter": timedelta(days=3660)})

        found = ticks_within(spec, utc(2030, 1, 1), first, last, 2)
        assert 2 == len(found), found
        assert first < found[0] < found[1]
        assert next_tick(always, first, first)
        assert next_tick(always, first, last) is None
        late = next_tick(always, first, utc(9880, 1, 1))
        assert late
        assert start_of(always, late) >= late


def cron(text: str, zone: str = "UTC", **options: Any) -> ScheduleSpec:
    return checked(ScheduleSpec(name="s", flow_name="f", cron=text, timezone=zone, **options))


def local(spec: ScheduleSpec, after: datetime, count: int) -> list[str]:
    found = islice(ticks(spec, after, after), count)
    return [tick.astimezone(spec.zone).strftime("%m-%d %H:%M%z") for tick in found]


def changes(zone: str, year: int) -> list[datetime]:
    """Return when the clock of a zone changes in a year, to the hour."""
    hours = [utc(year, 1, 1) + timedelta(hours=n) for n in range(366 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]


@dataclass(frozen=True)
class Expression:
    """A cron expression, and the sets that it was made from; None is `*`."""

    minutes: frozenset[int] | None
    hours: frozenset[int] | None
    days: frozenset[int] | None
    weekdays: frozenset[int] | None

    @property
    def text(self) -> str:
        fields = (self.minutes, self.hours, self.days, None, self.weekdays)
        return " ".join("*" if one is None else ",".join(map(str, sorted(one))) for one in fields)

    @property
    def follows_the_clock(self) -> bool:
        return self.minutes is None or self.hours is None

    def matches(self, time: datetime) -> bool:
        in_hour = self.hours is None or time.hour in self.hours
        return in_hour and (self.minutes is None or time.minute in self.minutes) and self.day(time)

    def day(self, day: date) -> bool:
        by_day = self.days is None or day.day in self.days
        by_weekday = self.weekdays is None or day.isoweekday() % 7 in self.weekdays
        if self.days is None or self.weekdays is None:
            return by_day and by_weekday
        return by_day or by_weekday

    def ticks(self, zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the ticks after a time up to another one, by the definition."""
        if self.follows_the_clock:
            time = first + MINUTE
            while time <= last:
                if self.matches(time.astimezone(zone)):
                    yield time
                time += MINUTE
            return
        naive = first.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3)
        end, before = last.astimezone(zone).replace(tzinfo=None) + timedelta(hours=3), first
        while naive <= end:
            if self.matches(naive):
                tick = after_the_gap(naive, zone)
                if before < tick <= last:
                    before = tick
                    yield tick
            naive += MINUTE


def after_the_gap(naive: datetime, zone: ZoneInfo) -> datetime:
    """Return the first time a clock shows this, or the end of the gap that it is in."""
    while (tick := naive.replace(tzinfo=zone)).astimezone(UTC).astimezone(zone) != tick:
        naive += MINUTE
    return tick.astimezone(UTC)


def some(values: range, most: int) -> st.SearchStrategy[frozenset[int] | None]:
    return st.none() | st.frozensets(st.sampled_from(values), min_size=1, max_size=most)


expressions = st.builds(
    Expression, some(range(60), 3), some(range(24), 4), some(range(1, 29), 9), some(range(7), 3)
)
near_changes = st.sampled_from(
    [(zone, at) for zone in ZONES for at in (changes(zone, 2025) or [utc(2025, 6, 1)])]
)


@given(expressions, near_changes, st.integers(-36 * 60, 3 * 60))
def test_ticks_are_those_of_the_definition_around_clock_changes(
    expression: Expression, change: tuple[str, datetime], offset: int
) -> None:
    zone, at = change
    first = at + timedelta(minutes=offset)
    last = first + timedelta(hours=40)
    spec = cron(expression.text, zone)

    found = ticks_within(spec, first, first + MINUTE, last, 10_000)

    assert list(expression.ticks(ZoneInfo(zone), first, last)) == found


@given(expressions, st.sampled_from(ZONES), st.integers(0, 5 * 24 * 60))
def test_a_second_library_finds_the_same_ticks_away_from_clock_changes(
    expression: Expression, zone: str, offset: int
) -> None:
    first = utc(2025, 1, 8) + timedelta(minutes=offset)
    spec = cron(expression.text, zone)
    other = croniter(expression.text, first.astimezone(spec.zone))

    found = list(islice(ticks(spec, first, first), 20))

    last = utc(2025, 2, 8)
    assert [tick for tick in found if tick < last] == [
        tick
        for tick in (other.get_next(datetime).astimezone(UTC) for _ in range(20))
        if tick < last
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("30 2 * * *", ["03-29 02:30+0100", "03-30 03:00+0200", "03-31 02:30+0200"]),
        ("0 2 * * *", ["03-29 02:00+0100", "03-30 03:00+0200", "03-31 02:00+0200"]),
        ("30 * 30 3 *", ["03-30 00:30+0100", "03-30 01:30+0100", "03-30 03:30+0200"]),
        ("0 2,3 * * *", ["03-29 02:00+0100", "03-29 03:00+0100", "03-30 03:00+0200"]),
    ],
)
def test_the_day_with_23_hours_in_berlin(text: str, expected: list[str]) -> None:
    after = utc(2025, 3, 29, 0, 30)

    assert expected == local(cron(text, "Europe/Berlin"), after, 3)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("30 2 * * *", ["10-26 02:30+0200", "10-27 02:30+0100"]),
        ("30 * * * *", ["10-26 02:30+0200", "10-26 02:30+0100", "10-26 03:30+0100"]),
        ("*/30 2 * * *", ["10-26 02:30+0200", "10-26 02:00+0100", "10-26 02:30+0100"]),
    ],
)
def test_the_day_with_25_hours_in_berlin(text: str, expected: list[str]) -> None:
    after = utc(2025, 10, 26, 0, 10)

    assert expected == local(cron(text, "Europe/Berlin"), after, len(expected))


@given(st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**6))
def test_intervals_are_counted_from_their_anchor(seconds: int, after: int, start: int) -> None:
    anchor = utc(2025, 1, 1)
    every = timedelta(seconds=seconds)
    begin = anchor + timedelta(seconds=start)
    spec = checked(ScheduleSpec(name="s", flow_name="f", every=every, starts_at=begin))
    moment = anchor + timedelta(seconds=after)

    tick = next_tick(spec, anchor, moment)

    assert tick is not None
    assert (tick - begin) % every == timedelta(0)
    assert tick >= begin
    assert tick > moment
    assert tick == begin or tick - every <= moment


def test_ticks_end_with_the_schedule() -> None:
    spec = cron("0 0 * * *", starts_at=utc(2025, 1, 2), ends_at=utc(2025, 1, 3))

    assert [utc(2025, 1, 2), utc(2025, 1, 3)] == list(ticks(spec, utc(2020, 1, 1), utc(2020, 1, 1)))
    assert next_tick(spec, utc(2020, 1, 1), utc(2025, 1, 3)) is None


@given(st.integers(0, 10**5), st.integers(0, 86_400))
def test_jitter_delays_a_tick_by_a_fixed_part_of_it(hours: int, seconds: int) -> None:
    jitter = timedelta(seconds=seconds)
    spec, tick = cron("0 * * * *", jitter=jitter), utc(2025, 1, 1) + timedelta(hours=hours)

    start = start_of(spec, tick)

    assert start == start_of(spec, tick)
    assert tick <= start <= tick + jitter


def test_jitter_spreads_schedules() -> None:
    tick, jitter = utc(2025, 1, 1), timedelta(hours=1)
    specs = [
        cron("0 * * * *", jitter=jitter).model_copy(update={"name": str(n)}) for n in range(1000)
    ]

    starts = [(start_of(spec, tick) - tick) / jitter for spec in specs]

    assert all(
        70 < sum(low <= start < low + 0.1 for start in starts) < 130 for low in (0.0, 0.4, 0.9)
    )


def test_a_key_names_the_tick_in_utc() -> None:
    assert "schedule:nightly:2025-01-01T01:00:00Z" == key_of("nightly", utc(2025, 1, 1, 1))

"""What a schedule does: the table of cases, and a property over whole lives of schedules."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.schedules.decide import (
    HOLD,
    Cause,
    Decision,
    Progress,
    Skip,
    SkipReason,
    Start,
    decide,
    wake_at,
)
from flowq.core.schedules.spec import GRACE, CatchUp, Overlap, ScheduleSpec
from flowq.core.schedules.ticks import start_of, ticks, ticks_within

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def hour(number: float) -> datetime:
    return BEGIN + number * HOUR


def hourly(
    catch_up: CatchUp = CatchUp.LAST, overlap: Overlap = Overlap.ALLOW, limit: int = 100
) -> ScheduleSpec:
    return ScheduleSpec(
        name="s",
        flow_name="f",
        every=HOUR,
        catch_up=catch_up,
        overlap=overlap,
        catch_up_limit=limit,
    )


def decided(
    spec: ScheduleSpec, progress: Progress, now: datetime, *, is_running: bool = False
) -> Decision:
    found = decide(spec, BEGIN, progress, now, is_running=is_running)
    assert found is not None
    return found


def all_steps(spec: ScheduleSpec, progress: Progress, now: datetime) -> list[str]:
    """Return what a schedule does until nothing is due, as text; its runs end at once."""
    done = []
    while (found := decide(spec, BEGIN, progress, now, is_running=False)) is not None:
        progress = found.progress
        if isinstance(found.effect, Start):
            done.append(f"start {(found.effect.tick - BEGIN) // HOUR}")
        elif found.effect is not None:
            span = (found.effect.first - BEGIN) // HOUR, (found.effect.last - BEGIN) // HOUR
            done.append(f"skip {span[0]}-{span[1]}")
    return done


def test_a_tick_is_started_at_its_time_and_not_before() -> None:
    progress = Progress(hour(1))

    assert decide(hourly(), BEGIN, progress, hour(1) - SECOND, is_running=False) is None
    found = decided(hourly(), progress, hour(1))

    assert (
        Decision(Progress(hour(2), last_at=hour(1)), hour(2), Start(hour(1), Cause.TICK)) == found
    )


@pytest.mark.parametrize(
    "catch_up, limit, now, steps",
    [
        (CatchUp.NONE, 9, 4.5, ["skip 1-4"]),
        (CatchUp.NONE, 9, 4.0, ["skip 1-3", "start 4"]),
        (CatchUp.LAST, 9, 4.5, ["skip 1-3", "start 4"]),
        (CatchUp.LAST, 9, 4.0, ["skip 1-3", "start 4"]),
        (CatchUp.ALL, 9, 4.5, ["start 1", "start 2", "start 3", "start 4"]),
        (CatchUp.ALL, 2, 4.5, ["skip 1-2", "start 3", "start 4"]),
        (CatchUp.ALL, 2, 4.0, ["skip 1-1", "start 2", "start 3", "start 4"]),
        (CatchUp.LAST, 9, 1.5, ["start 1"]),
    ],
)
def test_missed_ticks(catch_up: CatchUp, limit: int, now: float, steps: list[str]) -> None:
    assert steps == all_steps(hourly(catch_up, limit=limit), Progress(hour(1)), hour(now))


def test_all_ticks_that_are_in_time_start() -> None:
    spec = hourly(CatchUp.NONE).model_copy(update={"every": 10 * SECOND})
    progress, now, started = Progress(BEGIN), BEGIN + GRACE, 0

    while (found := decide(spec, BEGIN, progress, now, is_running=False)) is not None:
        assert isinstance(found.effect, Start)
        progress, started = found.progress, started + 1

    assert 7 == started


def test_a_month_of_missed_seconds_is_skipped_in_parts() -> None:
    spec = hourly(CatchUp.ALL, limit=10).model_copy(update={"every": 30 * SECOND})
    progress, now = Progress(BEGIN), BEGIN + timedelta(days=3)
    skipped, started = 0, 0

    while (found := decide(spec, BEGIN, progress, now, is_running=False)) is not None:
        progress = found.progress
        skipped += found.effect.ticks if isinstance(found.effect, Skip) else 0
        started += isinstance(found.effect, Start)

    assert (10 + 3, 3 * 2880 + 1) == (started, started + skipped)  # three are in time


def test_overlap_skip_skips_what_is_due() -> None:
    found = decided(hourly(overlap=Overlap.SKIP), Progress(hour(1)), hour(1), is_running=True)

    skip = Skip(hour(1), hour(1), 1, SkipReason.OVERLAP)
    assert Decision(Progress(hour(2), last_at=hour(1)), hour(2), skip) == found


def test_overlap_cancel_running_cancels_only_if_something_runs() -> None:
    spec = hourly(overlap=Overlap.CANCEL_RUNNING)

    effects = [
        decided(spec, Progress(hour(1)), hour(1), is_running=running).effect
        for running in (True, False)
    ]

    assert [Start(hour(1), Cause.TICK, cancels) for cancels in (True, False)] == effects


def test_overlap_queue_holds_ticks_and_starts_them_late_in_their_order() -> None:
    """They waited, so they are not missed, whatever catch_up says."""
    spec, progress = hourly(CatchUp.NONE, Overlap.QUEUE), Progress(hour(1))

    for now in (1, 2, 3):
        held = decided(spec, progress, hour(now), is_running=True)
        assert (None, hour(now) + HOLD) == (held.effect, held.wake_at)
        progress = held.progress
    first = decided(spec, progress, hour(3.001))
    second = decided(spec, first.progress, hour(3.01))
    held = decided(spec, second.progress, hour(3.01), is_running=True)
    last = decided(spec, held.progress, hour(3.02))

    effects = [first.effect, second.effect, last.effect]
    assert [Start(hour(number), Cause.TICK) for number in (1, 2, 3)] == effects
    assert last.progress.held_at is None


def test_a_long_queue_loses_its_oldest_ticks() -> None:
    spec = hourly(CatchUp.NONE, Overlap.QUEUE, limit=2)
    held = decided(spec, Progress(hour(1)), hour(5), is_running=False)
    assert Skip(hour(1), hour(4), 4, SkipReason.MISSED) == held.effect

    waiting = replace(Progress(hour(1)), held_at=hour(5))
    found = decided(spec, waiting, hour(5.001), is_running=True)

    assert Skip(hour(1), hour(3), 3, SkipReason.MISSED) == found.effect


def test_a_requested_run_starts_also_while_the_schedule_is_paused() -> None:
    progress = Progress(hour(1), requested_at=hour(0.5), paused_at=hour(0.2))

    found = decided(hourly(), progress, hour(3), is_running=True)

    assert Start(hour(0.5), Cause.REQUEST) == found.effect
    assert replace(progress, requested_at=None) == found.progress
    assert found.wake_at is None
    assert decide(hourly(), BEGIN, found.progress, hour(3), is_running=False) is None


def test_a_backfill_starts_the_ticks_of_its_span_beside_the_others() -> None:
    progress = Progress(hour(9), backfill_at=hour(1), backfill_until=hour(3))
    steps = []

    while (found := decide(hourly(), BEGIN, progress, hour(9), is_running=False)) is not None:
        assert isinstance(found.effect, Start)
        steps.append((found.effect.cause, found.effect.tick))
        progress = found.progress

    expected = [(Cause.TICK, hour(9)), *((Cause.BACKFILL, hour(n)) for n in (1, 2, 3))]
    assert expected == steps
    assert Progress(hour(10), last_at=hour(9)) == progress


def test_a_backfill_waits_for_open_runs_unless_they_may_overlap() -> None:
    progress = Progress(hour(9), backfill_at=hour(1), backfill_until=hour(3))

    held = decided(hourly(overlap=Overlap.SKIP), progress, hour(8), is_running=True)
    beside = decided(hourly(), progress, hour(8), is_running=True)

    assert (None, hour(8) + HOLD, progress) == (held.effect, held.wake_at, held.progress)
    assert Start(hour(1), Cause.BACKFILL) == beside.effect


passes = st.lists(
    st.tuples(st.integers(1, 40_000), st.booleans()), min_size=1, max_size=25
)  # seconds until the next look, and whether a run is open then


@given(
    st.sampled_from(CatchUp),
    st.sampled_from(Overlap),
    st.integers(1, 4),
    st.sampled_from((0, 600)),
    passes,
)
def test_each_tick_starts_or_is_skipped_once_and_in_order(
    catch_up: CatchUp, overlap: Overlap, limit: int, jitter: int, looks: list[tuple[int, bool]]
) -> None:
    spec = hourly(catch_up, overlap, limit).model_copy(update={"jitter": jitter * SECOND})
    progress, now = Progress(hour(1)), BEGIN
    handled: list[datetime] = []
    for pause, had_run in looks:
        now, is_running = now + pause * SECOND, had_run
        while (found := decide(spec, BEGIN, progress, now, is_running=is_running)) is not None:
            progress, effect = found.progress, found.effect
            if effect is None:
                assert found.wake_at == now + HOLD
                break
            assert found.wake_at == wake_at(spec, progress, now)
            if isinstance(effect, Start):
                assert start_of(spec, effect.tick) <= now
                assert effect.cancels == (is_running and overlap is Overlap.CANCEL_RUNNING)
                assert not (is_running and overlap in {Overlap.SKIP, Overlap.QUEUE})
                handled.append(effect.tick)
                is_running = True
            else:
                skipped = ticks_within(spec, BEGIN, effect.first, effect.last, 10_000)
                assert effect.ticks == len(skipped)
                handled += skipped

    expected = takewhile(lambda tick: tick != progress.next_at, ticks(spec, BEGIN, BEGIN))
    assert list(expected) == handled
    if progress.held_at is None:
        assert progress.next_at is None or start_of(spec, progress.next_at) > now

"""`testing.schedules`: schedules under a clock that jumps."""

from datetime import UTC, datetime, timedelta

import pytest

from flowq import errors, flow, schedule, sleep, step, testing

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def declared() -> None:
    @step
    def load(day: str) -> str:
        return day

    @flow
    def report(day: str) -> str:
        return load(day)

    @flow
    async def long() -> None:
        await sleep(timedelta(hours=30))

    schedule("nightly", report, cron="30 2 * * *", timezone="Europe/Berlin", time_input="day")
    schedule("long", long, every=DAY, overlap="queue")


def test_ticks_of_a_clock_change_are_played() -> None:
    with testing.schedules(now=datetime(2030, 3, 30, tzinfo=UTC)) as played:
        played.wait(3 * DAY)

        assert datetime(2030, 4, 2, tzinfo=UTC) == played.now
        times = ["2030-03-30T02:30:00+01:00", "2030-03-31T03:00:00+02:00"]
        assert [*times, "2030-04-01T02:30:00+02:00"] == [
            run.scheduled_for for run in played.runs("nightly")
        ]
        assert times[0] == played.inputs("nightly")[0]["day"]
        assert {"completed"} == {run.status for run in played.runs("nightly")}


def test_queued_ticks_start_one_after_the_other() -> None:
    with testing.schedules() as played:
        played.wait(10 * DAY)

        runs = played.runs("long")
        assert 8 == len(runs)
        assert all(
            runs[n].completed_at <= runs[n + 1].created_at <= runs[n].completed_at + DAY / 1000  # type: ignore[operator]
            for n in range(6)
        )


def test_missed_ticks_are_recorded() -> None:
    with testing.schedules() as played:
        played.skip(5 * DAY + timedelta(hours=12))

        assert ["2030-01-06T02:30:00+01:00"] == [
            run.scheduled_for for run in played.runs("nightly")
        ]
        assert [5] == [one.ticks for one in played.skipped("nightly")]


def test_runs_can_be_requested() -> None:
    with testing.schedules() as played:
        played.run_now("nightly")
        assert 1 == len(played.runs("nightly"))
        with pytest.raises(errors.ScheduleNotFound):
            played.run_now("other")


def test_schedules_start_nothing_in_tests_of_single_runs() -> None:
    @flow
    async def year() -> str:
        await sleep(365 * DAY)
        return "done"

    with testing.start(year) as started:
        assert "done" == started.result()
        views = started.stage.engine.records.autocommit(lambda tx: tx.runs.views())
        assert 1 == len(views)

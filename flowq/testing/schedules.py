"""Schedules in tests: days and years of ticks in milliseconds.

    def test_runs_every_night():
        with testing.schedules(now=datetime(2030, 3, 30, tzinfo=UTC)) as played:
            played.wait(timedelta(days=3))
            assert 3 == len(played.runs("nightly-report"))

The schedules that the code declares are recorded and started by the real engine, on tables in
memory. Time jumps to what is due next, and the steps of each run are run in between.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self

from flowq.authoring.calls.options import Duration, duration
from flowq.core.errors import ResultTimeout
from flowq.engine.queries.schedules import ScheduledRun, SkippedTicks
from flowq.engine.registry.registry import registry
from flowq.engine.schedules import control
from flowq.testing.fakes import Fakes
from flowq.testing.runs import BEGIN, Stage, registry_with

#: Jumps of the clock in one wait.
_MAX_JUMPS: Final = 100_000


def schedules(*, fakes: Fakes | None = None, now: datetime = BEGIN) -> "PlayedSchedules":
    """Record the schedules that the code declares; they start runs when the time is advanced.

    Args:
        fakes: Functions that run instead of steps: `{fetch: lambda url: "…"}`.
        now: When the workers start; an aware datetime.
    """
    known = registry_with(fakes or {})
    known.schedules.update(registry.schedules)
    stage = Stage(known, now)
    try:
        stage.play()
    except BaseException:
        stage.close()  # the caller gets no handle to close
        raise
    return PlayedSchedules(stage)


class PlayedSchedules:
    """The schedules of a test; as a context manager it closes itself."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def now(self) -> datetime:
        """The time in the test."""
        return self._stage.clock.now

    def wait(self, time: Duration) -> None:
        """Advance the time by a timedelta or seconds, and do everything that becomes due.

        Raises:
            ResultTimeout: that is more than 100,000 things; wait for a shorter time.
        """
        until = self.now + duration(time, "the time to wait")
        for _ in range(_MAX_JUMPS):
            if not self._stage.jump(until):
                self._stage.clock.now = max(until, self.now)
                return
        raise ResultTimeout(
            f"{_MAX_JUMPS:,} things were due until {self.now}", hint="wait for a shorter time"
        )

    def skip(self, time: Duration) -> None:
        """Advance the time as if no worker was there, and then do what is due.

        The ticks in between are missed, and `catch_up` decides.
        """
        self._stage.clock.move(timedelta(0) + duration(time, "the time to skip"))
        self._stage.play()

    def run_now(self, name: str) -> None:
        """Request a run of a schedule, and do all resulting work.

        Raises:
            ScheduleNotFound: no such schedule is declared.
        """
        control.request_run(self._stage.engine, name)
        self._stage.play()

    def runs(self, name: str) -> Sequence[ScheduledRun]:
        """Return the runs of a schedule, the oldest first."""
        return self._stage.engine.records.autocommit(
            lambda tx: tx.overview.runs_of_schedule(name, limit=_MAX_JUMPS)[::-1]
        )

    def inputs(self, name: str) -> list[Any]:
        """Return the inputs of each run of a schedule, the oldest first."""
        records, found = self._stage.engine.records, self.runs(name)
        views = [records.autocommit(lambda tx, run=run: tx.runs.head(run.id)) for run in found]  # type: ignore[misc]
        return [view.inputs for view in views if view is not None]

    def skipped(self, name: str) -> Sequence[SkippedTicks]:
        """Return the ticks of a schedule that have started no run, the oldest first."""
        return self._stage.engine.records.autocommit(
            lambda tx: tx.overview.skipped_ticks(name, limit=_MAX_JUMPS)[::-1]
        )

    def close(self) -> None:
        """Delete everything."""
        self._stage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

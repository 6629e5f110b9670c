"""Tests of flows: without a broker, a worker and a database, and under a virtual clock.

    from flowq import testing

    def test_reminds_three_times():
        assert 3 == testing.run(remind, {"user": "ann"})     # its three months take milliseconds

    def test_waits_for_an_answer():
        run = testing.start(order, {"id": 7})
        run.send_signal("approve", {"ok": True})
        assert "shipped" == run.result()

    def test_is_deterministic():
        testing.assert_deterministic(remind, {"user": "ann"})

    def test_runs_every_night():
        with testing.schedules() as played:
            played.wait(timedelta(days=3))
            assert 3 == len(played.runs("nightly-report"))

The real engine runs in the test's own thread, on tables in memory.
"""

from flowq.testing.definitions import definitions
from flowq.testing.determinism import assert_deterministic
from flowq.testing.fakes import Fakes
from flowq.testing.runs import StartedRun, run, start
from flowq.testing.schedules import PlayedSchedules, schedules

__all__ = [
    "Fakes",
    "PlayedSchedules",
    "StartedRun",
    "assert_deterministic",
    "definitions",
    "run",
    "schedules",
    "start",
]

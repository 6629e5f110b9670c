"""Limits over real workers: what is under way is counted from what the steps themselves write."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flowq.adapters.dispatch.unsent import UnsentDispatcher
from flowq.core.states import RunState, StepState
from flowq.engine.runs import submission
from flowq.engine.runs.pause import pause, resume
from tests.acceptance.apps import worker_flows as flows
from tests.tools import turns
from tests.tools.cluster import PATIENT, Cluster, cluster_on
from tests.tools.invariants import assert_invariants
from tests.tools.waiting import wait_until


@pytest.fixture
def postgres(postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, on PostgreSQL, without a worker; its leases are long."""
    with cluster_on(postgres_url, tmp_path / "cluster", **PATIENT) as cluster:
        yield cluster


def spans(folder: Path) -> list[tuple[float, float]]:
    """When the code of each step began and ended."""
    read = [file.read_text().split() for file in folder.glob("*[0-9]")]
    return sorted((float(began), float(ended)) for began, ended in read)


def most_at_once(found: list[tuple[float, float]]) -> int:
    return max(sum(began <= at < ended for began, ended in found) for at, _ in found)


def test_three_hundred_steps_of_a_second_with_a_limit_of_fifty(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Six seconds is what it must take; without the limit it would be little more than one."""
    folder = tmp_path / "spans"
    folder.mkdir()
    with postgres.worker("--pool=threads", "--concurrency=300"):
        run_id = postgres.submit(flows.fifty_at_once, count=300, folder=str(folder))
        assert postgres.result(run_id, timeout=120) == sum(range(300))

    found = spans(folder)
    took = max(ended for _, ended in found) - min(began for began, _ in found)
    print(f"300 steps took {took:.2f} s, at most {most_at_once(found)} at once")
    assert len(found) == 300
    assert most_at_once(found) <= 50
    assert 6 <= took < 120, "a machine that does nothing else needs less than 7 s"
    assert postgres.step(run_id, "second_long").attempts == 1
    assert_invariants(postgres.records)


def test_limit_holds_over_the_processes_of_two_workers(postgres: Cluster, tmp_path: Path) -> None:
    folders: list[Path] = []

    def have_done_some() -> bool:
        """Do some more; return whether more than two processes have had a part in all of it."""
        folders.append(tmp_path / f"spans-{len(folders)}")
        folders[-1].mkdir()
        run_id = postgres.submit(flows.two_at_once, count=16, folder=str(folders[-1]))
        assert postgres.result(run_id, timeout=60) == sum(range(16))
        files = [file for folder in folders for file in folder.iterdir()]
        return len({file.name.split("-")[1] for file in files}) > 2

    options = ("--pool=prefork", "--concurrency=2")
    with postgres.worker(*options, name="one"), postgres.worker(*options, name="two"):
        # A busy machine may leave all of one run to the two processes of one worker.
        wait_until(have_done_some, what="both workers have a part")

    found = sorted(span for folder in folders for span in spans(folder))
    assert len(found) == 16 * len(folders)
    assert most_at_once(found) <= 2


def test_rate_holds_over_workers(postgres: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "spans"
    folder.mkdir()
    turns.keep(postgres.records.engine)
    options = ("--pool=threads", "--concurrency=10")
    with postgres.worker(*options, name="one"), postgres.worker(*options, name="two"):
        run_id = postgres.submit(flows.five_a_second, count=18, folder=str(folder))
        assert postgres.result(run_id, timeout=60) == sum(range(18))

    at = turns.taken(postgres.records.engine)
    assert len(at) == len(spans(folder)) == 18
    assert turns.shortest(postgres.records.engine, 5) >= 1
    assert at[-1] - at[0] < 60


def test_turn_of_a_rate_comes_by_its_own_message(postgres: Cluster, tmp_path: Path) -> None:
    """No sweeper sends anything here, so a step without its message would wait for ten minutes."""
    folder = tmp_path / "spans"
    folder.mkdir()
    patient = {f"FLOWQ_{name}_SECONDS": "600" for name in ("LEASE", "RESEND", "SWEEP")}
    with postgres.worker("--concurrency=2", environment=patient):
        run_id = postgres.submit(flows.five_a_second, count=12, folder=str(folder))
        assert postgres.result(run_id, timeout=60) == sum(range(12))

    log = postgres.logs()
    assert "a limit is reached" in log
    assert "could not be run" not in log


def test_slot_of_a_killed_worker_is_free_when_its_lease_has_lapsed(
    postgres: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "stuck"
    options = ("--pool=solo",)
    with postgres.worker(*options, name="first", stop=signal.SIGKILL) as first:
        run_id = postgres.submit(flows.stuck_once, file=str(file))
        wait_until(file.exists, timeout=60, what="the step has begun")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(60)
    postgres.lapse()
    other = postgres.submit(flows.stuck_once, file=str(file))
    (tmp_path / "stuck-go").touch()
    with postgres.worker(*options, name="second"):
        assert postgres.result(other, timeout=60) == "went"
        assert postgres.result(run_id, timeout=60) == "went"
    assert postgres.step(run_id, "stuck").recoveries == 1


def test_paused_run_continues_where_it_stopped(postgres: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "spans"
    folder.mkdir()

    def number(what: str) -> int:
        return len(list(folder.glob(f"{what}-*")))

    with postgres.worker("--pool=threads", "--concurrency=8"):
        run_id = postgres.submit(flows.two_held_back, count=12, folder=str(folder))
        wait_until(lambda: number("begun") == 5, what="three have ended, and two run")
        assert pause(postgres.engine, run_id, "ann: wait") is RunState.PAUSED
        (folder / "go").touch()
        wait_until(
            lambda: StepState.RUNNING not in postgres.step(run_id, "held_back").counts,
            timeout=60,
            what="what ran has ended",
        )
        assert number("ended") == 5
        # Of these runs nothing is sent, so each takes a pass of the sweeper.
        unsent = replace(
            postgres.engine, dispatcher=UnsentDispatcher(postgres.engine.dispatcher, None)
        )
        for _ in range(3):
            other = submission.submit(unsent, flows.wide.type, {"count": 1})
            assert postgres.result(other) == [0]
        assert number("begun") == number("ended") == 5

        resume(postgres.engine, run_id)

        assert postgres.result(run_id, timeout=60) == sum(range(12))
    assert_invariants(postgres.records)

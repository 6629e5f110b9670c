"""Programs on real workers, in each pool."""

import os
import signal
import time
from pathlib import Path

import pytest

from flowq.core.ids import RunId, node_id
from flowq.core.states import RunState
from flowq.engine.runs.cancel import cancel
from tests.acceptance.apps import program_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

POOLS = {
    "prefork": ("--pool=prefork", "--concurrency=2"),
    "threads": ("--pool=threads", "--concurrency=4"),
}


def is_asleep(cluster: Cluster, run_id: RunId) -> bool:
    return any(step.name == "sleep" for step in cluster.view(run_id).steps)


@pytest.mark.parametrize("pool", POOLS)
def test_program_runs_on_real_workers(cluster: Cluster, pool: str) -> None:
    with cluster.worker(*POOLS[pool]):
        for count in (3, 9):
            assert cluster.run(flows.everything, count=count) == flows.everything_result(count)


def test_processes_take_turns_with_one_program(cluster: Cluster) -> None:
    """Whoever gets its message goes on, with what the other has done in between."""
    with (
        cluster.worker(*POOLS["prefork"], name="one"),
        cluster.worker(*POOLS["prefork"], name="two"),
    ):
        # One alone may find the same process free each time.
        run_ids = [cluster.submit(flows.long_row, count=60) for _ in range(3)]
        assert max(cluster.result(run_id) for run_id in run_ids) >= 2

    for run_id in run_ids:
        view = cluster.view(run_id)
        assert [step for step in view.steps if (step.attempts, step.recoveries) != (1, 0)] == []
        assert len(view.steps) == 61


def test_sleeping_program_holds_no_worker(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.worker("--pool=threads", "--concurrency=1"):
        sleeping = cluster.submit(flows.tidy, folder=str(tmp_path))
        wait_until(lambda: is_asleep(cluster, sleeping), what="it sleeps")

        assert cluster.run(flows.quartered, number=8) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_cancelled_program_cleans_up(cluster: Cluster, tmp_path: Path, pool: str) -> None:
    with cluster.worker(*POOLS[pool]):
        run_id = cluster.submit(flows.tidy, folder=str(tmp_path))
        wait_until(lambda: is_asleep(cluster, run_id), what="it sleeps")
        began = time.monotonic()

        cancel(cluster.engine, run_id, "enough")
        view = cluster.wait(run_id)

    assert view.status is RunState.CANCELLED
    assert view.error == "enough"
    assert (tmp_path / "cleaned").exists()
    assert time.monotonic() - began < 60


def test_program_outlives_its_worker(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.worker(*POOLS["prefork"], name="first") as first:
        run_id = cluster.submit(flows.long_row, count=40, folder=str(tmp_path))
        wait_until(lambda: list(tmp_path.glob("holding-*")), what="it is in the middle")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
    cluster.lapse()
    (tmp_path / "go").touch()

    with cluster.worker(*POOLS["threads"], name="second"):
        assert cluster.result(run_id) >= 2


@pytest.mark.parametrize("pool", POOLS)
def test_local_steps_are_shown_in_flower_as_others(cluster: Cluster, pool: str) -> None:
    """They have no message, and the events that a task has."""
    with cluster.worker(*POOLS[pool], "-E"), cluster.events() as heard:
        run_id = cluster.submit(flows.local_row, count=20)
        assert len(cluster.result(run_id)) == 1
        failed = cluster.submit(flows.local_failure, text="no")
        assert cluster.result(failed) == "no"

        def types(run: RunId, key: str) -> list[str]:
            row = str(node_id(run, key))
            return [one["type"] for one in heard if one.get("uuid") == row]

        ended = ["task-received", "task-started", "task-succeeded"]
        wait_until(lambda: types(run_id, "pid#20") == ended, what="the last one has its events")
        wait_until(lambda: "task-failed" in types(failed, "fail#1"), what="a failure has them")

    assert all(types(run_id, f"pid#{number}") == ended for number in range(1, 21))
    received = [one for one in heard if one["type"] == "task-received" and "root_id" in one]
    of_run = [one["name"].rpartition(".")[2] for one in received if one["root_id"] == str(run_id)]
    assert of_run.count("pid") == 20
    view = cluster.view(run_id)
    assert {(step.attempts, step.recoveries) for step in view.steps} == {(1, 0)}


def test_local_steps_outlive_their_worker(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.worker(*POOLS["prefork"], name="first") as first:
        run_id = cluster.submit(flows.local_row, count=400, folder=str(tmp_path))
        wait_until(lambda: list(tmp_path.glob("holding-*")), what="it is in the middle")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
    cluster.lapse()
    (tmp_path / "go").touch()
    assert cluster.view(run_id).status is RunState.RUNNING

    with cluster.worker(*POOLS["threads"], name="second"):
        assert len(cluster.result(run_id)) == 2

"""Runs are cancelled while real workers run their steps, in each pool."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowq.core.ids import RunId, child_run_id, node_id
from flowq.core.states import RunState, StepState
from flowq.engine.runs.cancel import cancel
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

GRACE = 1.0
#: Far below the ten minutes of a step that nobody stops.
SOON = 60
FAST = {"FLOWQ_CANCEL_SECONDS": "0.3", "FLOWQ_CANCEL_GRACE_SECONDS": str(GRACE)}
#: A step has time to end in each stage, also on a busy machine, so that no process is ended.
GENTLE = {"FLOWQ_CANCEL_SECONDS": "0.3", "FLOWQ_CANCEL_GRACE_SECONDS": "8"}
PREFORK = ("--pool=prefork", "--concurrency=1")
GEVENT = ("--pool=gevent", "--concurrency=4")
THREADS = ("--pool=threads", "--concurrency=4")


def begun(cluster: Cluster, folder: Path, kind: str) -> tuple[RunId, int]:
    """Submit a run and wait until its step runs; returns also the process that runs it."""
    run_id = cluster.submit(flows.endless, kind=kind, folder=str(folder))
    return run_id, runs_in(cluster, folder, kind)


def runs_in(cluster: Cluster, folder: Path, kind: str) -> int:
    def found() -> list[Path]:
        return list(folder.glob(f"{kind}-*"))

    try:
        (file,) = wait_until(found, timeout=60, what="the step runs")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{cluster.logs()}") from None
    return int(file.name.removeprefix(f"{kind}-"))


def check_cancelled(cluster: Cluster, run_id: RunId, began: float) -> None:
    view = cluster.wait(run_id, timeout=SOON)
    assert view.status is RunState.CANCELLED, cluster.logs()
    assert time.monotonic() - began < SOON
    assert view.error == "ann: enough"
    assert {step.status for step in view.steps} == {StepState.CANCELLED}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "options, kind",
    [
        (PREFORK, "asks"),
        (PREFORK, "sleeps"),
        (PREFORK, "awaits"),
        (("--pool=solo",), "sleeps"),
        (THREADS, "asks"),
        (THREADS, "awaits"),
        (GEVENT, "asks"),
    ],
    ids=str,
)
def test_running_step_ends_and_its_process_continues(
    cluster: Cluster, folder: Path, options: tuple[str, ...], kind: str
) -> None:
    with cluster.worker(*options, environment=GENTLE) as worker:
        run_id, pid = begun(cluster, folder, kind)
        began = time.monotonic()

        assert cancel(cluster.engine, run_id, "ann: enough") is RunState.CANCELLING

        check_cancelled(cluster, run_id, began)
        assert cluster.run(flows.fan, count=3) == 15
        assert is_alive(pid)
        assert worker.poll() is None


@pytest.mark.parametrize("kind", ["computes", "catches", "spins_async"])
def test_step_of_a_prefork_worker_that_does_not_let_itself_interrupt_is_ended_with_its_process(
    cluster: Cluster, folder: Path, kind: str
) -> None:
    with cluster.worker(*PREFORK, environment=FAST) as worker:
        run_id, pid = begun(cluster, folder, kind)
        began = time.monotonic()

        cancel(cluster.engine, run_id, "ann: enough")

        check_cancelled(cluster, run_id, began)
        wait_until(lambda: not is_alive(pid), timeout=SOON, what="its process is ended")
        assert cluster.run(flows.fan, count=3) == 15, "by the process that has replaced it"
        assert worker.poll() is None
    assert cluster.step(run_id, kind).attempts == 1


@pytest.mark.parametrize("options", [THREADS, GEVENT], ids=str)
def test_step_that_does_not_ask_is_left_behind_elsewhere(
    cluster: Cluster, folder: Path, options: tuple[str, ...]
) -> None:
    with cluster.worker(*options, environment=FAST):
        run_id, pid = begun(cluster, folder, "catches")
        began = time.monotonic()

        cancel(cluster.engine, run_id, "ann: enough")

        check_cancelled(cluster, run_id, began)
        before = cluster.view(run_id)
        (folder / "go").touch()
        wait_until((folder / "gone").exists, what="the code ends, when it ends")
        assert cluster.run(flows.fan, count=3) == 15
        assert is_alive(pid)
        assert cluster.view(run_id) == before


def test_only_the_process_that_runs_the_step_is_ended(cluster: Cluster, folder: Path) -> None:
    (other := folder / "other").mkdir()
    with cluster.worker("--pool=prefork", "--concurrency=2", environment=FAST):
        run_id, pid = begun(cluster, folder, "computes")
        going_on = cluster.submit(flows.holding, folder=str(other))
        (file,) = wait_until(lambda: list(other.glob("holding-*")), what="another step runs")

        began = time.monotonic()
        cancel(cluster.engine, run_id, "ann: enough")
        check_cancelled(cluster, run_id, began)
        wait_until(lambda: not is_alive(pid), timeout=SOON, what="its process is ended")
        (other / "go").touch()

        assert cluster.result(going_on) == 2 * int(file.name.removeprefix("holding-"))
        assert cluster.step(going_on, "hold").attempts == 1


def test_child_run_is_interrupted_with_its_parent(cluster: Cluster, folder: Path) -> None:
    with cluster.worker(*PREFORK, environment=FAST):
        run_id = cluster.submit(flows.endless_parent, kind="sleeps", folder=str(folder))
        runs_in(cluster, folder, "sleeps")

        cancel(cluster.engine, run_id, "ann: enough")

        child = child_run_id(node_id(run_id, "endless"))
        assert cluster.wait(run_id, timeout=SOON).status is RunState.CANCELLED
        assert cluster.wait(child, timeout=SOON).status is RunState.CANCELLED
        assert cluster.step(child, "sleeps").status is StepState.CANCELLED
        assert cluster.run(flows.fan, count=3) == 15


def test_flower_shows_a_cancelled_step_as_revoked(cluster: Cluster, folder: Path) -> None:
    def event_types(heard: list[dict[str, Any]], step_id: str) -> Callable[[], list[str]]:
        return lambda: [
            one["type"]
            for one in heard
            if one.get("uuid") == step_id
            and one["type"] in {"task-revoked", "task-succeeded", "task-failed"}
        ]

    with cluster.worker(*PREFORK, "-E", environment=GENTLE), cluster.events() as heard:
        run_id, _ = begun(cluster, folder, "sleeps")

        cancel(cluster.engine, run_id, "ann: enough")
        cluster.wait(run_id)
        cluster.run(flows.fan, count=1)

        types = event_types(heard, str(node_id(run_id, "sleeps")))
        assert wait_until(types, what="Flower has the event") == ["task-revoked"]
